from typing import Any

import numpy as np
import pytest

from lifelong.envs.references.policies import play
from lifelong.envs.references.registry import reference_policies
from lifelong.envs.schedules import Cyclic
from lifelong.envs.streams.dark_room import DarkRoom, random_walk_success, tours
from lifelong.envs.streams.grid_moves import EAST, MOVES, NORTH, SOUTH, WEST, walk_toward


def walk(size: int, moves: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the cells of a tour from the centre, without the centre itself at its begin."""
    place, cells = np.array([size // 2, size // 2]), []
    for move in moves:
        place = np.clip(place + MOVES[move], 0, size - 1)
        cells.append((int(place[0]), int(place[1])))
    return cells


@pytest.mark.parametrize(("size", "max_steps"), [(3, 2), (3, 8), (5, 6), (9, 16), (11, 30)])
def test_tours_visit_what_they_say(size: int, max_steps: int) -> None:
    made, shares = tours(size, max_steps)
    visited: set[tuple[int, int]] = set()
    for m, (moves, share) in enumerate(zip(made, shares, strict=True), start=1):
        assert len(moves) == max_steps
        visited |= set(walk(size, moves)) - {(size // 2, size // 2)}
        assert len(visited) / (size**2 - 1) == share
        assert share <= min(1.0, m * max_steps / (size**2 - 1)) + 1e-12
    assert shares[-1] == 1
    assert shares[0] == min(1.0, max_steps / (size**2 - 1)), "the first tour meets the bound"


def test_the_default_search_is_close_to_the_bound() -> None:
    # No tour visits more than 16 new cells of 80: .2, .4, .6, .8, then 1 is the most, 18 / 20 over 20 episodes.
    shares = np.append(tours(9, 16)[1], np.ones(20))[:20]
    assert shares.mean() == pytest.approx(0.8975)
    assert shares.mean() <= 0.9


def test_random_walks_worked_out() -> None:
    # 3 x 3, two moves. One of the 4 sides is met by the first move or not at all, as no two sides are neighbours: 1/4.
    # One of the 4 corners is met on 2 of 16 ways.
    assert random_walk_success(3, 2) == pytest.approx((4 * 1 / 4 + 4 * 2 / 16) / 8)


def test_references_are_what_their_policies_get() -> None:
    stream = DarkRoom(1500, life_episodes=40, maps=2)
    references = stream.tasks[0].references
    scores = {name: play(stream, make(), 40) for name, make in reference_policies(stream).items()}
    assert references.within == 0.2
    assert scores["random"]["return"].mean() == pytest.approx(references.random, abs=0.006)
    assert scores["within"]["return"].mean() == pytest.approx(0.2, abs=0.025)  # 3,000 goals: three standard errors
    assert (scores["oracle"]["return"] == 1).all()
    rows = scores["cross"]
    for met in range(20):
        here = rows["index_in_visit"] == met
        chance = rows["cross"][here]
        assert (chance == np.float32(tours(9, 16)[1][min(met, 5)])).all()
        assert rows["return"][here].mean() == pytest.approx(chance[0], abs=0.03 if chance[0] < 1 else 0)


def test_what_is_known_of_a_map_is_as_good_when_it_comes_back() -> None:
    stream = DarkRoom(50, maps=3, schedule=Cyclic(1), life_episodes=60)
    rows = play(stream, reference_policies(stream)["cross"](), 60)
    assert (rows["return"][rows["visit"] >= len(tours(9, 16)[0]) - 1] == 1).all()


def test_the_goal_pays_once_and_ends_the_episode() -> None:
    stream = DarkRoom(1, size=3, max_steps=4, maps=1)
    stream.reset()
    stream._goals[:] = [2, 0]
    for turn in range(2):
        places = [[1, 0], [2, 0]]
        for step, move in enumerate((NORTH, EAST)):
            seen, reward, terminated, _, _ = stream.step([move])
            assert seen["observation"]["place"].tolist() == [places[step]]
            assert (reward, terminated) == (float(step), False)
        assert seen["observation"]["over"] == 1
        seen, reward, terminated, _, info = stream.step([EAST])
        assert (reward, terminated) == (0, True)
        row = {name: column[0] for name, column in info["episodes"].items()}
        assert (row["return"], row["length"], row["answer"], row["episode"]) == (1, 3, 2, turn)
        assert seen["observation"]["place"].tolist() == [[1, 1]]


def test_walls_hold_and_time_runs_out() -> None:
    stream = DarkRoom(1, size=3, max_steps=3, maps=1)
    stream.reset()
    stream._goals[:] = [0, 0]
    for move, place in ((EAST, [2, 1]), (EAST, [2, 1]), (SOUTH, [2, 2])):
        seen, reward, terminated, _, _ = stream.step([move])
        assert (seen["observation"]["place"].tolist(), reward, terminated) == ([place], 0, False)
    assert seen["observation"]["over"] == 1
    seen, _, terminated, _, info = stream.step([WEST])
    assert terminated
    assert (info["episodes"]["success"], info["episodes"]["length"]) == (0, 4)


def test_goals_are_drawn_evenly_and_never_in_the_centre() -> None:
    stream = DarkRoom(8000, size=3, max_steps=2, maps=2)
    stream.reset()
    cells = stream._goals[..., 1] * 3 + stream._goals[..., 0]
    for k in range(2):
        counts = np.bincount(cells[:, k], minlength=9) / 8000
        assert counts[4] == 0
        assert np.abs(np.delete(counts, 4) - 1 / 8).max() < 0.015
    assert np.corrcoef(cells.T)[0, 1] == pytest.approx(0, abs=0.04)


def test_policies_are_told_nothing_but_observations() -> None:
    stream = DarkRoom(64, life_episodes=40)
    policies = reference_policies(stream)
    for name in ("within", "cross"):
        seen, info = stream.reset()
        first = policies[name]().act(seen, info["life_start"])
        stream._goals[:] = 8 - stream._goals
        assert np.array_equal(policies[name]().act(seen, info["life_start"]), first)


def test_ways_go_along_x_first() -> None:
    place, goal = np.array([[1, 1]] * 4), np.array([[0, 0], [3, 0], [1, 2], [1, 0]])
    assert walk_toward(place, goal).tolist() == [WEST, EAST, SOUTH, NORTH]


@pytest.mark.parametrize("wrong", [{"size": 8}, {"size": 1}, {"max_steps": 7}, {"maps": 0}])
def test_numbers_that_make_no_room_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}.*{next(iter(wrong.values()))}"):
        DarkRoom(**wrong)
