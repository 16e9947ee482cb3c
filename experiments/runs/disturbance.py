"""Probes of a memory after steps of something else: noise, or the life of another stream.

Lives are lived by a frozen agent up to a point. From there a copy of its memory goes through n steps of something else;
then every task that the life has met is asked once, each from that same memory, so that asking teaches nothing
(`task_evaluation`, mode probe). Episodes, and the random numbers of actions, are the same for every n.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lifelong.agents import BatchedEnv, Carry, Rollout, join_rows
from lifelong.agents.actor_critic import ActorCritic
from lifelong.envs import TaskStream
from lifelong.experiments.runs.actions import Actions
from lifelong.experiments.runs.evaluation import own_random
from lifelong.experiments.runs.task_evaluation import evaluate_tasks

__all__ = ["powers_of_four", "probe_after"]

_SEGMENT = 64  # steps between two looks at the clock


def powers_of_four(most: int) -> tuple[int, ...]:
    """Return 0, 16, 64, 256, ... up to `most`, and `most` itself."""
    grid = [0]
    while (following := 4 * grid[-1] or 16) < most:
        grid.append(following)
    return (*grid, most)


def probe_after(
    policy: ActorCritic,
    env: TaskStream,
    copies: TaskStream,
    something_else: BatchedEnv,
    *,
    before: int,
    grid: Sequence[int],
    least_lag: int = 1,
    actions: Actions = "drawn",
    carry: Carry = "lifetime",
    seed: int = 0,
    progress: Callable[[int], None] = lambda lived: None,
) -> dict[str, NDArray[Any]]:
    """Ask about tasks met before, after n steps of something else, and return the rows.

    Args:
        policy: to evaluate; not changed.
        env: where the lives are lived; it is reset.
        copies: a stream of its own, made as `env`, reset once.
        something_else: what comes between; as many lives, in the same spaces. Its first step begins no life.
        before: steps of every life before it.
        grid: n, in rising order.
        least_lag: least lag, in episodes, of tasks that are asked.
        actions: how the policy acts.
        carry: what ends the memory.
        seed: of the actions.
        progress: told the steps lived so far, of all lives together, without the questions.

    Returns:
        Columns of `lifelong.envs.stream.ROW`, and `disturbed`, the n of the row.

    Raises:
        ValueError: if lives of the stream cannot be copied.
    """
    found = []
    with own_random(seed):
        rollout = Rollout(policy, env, carry, deterministic=actions == "greedy")
        for lived in range(0, before, _SEGMENT):
            rollout.collect(min(_SEGMENT, before - lived))
            progress(rollout.steps)
        position, steps = env.position(), rollout.steps
        other = Rollout(policy, something_else, carry, deterministic=actions == "greedy")
        other.state, other.start = rollout.state.clone(), torch.zeros_like(other.start)
        done = 0
        for n in grid:
            while done < n:
                segment = min(_SEGMENT, n - done)
                other.collect(segment)
                done += segment
                progress(steps + other.steps)
            rollout.state = other.state
            rows, _ = evaluate_tasks(rollout, position, copies, seed=seed)
            met = rows["lag_episodes"] >= least_lag
            found.append({name: column[met] for name, column in rows.items()} | {"disturbed": np.full(met.sum(), n)})
    return join_rows(found)
