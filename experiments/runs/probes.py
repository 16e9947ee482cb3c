"""Probes: a frozen agent is asked for what it met a chosen number of episodes ago, and never notices.

The agent lives in fresh lives whose schedule meets every task once, or a stated number of times, and then not again.
Before an episode, copies of lives and memory are asked for tasks last met exactly `lag` episodes ago, and are thrown
away after that one episode: asking neither rehearses nor writes, and lag is an independent variable.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict

from lifelong.agents import Carry, Graph, Rollout, join_rows
from lifelong.agents.actor_critic import ActorCritic
from lifelong.envs import TaskStream
from lifelong.envs.fork import fork
from lifelong.experiments.metrics.rows import Rows
from lifelong.experiments.runs.actions import Actions
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.evaluation import own_random

__all__ = ["MOST_ASKED", "ask_at_lags", "check_lags", "check_probe", "length_of_life", "refusal"]

Ints = NDArray[np.int64]

MOST_ASKED = 32
"""Questions about each lag in one life, about: more rows of one life say little more."""
_LEAST_TASKS = 4
_LONGEST = 10_000  # steps of the mean episode beyond which the lives are given up
_CHUNK = 16  # steps between two looks at who has finished, at most


def refusal(env: TaskStream) -> str:
    """Return why tasks of a stream cannot be asked for, as a sentence; empty if they can."""
    if env.retention is None:
        return "it has one task: there is nothing else to meet before it is asked for"
    if env.retention == "gain":
        return "its tasks are learned over visits, not met once; --evaluate-every of training evaluates copies on them"
    if len(env.tasks) < _LEAST_TASKS:
        return f"it needs at least {_LEAST_TASKS} tasks to have others in between, it has {len(env.tasks)}"
    return env.unforkable


def check_probe(env: TaskStream, stream: str, lags: Sequence[int], meetings: int) -> tuple[int, ...]:
    """Return the lags at which tasks are asked for, in order; see `check_lags`.

    Args:
        env: the stream.
        stream: its name.
        lags: in episodes.
        meetings: of each task.

    Raises:
        UserError: if its tasks cannot be asked for, or not at these lags.
    """
    if why := refusal(env):
        raise UserError(f"tasks of stream {stream!r} cannot be asked for: {why}")
    return check_lags(env, lags, meetings)


def check_lags(env: TaskStream, lags: Sequence[int], meetings: int) -> tuple[int, ...]:
    """Return the lags in order; if none are given, powers of two up to a life that meets every task.

    Where the answer is revealed in the first observation after an episode, lag 1 would ask while it is in view.

    Args:
        env: the stream.
        lags: in episodes.
        meetings: of each task.

    Raises:
        UserError: if a lag is too short.
    """
    least = 2 if env.retention == "recall" else 1
    if not lags:
        longest = len(env.tasks) * meetings
        return tuple(2**k for k in range(longest.bit_length()) if 2**k >= least)
    if min(lags) < least:
        why = ": at lag 1 the answer that the last episode reveals is still in view" if least == 2 else ""
        raise UserError(f"lags must be at least {least}, got {min(lags)}{why}")
    return tuple(sorted(set(lags)))


def length_of_life(env: TaskStream, lags: Sequence[int], meetings: int) -> int:
    """Return the episodes of a life in which every task is met, and several are asked for at the longest lag."""
    return max(len(env.tasks) * meetings, max(lags) + MOST_ASKED - 1)


def ask_at_lags(
    policy: ActorCritic,
    env: TaskStream,
    copies: TaskStream,
    lags: Sequence[int],
    *,
    episodes: int,
    meetings: int = 1,
    actions: Actions = "drawn",
    carry: Carry = "lifetime",
    seed: int = 0,
    cuda_graph: Graph = "auto",
    progress: Callable[[int], None] = lambda lived: None,
) -> Rows:
    """Run a frozen policy in new lives, ask copies of them at chosen lags, and return the rows of the copies.

    A task of the first half, since the others may come again as distractors, is asked for if it was last met exactly
    `lag` episodes ago, for the `meetings`-th time. The moments are spread evenly over a life, others in each life. The
    lives are those that `live_frozen` runs with the same seed.

    Args:
        policy: to evaluate; not changed.
        env: where; it is reset.
        copies: a stream of its own, made as `env`; with several lives, a question each.
        lags: in episodes, at least 1.
        episodes: of every life.
        meetings: of a task before it is asked for.
        actions: how the policy acts.
        carry: what ends the memory.
        seed: of the actions.
        cuda_graph: whether acting is a CUDA graph; see `Rollout`.
        progress: told the steps lived so far, of all lives together, those of copies left out.

    Returns:
        Columns of `lifelong.envs.stream.ROW`: an episode for each question, with its `lag_episodes` and `load`.

    Raises:
        UserError: if the episodes do not end.
    """
    strides = _strides(lags, episodes, len(env.tasks) * meetings)
    found = []
    with own_random(seed):
        rollout = Rollout(policy, env, carry, cuda_graph=cuda_graph, deterministic=actions == "greedy")
        copy = Rollout(policy, copies, carry, cuda_graph="off", deterministic=actions == "greedy")
        while True:
            slots, tasks = _due(env, lags, strides, episodes, meetings)
            position = env.position() if slots.size else {}
            for first in range(0, slots.size, copies.num_envs):
                chosen = np.minimum(np.arange(first, first + copies.num_envs), slots.size - 1)  # the last fills up
                with own_random(seed + rollout.steps + first):
                    found.append(_ask(copy, copies, rollout.state, position, slots[chosen], tasks[chosen]))
            if env.episode.min() >= episodes:
                return join_rows(found)
            if rollout.steps > _LONGEST * (env.episode.sum() + env.num_envs):
                steps = f"{env.life_step.max():,} steps each"
                raise UserError(f"the lives have {env.episode.min()} of {episodes} episodes after {steps}")
            rollout.collect(1)
            progress(rollout.steps)


def _strides(lags: Sequence[int], episodes: int, introduced: int) -> tuple[int, ...]:
    """Return for each lag the episodes between two questions of a life.

    Args:
        lags: in episodes.
        episodes: of a life.
        introduced: episodes in which tasks are met that do not come again.
    """
    return tuple(max(min(episodes - lag + 1, introduced) // 2 // MOST_ASKED, 1) for lag in lags)  # half are asked for


def _due(
    env: TaskStream, lags: Sequence[int], strides: Sequence[int], episodes: int, meetings: int
) -> tuple[Ints, Ints]:
    """Return the slots and tasks of the questions that are due before the present episodes."""
    at = np.flatnonzero(env.episode_start & (env.episode <= episodes))
    slots, tasks = [at[:0]], [at[:0]]
    for lag, stride in zip(lags, strides, strict=True):
        since = env.episode[at] - lag  # the episode that is asked for
        asked = at[(since >= 0) & ((since + env.life[at]) % stride == 0)]
        there = env.met[asked] == (env.episode[asked] - lag)[:, None]
        task = there.argmax(1)
        kept = there.any(1) & (env.meetings[asked, task] == meetings) & (task < len(env.tasks) // 2)
        slots.append(asked[kept])
        tasks.append(task[kept])
    return np.concatenate(slots), np.concatenate(tasks)


def _ask(
    copy: Rollout, copies: TaskStream, state: TensorDict, position: dict[str, NDArray[Any]], slots: Ints, tasks: Ints
) -> Rows:
    """Return the rows of one episode of `tasks` [n] in copies of the lives in `slots` [n], each question once."""
    copy.observe(*fork(copies, position, slots, tasks))
    copy.state = state[torch.from_numpy(slots).to(state.device)]
    life, begun = position["life"][slots], position["episode"][slots]
    parts, acted = [], 0
    while (copies.episode == begun).any():
        if acted > _LONGEST:
            raise UserError(f"an episode in which the agent is asked has not ended after {acted:,} steps")
        chunk = min(max(acted, 1), _CHUNK)
        if ended := copy.collect(chunk).episodes:
            parts.append(ended)
        acted += chunk
    rows = join_rows(parts)
    episode = dict(zip(life.tolist(), begun.tolist(), strict=True))
    first = rows["episode"] == [episode[number] for number in rows["life"].tolist()]
    question = rows["life"] * len(copies.tasks) + rows["task"]
    once = np.flatnonzero(first)[np.unique(question[first], return_index=True)[1]]
    return {name: column[once] for name, column in rows.items()}
