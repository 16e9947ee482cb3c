"""Questions after something else: asked of the same memory, and asking teaches nothing."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lifelong.agents import Rollout
from lifelong.envs.noise import Noise
from lifelong.envs.streams.cued_recall import CuedRecall
from lifelong.experiments.runs.build import make_agent
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.disturbance import powers_of_four, probe_after

LIVES, BEFORE = 16, 20
Rows = dict[str, NDArray[Any]]


def stream() -> CuedRecall:
    return CuedRecall(LIVES, cues=5, size=4, life_episodes=None, seed=3)


def probed(config: TrainConfig, grid: tuple[int, ...], noise: int = 0) -> Rows:
    env, copies = stream(), stream()
    copies.reset()
    agent = make_agent(config, env)
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.mul_(2.0)  # untrained heads hardly tell one state from another
    between = Noise(LIVES, env.single_observation_space, env.single_action_space, seed=noise)
    return probe_after(agent, env, copies, between, before=BEFORE, grid=grid)


def of(rows: Rows, n: int) -> Rows:
    return {name: column[rows["disturbed"] == n] for name, column in rows.items()}


def same(one: Rows, other: Rows) -> bool:
    return all(np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f") for name in one)


def test_the_grid_is_of_powers_of_four() -> None:
    assert powers_of_four(4096) == (0, 16, 64, 256, 1024, 4096)
    assert powers_of_four(100) == (0, 16, 64, 100)
    assert powers_of_four(16) == (0, 16)
    assert powers_of_four(5) == (0, 5)


@pytest.mark.parametrize("memory", ["gated_delta", "window", "gru"])
def test_asking_teaches_nothing(memory: str, tiny: Callable[..., TrainConfig]) -> None:
    often = probed(tiny(memory=memory), (0, 3, 16, 40))
    once = probed(tiny(memory=memory), (40,))
    assert same(of(often, 40), once)
    assert not same(of(often, 0) | {"disturbed": once["disturbed"]}, once)  # but what comes between does


def test_what_comes_between_is_what_its_seed_says(tiny: Callable[..., TrainConfig]) -> None:
    rows = [probed(tiny(memory="gru"), (40,), noise=seed) for seed in (0, 0, 1)]
    assert same(rows[0], rows[1])
    assert not same(rows[0], rows[2])


def test_every_task_met_is_asked_once_of_each_life(tiny: Callable[..., TrainConfig]) -> None:
    env = stream()
    rollout = Rollout(make_agent(tiny(), env), env)
    torch.manual_seed(0)
    rollout.collect(BEFORE)
    rows = of(probed(tiny(), (0, 3)), 3)
    asked = {(int(life), int(task)) for life, task in zip(rows["life"], rows["task"], strict=True)}
    assert len(asked) == rows["life"].size
    assert asked == {(life, task) for life in range(LIVES) for task in np.flatnonzero(env.meetings[life])}
    assert (rows["episode"] == BEFORE).all()
