import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lifelong.envs.references.certificate import MEMORYLESS
from lifelong.envs.references.policies import play
from lifelong.envs.references.registry import reference_policies
from lifelong.envs.streams.endless_t_maze import FORWARD, LEFT, RIGHT, EndlessTMaze


def posed(turns: list[int], lengths: list[int], num_envs: int = 1) -> EndlessTMaze:
    """Return a stream whose lives begin in these mazes."""
    stream = EndlessTMaze(num_envs, mazes=len(turns), corridor=max(lengths))
    stream.reset()
    stream._turns[:], stream._lengths[:] = turns, lengths
    stream.episode_steps[:] = sum(lengths) + len(lengths)
    return stream


def test_two_mazes_worked_out() -> None:
    stream = posed([RIGHT, LEFT], [2, 1])
    seen, _ = stream.observe()
    told = [(seen["observation"]["signal"].item(), seen["observation"]["position"].item())]
    rewards, ended = [], []
    for action in (FORWARD, FORWARD, RIGHT, FORWARD, RIGHT):
        seen, reward, terminated, _, info = stream.step([action])
        told.append((seen["observation"]["signal"].item(), seen["observation"]["position"].item()))
        rewards.append(reward.item())
        ended.append(bool(terminated[0]))
    assert told[:-1] == [(RIGHT, 0), (0, 0.5), (0, 1), (LEFT, 0), (0, 1)]
    assert rewards == [0, 0, 0.5, 0, -0.5]  # the second turn is that of the first signal
    assert ended == [False] * 4 + [True]
    rows = info["episodes"]
    assert (rows["return"], rows["success"], rows["length"], rows["answer"]) == (0, 0, 5, -1)


def test_what_has_no_effect_takes_time() -> None:
    stream = posed([LEFT, LEFT], [1, 1])
    rewards = [stream.step([action])[1].item() for action in (LEFT, FORWARD, FORWARD)]
    assert rewards == [0, 0, 0]
    assert (stream.maze.item(), stream.place.item()) == (0, 1)
    _, reward, terminated, _, info = stream.step([LEFT])
    assert (reward, terminated) == (0.5, True)
    assert info["episodes"]["success"] == 0  # one of two mazes


def test_random_actions_get_nothing_and_no_action_is_a_note() -> None:
    # Two mazes of one step, four steps: of 81 walks one is right twice, and it never turned before a junction.
    every = np.array(list(itertools.product(range(3), repeat=4)))
    stream = posed([LEFT, RIGHT], [1, 1], len(every))
    gained = np.sum([stream.step(actions)[1] for actions in every.T], 0)
    assert gained.mean() == 0 == stream.tasks[0].references.random
    assert every[gained == 1].tolist() == [[FORWARD, LEFT, FORWARD, RIGHT]]


@pytest.mark.parametrize("lengths", ["uniform", "fixed"])
def test_references_are_what_their_policies_get(lengths: Any) -> None:
    stream = EndlessTMaze(100, mazes=4, corridor=3, lengths=lengths, life_episodes=20)
    scores = {name: play(stream, make(), 20) for name, make in reference_policies(stream).items()}
    for name in ("within", "cross", "oracle"):
        assert (scores[name]["return"] == 1).all()
        assert (scores[name]["success"] == 1).all()
    noise = 4 * 0.5 / 2000**0.5  # the mean of four turns has the deviation 1/2
    assert scores["random"]["return"].mean() == pytest.approx(0, abs=noise)
    assert scores[MEMORYLESS]["return"].mean() == pytest.approx(0, abs=noise)
    assert scores["first signal"]["return"].mean() == pytest.approx(1 / 4, abs=noise)
    lived = scores["oracle"]["length"]
    assert (lived.min(), lived.max()) == ((8, 16) if lengths == "uniform" else (16, 16))


def test_turns_and_lengths_are_drawn_evenly_and_apart() -> None:
    stream = EndlessTMaze(4000, mazes=2, corridor=3)
    stream.reset()
    assert (stream._turns == RIGHT).mean(0) == pytest.approx([0.5] * 2, abs=0.03)
    for maze in (0, 1):
        assert np.bincount(stream._lengths[:, maze])[1:] / 4000 == pytest.approx([1 / 3] * 3, abs=0.03)
    drawn = np.c_[stream._turns, stream._lengths]
    assert np.abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.06


def test_policies_are_told_nothing_but_observations(assert_told_nothing: Callable[..., None]) -> None:
    stream = EndlessTMaze(8, corridor=1)

    def change() -> None:
        stream._turns = LEFT + RIGHT - stream._turns

    assert_told_nothing(stream, FORWARD, change)


@pytest.mark.parametrize("wrong", [{"mazes": 0}, {"corridor": 0}, {"lengths": "long"}])
def test_numbers_that_make_no_mazes_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}.*{next(iter(wrong.values()))}"):
        EndlessTMaze(**wrong)
