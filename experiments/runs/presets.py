"""Presets: settings of training per stream, as data, measured unless they say otherwise.

A preset names fields of `TrainConfig`, `ppo` among them; what the user sets wins. Those of gymnasium's environments are
in `families.py`.
"""

from collections.abc import Sequence
from typing import Any

from gymnasium import spaces

from lifelong.agents.image_layout import image_rows
from lifelong.agents.leaves import leaves_of
from lifelong.agents.ppo_config import PPOConfig
from lifelong.envs.gym_task import GymTask
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.families import FAMILIES, LIFE_HAZARD
from lifelong.registry import unknown
from lifelong.schema import shown

__all__ = ["PRESETS", "family_of", "preset", "preset_name"]

_OTHER = "classic-control"

_ANY: dict[str, Any] = {
    "steps": 500_000,
    "num_envs": 16,
    "segment": 128,
    "life_episodes": 0,
    "life_hazard": None,
    "evaluation_lives": 16,
    "working_memory": "off",
    "horizons": None,
    "normalize_observation": "auto",
    "action_std": "state",
    "initial_std": 1.0,
    "ppo": PPOConfig(lr=1e-3, epochs=4),
}

_RECALL_PPO: dict[str, Any] = {"lr": 2e-3, "epochs": 2, "minibatches": 8, "normalize_reward": "off"}
_RECALL: dict[str, Any] = {
    "normalize_observation": "off",  # cues are drawn with variance 1
    "steps": 4_000_000,
    "num_envs": 128,
    "segment": 128,
    "life_episodes": 128,
    "evaluation_lives": 512,
    "ppo": PPOConfig(**_RECALL_PPO, entropy_coef=0.03),
}

_RULE: dict[str, Any] = {
    "normalize_observation": "off",  # nothing but categories and rewards of 0 and 1
    "steps": 2_000_000,
    "num_envs": 64,
    "segment": 128,
    "life_episodes": 80,
    "evaluation_lives": 256,
    "ppo": PPOConfig(lr=1e-3, epochs=3, minibatches=8, entropy_coef=0.05, gamma=0.95, normalize_reward="off"),
}

_MAP: dict[str, Any] = _RULE | {
    "steps": 4_000_000,
    # the way to what is not known yet is long: .95 favours what is near, which later ways cross anyhow
    "ppo": PPOConfig(lr=1e-3, epochs=3, minibatches=8, entropy_coef=0.02, gamma=0.99, normalize_reward="off"),
}

_MAZE: dict[str, Any] = _RULE | {
    "life_episodes": 32,
    "ppo": PPOConfig(lr=1e-3, epochs=3, minibatches=8, entropy_coef=0.02, gamma=0.99, normalize_reward="off"),
}

_GRID: dict[str, Any] = {
    "normalize_observation": "off",
    "steps": 2_000_000,
    "num_envs": 64,
    "segment": 128,
    "evaluation_lives": 64,
    # the floor: a random walk finds DoorKey's goal once in a hundred episodes
    "ppo": PPOConfig(lr=5e-4, epochs=4, minibatches=8, advantage_floor=0.05, normalize_reward="off"),
}

PRESETS: dict[str, dict[str, Any]] = {
    "cued-recall": _RECALL,
    "cued-recall/reward": _RECALL
    | {
        "steps": 12_000_000,
        "schedule": "interleaved:gap=1,grow=8",
        "ppo": PPOConfig(**_RECALL_PPO, entropy_coef=0.1, life_gamma=0.5),
    },
    "colour-rule": _RULE,
    "rooms": _GRID,
    "dark-room": _MAP,
    "map-change": _MAP,
    # colour-rule's, untuned, with lives of their own length, since rules are redrawn with the life
    "reversal": _RULE | {"life_episodes": 200},
    "doors": _RULE | {"life_episodes": 96},
    # untuned: colour-rule's, with returns that are discounted over longer episodes
    "t-maze": _MAZE,
    "endless-cues": _RECALL | {"life_episodes": 256, "segment": 256},  # cued-recall's, untuned
    "endless-t-maze": _MAZE,
    "colour-cubes": _MAZE,
    "foraging": _MAZE
    | {
        "life_episodes": 64,
        "ppo": PPOConfig(lr=1e-3, epochs=3, minibatches=8, entropy_coef=0.02, gamma=0.99, life_gamma=0.99),
    },
    "early-choice": _MAZE
    | {
        "segment": 256,
        "ppo": PPOConfig(
            lr=1e-3, epochs=3, minibatches=8, entropy_coef=0.02, gamma=0.999, gae_lambda=0.99, normalize_reward="off"
        ),
    },
}


def preset_name(stream: str, feedback: str | None, tasks: Sequence[GymTask] = (), *, apart: bool = False) -> str | None:
    """Return the name of the preset of a stream and its kind of feedback; None if it has none of its own.

    Args:
        stream: its name.
        feedback: of streams that know two kinds.
        tasks: of gymnasium, where the stream is made of them; they have a preset if all are of one family.
        apart: whether environments are made in a process of their own.
    """
    if tasks:
        families = {_family_apart(task) if apart else family_of(task) for task in tasks}
        return families.pop() if len(families) == 1 else None
    name = stream.replace("_", "-")
    return next((known for known in (f"{name}/{feedback}", name) if known in PRESETS), None)


def family_of(task: GymTask) -> str:
    """Return the family of an environment, which is made and closed: by its package, else by its spaces.

    Args:
        task: its id and settings; `classic-control` if it cannot be made.
    """
    from lifelong.envs.gym_stream import make_task  # not above: numba, which the presets of other streams do without

    try:
        env = make_task(GymTask(task.env_id, kwargs=task.kwargs))
    except Exception:  # noqa: BLE001  whatever foreign code raises; making the stream says it
        return _OTHER
    package, observation, action = type(env.unwrapped).__module__, env.observation_space, env.action_space
    env.close()
    if known := next((name for name, family in FAMILIES.items() if package.startswith(family.packages)), None):
        continuous = f"{known}/continuous"
        return continuous if isinstance(action, spaces.Box) and continuous in FAMILIES else known
    leaves = [leaf for _, leaf in leaves_of(observation)]
    if any(image_rows(leaf) is not None for leaf in leaves):
        return "atari"
    if isinstance(action, spaces.Box):
        return "mujoco"
    return "popgym" if all(isinstance(leaf, spaces.Discrete | spaces.MultiDiscrete) for leaf in leaves) else _OTHER


def _family_apart(task: GymTask) -> str:
    """Return the family of an environment that is made in another process, which it may end."""
    from lifelong.envs.worker import ProcessEndedError, call_apart  # not above: as in `family_of`

    try:
        return str(call_apart(lambda: family_of(task)))
    except ProcessEndedError:
        return _OTHER


def preset(name: str | None) -> dict[str, Any]:
    """Return the settings of a preset; None is for all that have none of their own.

    Raises:
        UserError: if there is no preset of that name.
    """
    if name is None:
        return dict(_ANY)
    if name in FAMILIES:
        family = FAMILIES[name]
        return _ANY | {"life_hazard": LIFE_HAZARD} | family.train | {"ppo": PPOConfig(**family.ppo)}
    if name in PRESETS:
        return _ANY | PRESETS[name]
    known = [*PRESETS, *FAMILIES]
    raise UserError(f"no preset {shown(name)}{unknown(name, known)}")
