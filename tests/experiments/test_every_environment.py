"""Every environment that gymnasium can make here: built, stepped, learned from, killed and resumed to the same bits."""

import importlib
from importlib.util import find_spec
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import find_highest_version, get_env_id, parse_env_id

from lifelong.agents import Rollout
from lifelong.experiments.runs.config import PPOOverrides, TrainConfig
from lifelong.experiments.runs.episodes import read_episodes
from lifelong.experiments.train import main

pytestmark = pytest.mark.slow

_SUITES = ("minigrid", "popgym", "memory_gym", "ale_py", "minatar", "gymnasium_robotics", "shimmy")


class KilledError(Exception):
    """Stands for a killed process."""


def every_id() -> list[str]:
    """Return the newest version of every environment that is registered when all suites that are here are imported."""
    for suite in filter(find_spec, _SUITES):
        importlib.import_module(suite)
    names = {parse_env_id(env_id)[:2] for env_id, spec in gymnasium.registry.items() if spec.entry_point is not None}
    names = {
        (space, name) for space, name in names if space not in ("lifelong", "phys2d", "tabular", "GymV21Environment")
    }
    return sorted(get_env_id(space, name, find_highest_version(space, name)) for space, name in names)


@pytest.mark.parametrize("env_id", every_id())
def test_it_is_learned_from_killed_and_resumed(env_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        env = gymnasium.make(env_id)
        env.reset(seed=0)
        env.close()
    except Exception as error:  # noqa: BLE001  of the environment's own
        pytest.skip(f"it does not run by itself: {type(error).__name__}: {error}")

    def config(name: str) -> TrainConfig:
        few = PPOOverrides(epochs=1, minibatches=1)
        settings = {"steps": 400, "num_envs": 2, "segment": 100, "width": 16, "evaluation_lives": 0, "ppo": few}
        return TrainConfig(f"gym:{env_id}", "gru", name=name, runs=tmp_path, checkpoint_every=200, **settings)

    whole, collect, lived = main(config("whole")), Rollout.collect, [0]

    def second_is_the_last(self: Rollout, length: int) -> object:
        lived[0] += 1
        if lived[0] > 1:
            raise KilledError
        return collect(self, length)

    with monkeypatch.context() as patch:
        patch.setattr(Rollout, "collect", second_is_the_last)
        with pytest.raises(KilledError):
            main(config("broken"))
    torch.manual_seed(99)
    resumed = main(TrainConfig(resume=config("broken").run))
    assert (whole.finished, resumed.finished) == (True, True)
    rows, again = read_episodes(whole.folder), read_episodes(resumed.folder)
    for name, column in rows.items():
        np.testing.assert_array_equal(again[name], column, strict=True)
    for part in ("env", "memory", "optimizer", "policy", "random"):
        path = Path("checkpoints", "last", f"{part}.safetensors")
        assert (resumed.folder / path).read_bytes() == (whole.folder / path).read_bytes(), part
