"""The planner's paths are the shortest, by exhaustive search."""

import itertools

import numpy as np
import pytest

from lifelong.envs.references.planner import plan
from lifelong.envs.rooms.grids import Grids
from lifelong.envs.rooms.tasks import TASKS

ACTIONS = 6  # but for doing nothing


def begun(name: str, seed: int, num_envs: int = 1) -> Grids:
    grids = Grids(num_envs, [TASKS[name]])
    grids.begin(np.arange(num_envs), np.zeros(num_envs, np.int64), np.full(num_envs, seed))
    return grids


def steps_of_the_shortest_way(name: str, seed: int) -> int:
    """Search all reachable states exhaustively, step by step."""
    first = begun(name, seed)
    met: set[bytes] = set()
    states = [(first.cells[0], first.at[0], first.direction[0], first.carried[0])]
    for steps in itertools.count(1):
        grids = begun(name, seed, ACTIONS * len(states))
        for kept, values in zip(
            (grids.cells, grids.at, grids.direction, grids.carried), zip(*states, strict=True), strict=True
        ):
            kept[:] = np.repeat(np.stack(values), ACTIONS, 0)
        reward, over, _ = grids.step(np.tile(np.arange(ACTIONS), len(states)), np.zeros(grids.at.size, np.int64))
        if reward.any():
            return steps
        states = []
        for slot in np.flatnonzero(~over):
            state = grids.cells[slot], grids.at[slot], grids.direction[slot], grids.carried[slot]
            name_of_state = b"".join(part.tobytes() for part in state)
            if name_of_state not in met:
                met.add(name_of_state)
                states.append(state)
    raise AssertionError("there is no way")


@pytest.mark.parametrize(
    ("name", "seed"), [("keycorridors3r1", 0), ("keycorridors3r1", 1), ("keycorridors3r2", 2), ("doorkey-5x5", 3)]
)
def test_no_way_is_shorter(name: str, seed: int) -> None:
    """A level of KeyCorridorS3R2 whose shortest path passes a door twice, opening it once."""
    grids = begun(name, seed)
    way = plan(grids, 0)
    assert way.size == steps_of_the_shortest_way(name, seed)
    for step, action in enumerate(way):
        reward, over, _ = grids.step(np.array([action]), np.array([step]))
        assert over[0] == (reward[0] > 0) == (step == way.size - 1)


def test_a_door_that_is_passed_twice_is_opened_once() -> None:
    """Here paying for it twice made a way of 21 steps look as this one."""
    assert plan(begun("keycorridors3r2", 2), 0).size == 20
