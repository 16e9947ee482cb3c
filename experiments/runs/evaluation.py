"""Frozen lives: what an agent's memory can do when its slow weights no longer change.

The lives are fresh, or copies of the living; nothing they do reaches the agent, its memory or its random numbers.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lifelong.agents import Carry, Graph, Rollout, join_rows
from lifelong.agents.actor_critic import ActorCritic
from lifelong.envs import TaskStream
from lifelong.envs.rng import evaluation_seed
from lifelong.experiments.metrics.rows import Rows
from lifelong.experiments.runs.actions import Actions
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig

__all__ = ["Evaluation", "evaluate_frozen", "live_frozen", "own_random", "training_episodes", "training_horizon"]

_SEGMENT = 64  # steps between two looks at the clock
_LONGEST = 10  # times the expected steps after which unfinished episodes are given up
_BUDGET = 0.3  # steps of one pass, at most, for a second one, for each of training, which takes four times as long


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Episodes of a frozen agent in fresh lives.

    Args:
        rows: columns of `lifelong.envs.stream.ROW`, by how the agent acted.
        notes: what is to be said of them.
    """

    rows: dict[Actions, Rows]
    notes: tuple[str, ...]


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
    episodes: int | None = None,
    actions: Actions = "drawn",
    carry: Carry = "lifetime",
    seed: int = 0,
    cuda_graph: Graph = "auto",
    progress: Callable[[int], None] = lambda lived: None,
) -> dict[str, NDArray[Any]]:
    """Run a frozen policy in new lives and return the rows of their episodes.

    Args:
        policy: to evaluate; not changed.
        env: where; it is reset.
        steps: environment steps of every life; with `episodes` the most.
        episodes: of every endless life that count; lives end when all have them. If `steps` come first, as many count
            as all lives have, since the episodes that end within some time are the short ones. None: all that end.
        actions: how it acts.
        carry: what ends the memory.
        seed: of the actions.
        cuda_graph: whether acting is a CUDA graph; see `Rollout`.
        progress: told the steps lived so far, of all lives together.

    Returns:
        Columns of `lifelong.envs.stream.ROW`.
    """
    with own_random(seed):
        rollout = Rollout(policy, env, carry, cuda_graph=cuda_graph, deterministic=actions == "greedy")
        rows = []
        left = steps
        while left > 0 and (episodes is None or env.episode.min() < episodes):
            segment = rollout.collect(min(left, _SEGMENT))
            left -= _SEGMENT
            if segment.episodes:
                rows.append(segment.episodes)
            progress(rollout.steps)
    found = join_rows(rows)
    if episodes is None or not found:
        return found
    counted = min(episodes, int(env.episode.min()) or episodes)  # all, if there are lives without any
    return {name: column[found["episode"] < counted] for name, column in found.items()}


def evaluate_frozen(policy: ActorCritic, config: TrainConfig, mean_length: float) -> Evaluation:
    """Evaluate a frozen policy in fresh lives of the length of training, by every kind of actions of the config.

    Each kind lives the same lives from the beginning. With `both`, greedy actions are left out if drawn ones took more
    than 30 % of the steps of training. Of endless lives the first episodes count, as many of each.

    Args:
        policy: to evaluate; not changed.
        config: resolved.
        mean_length: steps of an episode in training.
    """
    kinds: tuple[Actions, ...] = ("drawn", "greedy") if config.actions == "both" else (config.actions,)
    horizon, episodes = training_horizon(config, mean_length), training_episodes(config, mean_length)
    most = horizon if episodes is None else _LONGEST * horizon
    found: dict[Actions, Rows] = {}
    notes = []
    lived = 0

    def count(steps: int) -> None:
        nonlocal lived
        lived = steps

    for actions in kinds:
        if found and lived > _BUDGET * (config.steps or 0):
            notes.append(
                f"greedy actions were not evaluated, since drawn ones took {lived:,} steps, more than 30 % of those of "
                f"training; lifelong retention {config.run} --actions greedy evaluates them"
            )
            break
        seed = evaluation_seed(config.seed)
        env = make_env(config, num_envs=config.evaluation_lives, seed=seed, life_hazard=None)
        found[actions] = rows = live_frozen(
            policy,
            env,
            most,
            episodes=episodes,
            actions=actions,
            carry=config.carry,
            seed=config.seed,
            cuda_graph=config.cuda_graph,
            progress=count,
        )
        env.close()
        without = env.num_envs - (np.unique(rows["life"]).size if rows else 0)
        if episodes is not None and without:
            notes.append(f"lives of {actions} actions without an episode that ended in {most:,} steps: {without}")
    return Evaluation(found, tuple(notes))


def training_horizon(config: TrainConfig, mean_length: float) -> int:
    """Return the steps of a life in training; if no length is stated, those of a segment or of ten episodes.

    Args:
        config: resolved.
        mean_length: steps of an episode.
    """
    if config.life_episodes:
        return max(round(config.life_episodes * mean_length), 1)
    return max(config.segment or 1, round(10 * mean_length))


def training_episodes(config: TrainConfig, mean_length: float) -> int | None:
    """Return the episodes of `training_horizon` in an endless life; None where lives have a length of their own.

    Args:
        config: resolved.
        mean_length: steps of an episode.
    """
    return None if config.life_episodes else max(round(training_horizon(config, mean_length) / mean_length), 1)
