from typing import Any

import numpy as np
import pytest

from lifelong.envs.references.policies import play
from lifelong.envs.references.registry import reference_policies
from lifelong.envs.schedules import Cyclic
from lifelong.envs.streams.doors import Doors, random_walk_tries
from lifelong.envs.streams.grid_moves import EAST, NORTH, WEST


@pytest.mark.parametrize(("doors", "depth"), [(4, 2), (3, 1)])
def test_references_are_what_their_policies_get(doors: int, depth: int) -> None:
    stream = Doors(800, doors=doors, depth=depth, colours=4, life_episodes=40)
    references = stream.tasks[0].references
    scores = {name: play(stream, make(), 40) for name, make in reference_policies(stream).items()}
    assert references.within == 1 / doors
    assert scores["random"]["return"].mean() == pytest.approx(references.random, abs=0.01)
    assert scores["within"]["return"].mean() == pytest.approx(1 / doors, abs=0.025)
    assert (scores["oracle"]["return"] == 1).all()
    rows = scores["cross"]
    for chance in np.arange(1, doors + 1) / doors:
        here = rows["cross"] == np.float32(chance)
        assert rows["return"][here].mean() == pytest.approx(chance, abs=0.04 if chance < 1 else 0)
    assert here.mean() > 0.5


def test_the_expected_score_of_a_life_worked_out() -> None:
    # 4 doors, every colour met 10 times: (1/4 + 2/4 + 3/4 + 7) / 10 = .85, as 1 - (n - 1) / (2 E).
    stream = Doors(5, colours=3, schedule=Cyclic(1), life_episodes=30)
    rows = play(stream, reference_policies(stream)["cross"](), 30)
    assert rows["cross"].mean() == pytest.approx(0.85) == 1 - 3 / 20


def test_random_walks_worked_out() -> None:
    # One row: a move north, one in four, is a try.
    assert random_walk_tries(3, 1, 2) == pytest.approx(1 - 0.75**2)
    # Two rows, two moves: north and north.
    assert random_walk_tries(5, 2, 2) == pytest.approx(1 / 16)
    # The third move tries after (not north, north) or (north, east or west): 3/4 * 1/4 + 1/4 * 2/4, and north.
    assert random_walk_tries(5, 2, 3) == pytest.approx(1 / 16 + 3 / 64 + 2 / 64)


def test_an_episode_is_a_walk_a_try_and_a_look() -> None:
    stream = Doors(1, doors=3, colours=1, life_episodes=2)
    stream.reset()
    stream._right[:] = 2
    for door, paid in ((2, 1.0), (0, 0.0)):
        stream.place[:] = [1, 1]
        for move, place in ((EAST if door == 2 else WEST, [door, 1]), (NORTH, [door, 0])):
            seen, reward, terminated, _, _ = stream.step([move])
            assert (seen["observation"]["place"].tolist(), reward, terminated) == ([place], 0, False)
            assert seen["observation"]["tried"] == 3
        seen, reward, terminated, _, _ = stream.step([NORTH])
        assert (reward, terminated) == (paid, False)
        assert (seen["observation"]["tried"], seen["observation"]["over"]) == (door, 1)
        seen, reward, terminated, _, info = stream.step([NORTH])
        assert (reward, terminated) == (0, True)
        assert (seen["observation"]["tried"], seen["observation"]["over"]) == (3, 0)
        rows = info["episodes"]
        assert (rows["return"], rows["success"], rows["answer"], rows["length"]) == (paid, paid, door, 4)


def test_running_out_of_time_is_no_try() -> None:
    stream = Doors(1, doors=2, depth=1, max_steps=2)
    stream.reset()
    stream.place[:] = [0, 0]
    for _ in range(2):
        seen, *_ = stream.step([WEST])
        assert seen["observation"]["place"].tolist() == [[0, 0]]
    assert (seen["observation"]["over"], seen["observation"]["tried"]) == (1, 2)
    rows = stream.step([NORTH])[4]["episodes"]
    assert (rows["answer"], rows["return"], rows["length"]) == (-1, 0, 3)


def test_doors_and_starts_are_drawn_evenly_and_apart() -> None:
    stream = Doors(4000)
    stream.reset()
    for drawn in (stream.right_doors(), stream.place[:, 0]):
        assert np.bincount(drawn, minlength=4) / 4000 == pytest.approx([0.25] * 4, abs=0.03)
    assert np.corrcoef(stream.right_doors(), stream.place[:, 0])[0, 1] == pytest.approx(0, abs=0.06)


@pytest.mark.parametrize("wrong", [{"doors": 1}, {"colours": 0}, {"depth": 0}, {"max_steps": 4}])
def test_numbers_that_make_no_hall_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}.*{next(iter(wrong.values()))}"):
        Doors(**wrong)
