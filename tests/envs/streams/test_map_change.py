from collections import deque
from typing import Any

import numpy as np
import pytest

from lifelong.envs.references.policies import play
from lifelong.envs.references.registry import reference_policies
from lifelong.envs.streams.grid_moves import EAST, FAR, MOVES, NORTH, SOUTH, WEST, distances
from lifelong.envs.streams.map_change import _MEASURED, FLOOR, GOAL, WALL, MapChange, arms, four_rooms

MAP = """
#######
#..#..#
#.....#
##.##.#
#..#..#
#.....#
#######
"""
PLACES = {"goal": (5, 5), "start": (1, 1)}  # x, y


def drawn() -> np.ndarray:
    """Return MAP as cells [y, x], with the goal."""
    cells = np.array([[FLOOR if cell == "." else WALL for cell in row] for row in MAP.split()], np.int8)
    cells[PLACES["goal"][::-1]] = GOAL
    return cells


def walk_back(passable: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return distances by breadth-first search, cell by cell."""
    away = np.where(target, 0, FAR)
    open_ends = deque(map(tuple, np.argwhere(target)))
    while open_ends:
        y, x = open_ends.popleft()
        for dx, dy in MOVES:
            there = y + dy, x + dx
            if passable[there] and away[there] > away[y, x] + 1:
                away[there] = away[y, x] + 1
                open_ends.append(there)
    return away


def posed() -> MapChange:
    """Return a stream whose only life is in MAP, at the start."""
    stream = MapChange(1, size=7, max_steps=8, maps=1)
    stream.reset()
    stream._cells[:] = drawn()
    stream._away[:] = distances(drawn() != WALL, drawn() == GOAL)
    stream.place[:] = PLACES["start"]
    return stream


def test_distances_are_those_of_breadth_first_search() -> None:
    random = np.random.default_rng(0)
    passable = np.zeros((40, 9, 9), np.bool_)
    passable[:, 1:-1, 1:-1] = random.random((40, 7, 7)) < 0.7
    target = passable & (random.random(passable.shape) < 0.05)
    expected = np.array([walk_back(*pair) for pair in zip(passable, target, strict=True)])
    assert np.array_equal(distances(passable, target), expected)
    assert (expected[passable] == FAR).any()
    assert distances(drawn() != WALL, drawn() == GOAL)[1, 1] == 8  # 4 columns and 4 rows, and a way without detours


def test_a_map_has_four_openings_and_a_goal_that_can_be_reached() -> None:
    stream = MapChange(300, size=9, maps=2)
    stream.reset()
    cells = stream._cells.reshape(-1, 9, 9)
    bare = four_rooms(9)
    assert ((cells == GOAL).sum((1, 2)) == 1).all()
    assert (bare[np.nonzero(cells == GOAL)[1:]] == FLOOR).all()
    for arm in arms(9):
        assert ((cells[:, arm[:, 0], arm[:, 1]] == FLOOR).sum(1) == 1).all()
    changed = (cells != bare) & (cells != GOAL)
    assert changed.sum() == 4 * len(cells)
    assert (stream._away[stream._cells != WALL] < FAR).all()


def test_openings_and_goals_are_drawn_evenly_and_apart() -> None:
    stream = MapChange(4000, size=7, maps=1)
    stream.reset()
    cells = stream._cells[:, 0]
    opened = [(cells[:, arm[0, 0], arm[0, 1]] == FLOOR).astype(float) for arm in arms(7)]  # the first of two cells
    assert np.array(opened).mean(1) == pytest.approx([0.5] * 4, abs=0.03)
    assert np.abs(np.corrcoef(opened) - np.eye(4)).max() < 0.06
    goals = np.nonzero(cells.reshape(4000, -1) == GOAL)[1]
    counts = np.bincount(goals, minlength=49)[four_rooms(7).ravel() == FLOOR] / 4000
    assert counts == pytest.approx([1 / 16] * 16, abs=0.015)
    assert np.abs(np.corrcoef([goals, *opened])[0, 1:]).max() < 0.06


def test_starts_are_as_far_as_they_should_be() -> None:
    stream = MapChange(200, max_steps=9, nearest=6)
    stream.reset()
    met = set()
    for _ in range(40):
        fresh = stream.episode_length == 0
        away = stream._away[np.arange(200), stream.task, stream.place[:, 1], stream.place[:, 0]][fresh]
        met |= set(away.tolist())
        stream.step(np.zeros(200, np.int64))
    assert met == {6, 7, 8, 9}


def test_a_way_worked_out() -> None:
    stream = posed()
    way = [SOUTH, EAST, EAST, EAST, EAST, SOUTH, SOUTH, SOUTH]
    for step, move in enumerate(way):
        assert stream._away[0, 0, stream.place[0, 1], stream.place[0, 0]] == 8 - step
        seen, reward, terminated, _, _ = stream.step([move])
        assert (reward, terminated) == (float(step == 7), False)
    assert seen["observation"]["over"] == 1
    rows = stream.step([0])[4]["episodes"]
    assert (rows["return"], rows["length"], rows["answer"]) == (1, 9, 5 * 7 + 5)


def test_walls_hold_and_time_runs_out() -> None:
    stream = posed()
    for move, place in ((NORTH, [1, 1]), (WEST, [1, 1]), (EAST, [2, 1]), (EAST, [2, 1])) * 2:
        seen, reward, *_ = stream.step([move])
        if move != WEST and move != NORTH:
            assert seen["observation"]["place"].tolist() == [place]
        assert reward == 0
    assert seen["observation"]["over"] == 1
    assert stream.step([0])[4]["episodes"]["success"] == 0


def test_the_view_worked_out() -> None:
    stream = posed()
    assert stream._observation()["observation"]["view"].tolist() == [
        [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 0, 0, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 1]]
    ]
    stream.place[:] = [4, 4]
    assert stream._observation()["observation"]["view"].tolist() == [
        [[0, 0, 0, 0, 1], [0, 1, 1, 0, 1], [0, 1, 0, 0, 1], [0, 0, 0, 2, 1], [1, 1, 1, 1, 1]]
    ]


def test_memory_of_a_map_is_worth_much_and_the_oracle_is_always_in_time() -> None:
    stream = MapChange(100, life_episodes=40, maps=2)
    rows = {name: play(stream, make(), 40) for name, make in reference_policies(stream).items()}
    assert (rows["oracle"]["return"] == 1).all()
    for name, expected in _MEASURED.items():
        allowed = 0.06 if name == "within" else 0.02  # 4,000 episodes in 200 maps
        assert rows[name]["return"].mean() == pytest.approx(expected, abs=allowed)
    firsts = [rows[name]["return"][rows[name]["index_in_visit"] == 0] for name in ("within", "cross")]
    assert firsts[0].sum() == firsts[1].sum(), "in the first episode of a map there is nothing to remember"
    assert rows["cross"]["return"][rows["cross"]["index_in_visit"] >= 10].mean() > 0.99


def test_the_explorer_is_told_nothing_but_observations() -> None:
    stream = MapChange(64)
    for name in ("within", "cross"):
        seen, info = stream.reset()
        first = reference_policies(stream)[name]().act(seen, info["life_start"])
        stream._cells[:] = stream._cells[..., ::-1]
        stream._away[:] = 0
        assert np.array_equal(reference_policies(stream)[name]().act(seen, info["life_start"]), first)


def test_what_is_measured_is_told_of_the_default_rooms_only() -> None:
    assert MapChange(1).tasks[0].references.cross == _MEASURED["cross"]
    assert np.isnan(MapChange(1, size=9).tasks[0].references.cross)
    assert MapChange(1, size=9).tasks[0].references.oracle == 1


@pytest.mark.parametrize(
    "wrong", [{"size": 8}, {"size": 3}, {"nearest": 0}, {"nearest": 9}, {"max_steps": 2}, {"maps": 0}]
)
def test_numbers_that_make_no_map_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}.*{next(iter(wrong.values()))}"):
        MapChange(**wrong)
