"""Rooms and MiniGrid, step by step: the same levels and actions, the same observations, rewards and ends."""

from collections.abc import Iterator

import gymnasium
import minigrid  # noqa: F401  registers its environments
import numpy as np
import pytest

from lifelong.envs.minigrid.bridge import draw, from_minigrid
from lifelong.envs.references.planner import plan
from lifelong.envs.rooms.grids import Grids
from lifelong.envs.rooms.tasks import TASKS

LIVELY = [0, 1, 2, 2, 2, 3, 4, 5, 5, 6]  # walks and opens doors more often than not
LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE = range(6)


def moves(kind: str, grids: Grids, rng: np.random.Generator) -> Iterator[int]:
    """Yield the actions of an episode: at random, planned, or planned with a random step now and then."""
    while True:
        way = [] if kind == "random" else plan(grids, 0).tolist()
        for action in way:
            yield action
            if kind == "astray" and rng.random() < 0.2:
                break
        yield int(rng.choice(LIVELY))


def compare(name: str, steps: int) -> dict[str, int]:
    """Step both until `steps` are compared; return how often the ends were reached."""
    task = TASKS[name]
    env = gymnasium.make(task.minigrid_id, disable_env_checker=True).unwrapped
    assert (env.width, env.height, env.max_steps) == (task.width, task.height, task.max_steps)
    grids, rng = Grids(1, [task]), np.random.default_rng(0)
    ends = {"won": 0, "lost": 0, "late": 0}
    compared, episode = 0, 0
    while compared < steps:
        obs, _ = env.reset(seed=episode)
        grids.load(0, 0, from_minigrid(env))
        step, kind = 0, ("planned", "astray", "random")[episode % 3]
        for action in moves(kind, grids, rng):
            np.testing.assert_array_equal(grids.image[0], obs["image"])
            assert grids.direction[0] == obs["direction"]
            obs, *wanted = env.step(action)
            reward, terminated, truncated = (of[0] for of in grids.step(np.array([action]), np.array([step])))
            assert (reward, terminated, truncated) == (wanted[0], wanted[1], wanted[2] and not wanted[1])
            step, compared = step + 1, compared + 1
            if terminated or truncated:
                np.testing.assert_array_equal(grids.image[0], obs["image"])
                ends["late" if truncated else "won" if reward else "lost"] += 1
                break
        episode += 1
    return ends


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_minigrids_own(name: str) -> None:
    ends = compare(name, 300)
    assert ends["won"]


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_ten_thousand_steps_of_every_task_are_minigrids_own(name: str) -> None:
    ends = compare(name, 10_000)
    assert ends["won"] > 5
    assert ends["lost"] > 0 or not name.startswith(("lava", "dist", "memory"))


@pytest.mark.parametrize("name", TASKS)
def test_a_level_survives_the_way_there_and_back(name: str) -> None:
    grids, again = Grids(2, [TASKS[name]]), Grids(1, [TASKS[name]])
    grids.begin(np.arange(2), np.zeros(2, np.int64), np.array([5, 6]))
    level = grids.level(1)
    again.load(0, 0, level)
    np.testing.assert_array_equal(again.cells[0], grids.cells[1])
    np.testing.assert_array_equal(again.image[0], grids.image[1])
    assert (level.x, level.y) == (again.level(0).x, again.level(0).y)


def test_closing_locking_carrying_and_putting_down_by_hand() -> None:
    env = gymnasium.make("MiniGrid-DoorKey-5x5-v0", disable_env_checker=True).unwrapped
    grids = Grids(1, [TASKS["doorkey-5x5"]])
    env.reset(seed=0)
    grids.load(0, 0, from_minigrid(env))
    way = plan(grids, 0).tolist()
    to_door = way[: way.index(TOGGLE)]
    told = []
    for step, action in enumerate([*to_door, *[TOGGLE] * 3, DROP, LEFT, DROP, TOGGLE, PICKUP, PICKUP, RIGHT, FORWARD]):
        obs, reward, terminated, _, _ = env.step(action)
        ours = grids.step(np.array([action]), np.array([step]))
        np.testing.assert_array_equal(grids.image[0], obs["image"])
        assert (ours[0][0], ours[1][0]) == (reward, terminated)
        told.append((grids.cells[0][grids.at[0] + grids.ahead[grids.direction[0]]] >> 3, grids.carried[0] >> 3))
    # what is ahead (4 open, 11 closed, 12 locked door) and carried (5 key), from before the first toggle on
    assert told[len(to_door) - 1 :][:5] == [(12, 5), (4, 5), (11, 5), (4, 5), (4, 5)]
    assert (5, 0) in told


@pytest.mark.parametrize("name", ["doorkey-8x8", "keycorridors3r2", "memorys7", "lavacrossings9n2", "empty-5x5"])
def test_pictures_are_minigrids_own(name: str) -> None:
    env = gymnasium.make(TASKS[name].minigrid_id, disable_env_checker=True, render_mode="rgb_array").unwrapped
    grids, rng = Grids(1, [TASKS[name]]), np.random.default_rng(1)
    for seed in range(4):
        env.reset(seed=seed)
        for _ in range(rng.integers(5)):
            env.step(int(rng.choice(LIVELY[:4])))
        grids.load(0, 0, from_minigrid(env))
        drawn = draw(grids.level(0), grids.image[0], 32)
        np.testing.assert_array_equal(drawn, env.render())


def test_what_is_not_minigrids_own_is_refused() -> None:
    env = gymnasium.make("MiniGrid-ObstructedMaze-1Dlh-v0", disable_env_checker=True).unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match="boxes are empty"):
        from_minigrid(env)
