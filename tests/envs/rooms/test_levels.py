"""Levels drawn by Rooms have MiniGrid's distribution, and their draws are those of `lifelong.envs.rng`."""

import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import minigrid  # noqa: F401  registers its environments
import numpy as np
import pytest
from scipy.stats import chi2_contingency

from lifelong.envs.minigrid.bridge import from_minigrid
from lifelong.envs.references import planner
from lifelong.envs.references.planner import plan
from lifelong.envs.rng import Purpose, integers
from lifelong.envs.rooms import grid, levels
from lifelong.envs.rooms.grids import Grids, Level
from lifelong.envs.rooms.tasks import TASKS

DRAWN = [name for name in TASKS if not name.startswith("distshift") and name not in {"empty-5x5", "empty-8x8"}]


def ours(name: str, count: int) -> list[Level]:
    grids = Grids(count, [TASKS[name]])
    grids.begin(np.arange(count), np.zeros(count, np.int64), np.arange(count) + 1000)
    return [grids.level(slot) for slot in range(count)]


def theirs(name: str, count: int) -> list[Level]:
    env = gymnasium.make(TASKS[name].minigrid_id, disable_env_checker=True).unwrapped
    found = []
    for seed in range(count):
        env.reset(seed=seed)
        found.append(from_minigrid(env))
    return found


def features(level: Level) -> dict[str, int]:
    """Return features of a level: positions, colours, counts and distances of objects."""
    kinds = level.cells >> 3
    told = {"x": level.x, "y": level.y, "direction": level.direction, "mission": level.mission}
    for name, kind in (("key", 5), ("ball", 6), ("goal", 8), ("lava", 9), ("closed", 11), ("locked", 12)):
        places = np.argwhere(kinds == kind)
        told[f"{name}s"] = len(places)
        if len(places):
            (y, x), (last_y, last_x) = places[0], places[-1]
            told |= {f"{name} x": x, f"{name} y": y, f"{name} span": last_x - x + 32 * (last_y - y)}
            told |= {f"{name} colour": level.cells[y, x] & 7, f"{name} column": x * 2 + (level.x < x)}
    told["walls"] = int((kinds == grid.WALL).sum())
    told["first wall"] = int((kinds[1:-1, 1:-1] == grid.WALL).ravel().argmax())
    told["wall columns"] = int((kinds[1:-1] == grid.WALL).all(0).sum())
    told["match"] = int(np.argmax(level.cells.ravel() == grid.MATCH))
    return told


def p_value(one: list[int], other: list[int]) -> float:
    """Return how probable so great a difference of two samples is by chance; rare values count as one."""
    values, counts = np.unique(one + other, return_counts=True)
    common = values[counts >= 20]
    table = np.array([[np.sum(np.array(part) == value) for value in common] for part in (one, other)])
    table = np.column_stack((table, [len(one), len(other)] - table.sum(1)))
    table = table[:, table.sum(0) > 0]
    return 1.0 if table.shape[1] < 2 else float(chi2_contingency(table).pvalue)


def smallest_p(name: str, count: int) -> tuple[float, str, int]:
    """Return the smallest p of all features, its name, and how many features were compared."""
    one, other = ([features(level) for level in of(name, count)] for of in (ours, theirs))
    names = sorted(set().union(*one, *other))
    p = {key: p_value([f.get(key, -1) for f in one], [f.get(key, -1) for f in other]) for key in names}
    least = min(p, key=p.__getitem__)
    return p[least], least, len(names)


@pytest.mark.parametrize("name", ["doorkey-6x6", "unlock", "multiroom-n2-s4", "lavacrossings9n2", "memorys13random"])
def test_levels_have_minigrids_distribution(name: str) -> None:
    p, feature, compared = smallest_p(name, 400)
    assert p > 1e-4 / compared, feature


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_many_levels_of_every_task_have_minigrids_distribution(name: str) -> None:
    p, feature, compared = smallest_p(name, 4000)
    assert p > 1e-4 / compared, feature


@pytest.mark.parametrize(("feature", "shift"), [("x", 1), ("direction", 1)])
def test_the_comparison_finds_a_difference(feature: str, shift: int) -> None:
    told = [features(level)[feature] for level in ours("doorkey-6x6", 400)]
    assert p_value(told, told) > 0.99
    assert p_value(told, [value if i % 2 else 2 for i, value in enumerate(told)]) < 1e-6


@pytest.mark.parametrize("name", TASKS)
def test_every_level_can_be_solved(name: str) -> None:
    count, task = 60, TASKS[name]
    grids = Grids(count, [task])
    grids.begin(np.arange(count), np.zeros(count, np.int64), np.arange(count))
    ways = [plan(grids, slot) for slot in range(count)]
    longest = max(way.size for way in ways)
    assert 0 < min(way.size for way in ways) <= longest <= task.max_steps
    actions = np.array([np.pad(way, (0, longest - way.size), constant_values=6) for way in ways])
    won = np.zeros(count)
    for step in range(longest):
        reward, terminated, _ = grids.step(np.ascontiguousarray(actions[:, step]), np.full(count, step))
        last = np.array([way.size == step + 1 for way in ways])
        assert terminated[last].all()
        won += np.where(last, reward, 0)
    np.testing.assert_allclose(won, [1 - 0.9 * way.size / task.max_steps for way in ways])


def test_levels_are_functions_of_their_seeds() -> None:
    tasks = [TASKS["doorkey-8x8"], TASKS["keycorridors3r3"], TASKS["multiroom-n6"]]
    together, alone = Grids(6, tasks), Grids(6, tasks)
    which, seeds = np.arange(6) % 3, np.array([7, 7, 7, 8, 2**31 - 1, 0])
    together.begin(np.arange(6), which, seeds)
    for slot in np.arange(6)[::-1]:
        alone.begin(np.array([slot]), which[slot : slot + 1], seeds[slot : slot + 1])
    np.testing.assert_array_equal(together.cells, alone.cells)
    np.testing.assert_array_equal(together.image, alone.image)
    assert not np.array_equal(together.cells[0], together.cells[3])


def test_draws_are_those_of_the_stream() -> None:
    for seed in (0, 1, 2**31 - 1):
        np.testing.assert_array_equal(levels.draws(seed, 6, 50), integers(6, seed, Purpose.LEVEL, np.arange(50)))


def test_what_two_files_must_agree_on() -> None:
    for other in (levels, planner):
        named = [name for name, value in vars(other).items() if isinstance(value, int) and hasattr(grid, name)]
        assert len(named) > 8
        assert all(getattr(other, name) == getattr(grid, name) for name in named)
    assert {task.family for task in TASKS.values()} == set(levels.FAMILIES)


def test_a_level_is_the_same_whatever_else_begins_beside_it() -> None:
    names = ["doorkey-6x6", "unlock", "multiroom-n2-s4", "doorkey-8x8"]
    together = Grids(8, [TASKS[name] for name in names])
    together.begin(np.arange(8), np.arange(8) % 4, np.arange(8) + 1000)
    for slot in range(8):
        alone = Grids(1, [TASKS[names[slot % 4]]])
        alone.begin(np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([slot + 1000]))
        one, other = together.level(slot), alone.level(0)
        np.testing.assert_array_equal(one.cells, other.cells)
        assert one[1:] == other[1:]


def test_only_families_that_are_played_are_compiled(tmp_path: Path) -> None:
    code = """
from lifelong.envs import make_stream
from lifelong.envs.rooms import levels
make_stream("rooms", num_envs=2, task="empty-5x5").reset()
print(*(family for family, loop in levels.FAMILIES.items() if loop.signatures))
"""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["empty"]
