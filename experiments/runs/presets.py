"""Presets: settings of training per stream, as data, measured unless they say otherwise.

A preset names fields of `TrainConfig`, `ppo` among them; what the user sets wins.
"""

from typing import Any

from lifelong.agents.ppo import PPOConfig

__all__ = ["ONE_TASK", "PRESETS", "preset"]

_ANY: dict[str, Any] = {
    "steps": 500_000,
    "num_envs": 16,
    "segment": 128,
    "life_episodes": 0,
    "evaluation_lives": 16,
    "ppo": PPOConfig(lr=1e-3, epochs=4),
}

ONE_TASK: dict[str, Any] = {"life_hazard": 0.02}
"""Lives of `gym:` streams with one task: so that all of training knows an empty memory."""

_RECALL_PPO: dict[str, Any] = {"lr": 2e-3, "epochs": 2, "minibatches": 8, "normalize_reward": "off"}
_RECALL: dict[str, Any] = {
    "steps": 4_000_000,
    "num_envs": 128,
    "segment": 128,
    "life_episodes": 128,
    "evaluation_lives": 512,
    "ppo": PPOConfig(**_RECALL_PPO, entropy_coef=0.03),
}

_RULE: dict[str, Any] = {
    "steps": 2_000_000,
    "num_envs": 64,
    "segment": 128,
    "life_episodes": 80,
    "evaluation_lives": 256,
    "ppo": PPOConfig(lr=1e-3, epochs=3, minibatches=8, entropy_coef=0.05, gamma=0.95, normalize_reward="off"),
}

_GRID: dict[str, Any] = {
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
    # colour-rule's, untuned, with lives of their own length where rules are redrawn with the life.
    "reversal": _RULE | {"life_episodes": 200},
    "dark-room": _RULE,
    "map-change": _RULE,
    "doors": _RULE | {"life_episodes": 96},
}


def preset(stream: str, feedback: str | None) -> dict[str, Any]:
    """Return the settings for a stream and its kind of feedback."""
    name = stream.replace("_", "-")
    return _ANY | PRESETS.get(f"{name}/{feedback}", PRESETS.get(name, {}))
