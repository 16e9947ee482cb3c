"""Presets: every one is valid, families are found by package and by spaces, and what is said wins."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from lifelong.envs import GymTask
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.families import FAMILIES
from lifelong.experiments.runs.presets import PRESETS, family_of, preset


class Empty(gymnasium.Env):
    """Environment of given spaces, for which only these count."""

    def __init__(self, observation: spaces.Space, action: spaces.Space) -> None:
        self.observation_space, self.action_space = observation, action


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    two, box = spaces.Discrete(2), spaces.Box(-1.0, 1.0, (2,), np.float32)
    image = spaces.Box(0, 255, (64, 64, 3), np.uint8)
    for name, (observation, action) in {
        "Numbers": (box, two),
        "Torques": (box, box),
        "Pixels": (spaces.Dict({"view": image, "speed": box}), two),
        "Frames": (spaces.Box(0, 1, (4, 64, 64), np.float32), two),
        "Symbols": (spaces.Box(0, 255, (5, 5, 3), np.uint8), two),
        "Cards": (spaces.Tuple((two, spaces.MultiDiscrete([3, 3]))), two),
    }.items():
        spec = gymnasium.envs.registration.EnvSpec(
            f"presets/{name}-v0", Empty, kwargs={"observation": observation, "action": action}
        )
        monkeypatch.setitem(gymnasium.registry, spec.id, spec)


@pytest.mark.parametrize("name", [*PRESETS, *FAMILIES])
def test_every_preset_resolves_a_training(name: str) -> None:
    config = TrainConfig("gym:CartPole-v1", preset=name).resolved()
    assert config.preset == name
    assert config.learning == preset(name)["ppo"]


@pytest.mark.parametrize(
    ("env_id", "family"),
    [
        ("CartPole-v1", "classic-control"),
        ("Pendulum-v1", "classic-control/continuous"),
        ("FrozenLake-v1", "classic-control"),
        ("MiniGrid-DoorKey-5x5-v0", "minigrid"),
        ("BabyAI-GoToObj-v0", "minigrid"),
        ("nothing-of-that-name-v0", "classic-control"),
        ("presets/Numbers-v0", "classic-control"),
        ("presets/Torques-v0", "mujoco"),
        ("presets/Pixels-v0", "atari"),
        ("presets/Frames-v0", "atari"),
        ("presets/Symbols-v0", "classic-control"),  # no image
        ("presets/Cards-v0", "popgym"),
    ],
)
@pytest.mark.usefixtures("made")
def test_families_are_found(env_id: str, family: str) -> None:
    assert family_of(GymTask(env_id)) == family
    assert TrainConfig(f"gym:{env_id}").resolved().preset == family


def test_families_are_those_of_the_environment_as_its_settings_make_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def either(torques: bool) -> gymnasium.Env:
        act = spaces.Box(-1.0, 1.0, (2,), np.float32) if torques else spaces.Discrete(2)
        return Empty(spaces.Box(-1.0, 1.0, (2,), np.float32), act)

    monkeypatch.setitem(gymnasium.registry, "Kind-v0", gymnasium.envs.registration.EnvSpec("Kind-v0", either))
    path = tmp_path / "one.toml"
    for torques, family in (("true", "mujoco"), ("false", "classic-control")):
        assert TrainConfig("gym:Kind-v0", env_kwargs=(f"torques={torques}",)).resolved().preset == family
        path.write_text(f'[[tasks]]\nenv = "Kind-v0"\nkwargs = {{ torques = {torques} }}\n')
        assert TrainConfig(str(path)).resolved().preset == family


def test_a_stream_has_its_own_preset() -> None:
    assert TrainConfig("reversal").resolved().preset == "reversal"
    assert TrainConfig("cued_recall", feedback="reward").resolved().preset == "cued-recall/reward"
    assert TrainConfig("cartpole-sign").resolved().preset is None


def test_what_is_said_wins() -> None:
    config = TrainConfig("gym:CartPole-v1", preset="popgym", working_memory="off", num_envs=3).resolved()
    assert (config.preset, config.working_memory, config.num_envs) == ("popgym", "off", 3)


@pytest.mark.parametrize(
    ("memory", "said", "expected"),
    [
        ("gated_delta", None, "gru"),
        ("gated_delta", "off", "off"),
        ("none", None, "off"),  # an agent without memory has none
        ("none", "gru", "gru"),  # but for who says so
        ("gru", None, "off"),
        ("gru", "gru", "gru"),
        ("lstm", None, "gru"),
    ],
)
@pytest.mark.parametrize("preset", ["popgym", "classic-control/continuous"])
def test_working_memory_of_a_preset(preset: str, memory: str, said: str | None, expected: str) -> None:
    config = TrainConfig("gym:CartPole-v1", memory, preset=preset, working_memory=said).resolved()
    assert config.working_memory == expected
    assert config.resolved() == config


def test_working_memory_of_a_stream_file_stands_before_any_memory(tmp_path: Path) -> None:
    path = tmp_path / "one.toml"
    path.write_text('[train]\nworking_memory = "gru"\n[[tasks]]\nenv = "CartPole-v1"\n')
    assert TrainConfig(str(path), "none").resolved().working_memory == "gru"
    path.write_text('[train]\npreset = "popgym"\n[[tasks]]\nenv = "CartPole-v1"\n')
    assert TrainConfig(str(path), "none").resolved().working_memory == "off"


def test_an_unknown_preset_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match="no preset 'mujuco'; did you mean 'mujoco'"):
        TrainConfig("gym:CartPole-v1", preset="mujuco").resolved()


@pytest.mark.parametrize(
    ("tasks", "said", "family"),
    [
        (("MiniGrid-DoorKey-5x5-v0", "MiniGrid-LavaGapS5-v0"), "", "minigrid"),
        (("MiniGrid-DoorKey-5x5-v0", "CartPole-v1"), "", None),
        (("CartPole-v1",), "[train]\npreset = 'box2d'\n", "box2d"),
    ],
)
def test_tasks_of_a_file_have_the_preset_of_their_family(
    tasks: tuple[str, ...], said: str, family: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "stream.toml"
    path.write_text("".join(f'[[tasks]]\nenv = "{task}"\n' for task in tasks) + said)
    assert TrainConfig(str(path)).resolved().preset == family
