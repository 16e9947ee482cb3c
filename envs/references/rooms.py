"""Measured reference scores of Rooms: uniform actions, and the planner on the whole level.

The numbers in `tasks` are those of `measure(name, 20_480)`. The best score from the agent's observations is not known;
it is the same with and without memory across episodes, as nothing hidden outlives an episode.
"""

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.references.planner import plan
from lifelong.envs.rng import Purpose, bits, integers
from lifelong.envs.rooms.grids import Grids
from lifelong.envs.rooms.tasks import TASKS

__all__ = ["measure", "oracle_returns", "random_returns"]

_BATCH = 2048


def random_returns(name: str, seeds: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the returns of uniform actions in the levels with these seeds, [n]."""
    grids = _begun(name, seeds)
    returns, going_on = np.zeros(seeds.size), np.ones(seeds.size, np.bool_)
    for step in range(TASKS[name].max_steps):
        actions = integers(7, 0, Purpose.POLICY, seeds, step)
        reward, terminated, _ = grids.step(actions, np.full(seeds.size, step))
        returns += np.where(going_on, reward, 0.0)
        going_on &= ~terminated
        if not going_on.any():
            break
    return returns


def oracle_returns(name: str, seeds: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the returns of the planner in the levels with these seeds, [n]."""
    grids = _begun(name, seeds)
    lengths = np.array([plan(grids, slot).size for slot in range(seeds.size)])
    return 1 - 0.9 * lengths / TASKS[name].max_steps


def measure(name: str, episodes: int) -> tuple[float, float]:
    """Return the mean returns of uniform actions and of the planner.

    Args:
        name: of the task.
        episodes: number of episodes of each.
    """
    seeds = (bits(0, Purpose.EPISODE, np.arange(episodes)) >> np.uint64(33)).astype(np.int64)
    batches = np.split(seeds, range(_BATCH, episodes, _BATCH))
    random, oracle = (
        float(np.concatenate([returns(name, batch) for batch in batches]).mean())
        for returns in (random_returns, oracle_returns)
    )
    return random, oracle


def _begun(name: str, seeds: NDArray[np.int64]) -> Grids:
    grids = Grids(seeds.size, [TASKS[name]])
    grids.begin(np.arange(seeds.size), np.zeros(seeds.size, np.int64), seeds)
    return grids
