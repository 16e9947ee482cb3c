"""Frozen lives: what an agent's memory can do when its slow weights no longer change.

The lives are fresh, or copies of the living; nothing they do reaches the agent, its memory or its random numbers.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lifelong.agents import Carry, Graph, Rollout, join_rows
from lifelong.agents.actor_critic import ActorCritic
from lifelong.envs import TaskStream
from lifelong.experiments.runs.config import TrainConfig

__all__ = ["live_frozen", "own_random", "training_horizon"]

_SEGMENT = 64  # steps between two looks at the clock


@contextmanager
def own_random(seed: int) -> Iterator[None]:
    """Seed torch's random numbers inside the block; restore them, NumPy's and Python's global ones afterwards."""
    of_numpy, of_python = np.random.get_state(), random.getstate()  # noqa: NPY002  an environment may draw from them
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    finally:
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)


def live_frozen(
    policy: ActorCritic,
    env: TaskStream,
    steps: int,
    *,
    carry: Carry = "lifetime",
    seed: int = 0,
    cuda_graph: Graph = "auto",
    progress: Callable[[int], None] = lambda lived: None,
) -> dict[str, NDArray[Any]]:
    """Run a frozen policy in new lives and return the rows of their episodes.

    Args:
        policy: who acts; left as it is.
        env: where; it is reset.
        steps: environment steps of every life.
        carry: what ends the memory.
        seed: of the actions.
        cuda_graph: whether acting is a CUDA graph; see `Rollout`.
        progress: told the steps lived so far, of all lives together.

    Returns:
        Columns of `lifelong.envs.stream.ROW`.
    """
    with own_random(seed):
        rollout = Rollout(policy, env, carry, cuda_graph=cuda_graph)
        rows = []
        left = steps
        while left > 0:
            segment = rollout.collect(min(left, _SEGMENT))
            left -= _SEGMENT
            if segment.episodes:
                rows.append(segment.episodes)
            progress(rollout.steps)
    return join_rows(rows)


def training_horizon(config: TrainConfig, mean_length: float) -> int:
    """Return the steps of a life in training; if no length is stated, those of a segment or of ten episodes.

    Args:
        config: resolved.
        mean_length: steps of an episode.
    """
    if config.life_episodes:
        return max(round(config.life_episodes * mean_length), 1)
    return max(config.segment or 1, round(10 * mean_length))
