"""Success of MiniGrid's and BabyAI's episodes."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from lifelong.envs import GymStream, GymTask, make_stream
from lifelong.envs.drifts.rewards import DelayedRewards, ScaledRewards
from lifelong.envs.gym_stream import make_task
from lifelong.envs.minigrid.success import SuccessInfo


class Ends(gymnasium.Env[Any, Any]):
    """Ends its first step as it is told."""

    def __init__(self, *end: Any) -> None:
        self.end = end

    def step(self, action: Any) -> Any:
        return (None, *self.end)


@pytest.mark.parametrize(
    ("end", "success"),
    [
        ((0.9, True, False, {}), 1.0),
        ((0.0, True, False, {}), 0.0),  # lava
        ((-1, True, False, {}), 0.0),  # MiniGrid's Dynamic-Obstacles
        ((0.9, False, True, {}), 0.0),
        ((0.9, False, False, {}), 0.0),
        ((0.9, True, False, {"success": 0.0}), 0.0),  # what the environment says wins
    ],
)
def test_success_is_a_reward_above_0_at_termination(end: Any, success: float) -> None:
    *_, info = SuccessInfo(Ends(*end)).step(0)
    assert info["success"] == success


def walk_east(stream: GymStream, episodes: int) -> dict[str, Any]:
    """Return rows of lives that walk east, then south: from one corner of an empty room to the other."""
    stream.reset()
    rows: list[dict[str, Any]] = []
    while sum(len(part["life"]) for part in rows) < episodes:
        step = stream.episode_length
        *_, info = stream.step(np.where(stream.life % 2, 0, np.where(step == 2, 1, 2)))  # every second one turns only
        rows += [info["episodes"]] if "episodes" in info else []
    return {name: np.concatenate([part[name] for part in rows]) for name in rows[0]}


def test_rows_of_minigrid_tell_success_whatever_drifts_do_to_its_rewards() -> None:
    room = {"env_id": "MiniGrid-Empty-5x5-v0", "kwargs": {"max_steps": 9}}
    drifts = {"plain": (), "reversed": (ScaledRewards(-1.0),), "late": (DelayedRewards(1),)}
    rows = walk_east(GymStream([GymTask(name, **room, drifts=some) for name, some in drifts.items()], 2), 12)  # type: ignore[arg-type]
    reached = rows["length"] < 9
    assert 0 < reached.sum() < 12
    assert np.array_equal(rows["success"], reached)
    assert (rows["return"][reached & (rows["task"] == 1)] < 0).all()
    assert {*rows["task"][reached].tolist()} == {0, 1, 2}


def test_babyai_tells_success_and_what_is_no_minigrid_does_not() -> None:
    env = make_task(GymTask("BabyAI-GoToRedBallGrey-v0"))
    env.reset(seed=0)
    assert env.step(0)[-1]["success"] == 0.0
    stream = make_stream("gym:CartPole-v1")
    stream.reset()
    for _ in range(60):
        *_, info = stream.step([0])
        assert np.isnan(info["episodes"]["success"]).all() if "episodes" in info else True
