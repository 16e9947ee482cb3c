"""Counters of a stream's lives, and the compiled loops that update them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.jit import jit
from lifelong.envs.task import Task

__all__ = ["Counters", "Scores", "begin_episodes", "count_step", "describe_episodes", "end_episodes", "new_counters"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Counters(NamedTuple):
    """Where each of B lives is, among N tasks. The arrays are updated in place; -1 is never."""

    life: Ints  # [B] number of the life
    episode: Ints  # [B] index of the episode in its life
    life_step: Ints  # [B] steps of the life
    task: Ints  # [B] number of the task
    visits_lived: Ints  # [B] visits of the life, to any task
    visit_episode: Ints  # [B] index of the episode in its visit
    met: Ints  # [B, N] episode in which the task was last met
    met_step: Ints  # [B, N] step of the life at which that episode ended
    met_visit: Ints  # [B, N] `visits_lived` then
    meetings: Ints  # [B, N] finished episodes of the task
    visits: Ints  # [B, N] visits to the task
    episode_return: Floats  # [B] sum of rewards of the episode
    episode_length: Ints  # [B] steps of the episode
    episode_start: Bools  # [B] whether the observation is the first of an episode
    task_start: Bools  # [B] of a visit
    life_start: Bools  # [B] of a life
    previous_action: NDArray[Any]  # [B, ...]
    previous_reward: Floats  # [B]
    last_answer: Ints  # [B] answer of the life's last episode


class Scores(NamedTuple):
    """Reference scores, [N] each."""

    random: Floats
    gain: Floats  # oracle - random
    within: Floats
    cross: Floats

    @classmethod
    def of(cls, tasks: Sequence[Task]) -> "Scores":
        """Return the reference scores of these tasks."""
        random, within, cross, oracle = (
            np.array([getattr(task.references, name) for task in tasks])
            for name in ("random", "within", "cross", "oracle")
        )
        return cls(random, oracle - random, within, cross)


def new_counters(lives: int, tasks: int, previous_action: NDArray[Any]) -> Counters:
    """Return the counters of lives before their first episode.

    Args:
        lives: B.
        tasks: N.
        previous_action: [B, ...] an array for the previous actions.
    """

    def full(value: float, *shape: int, dtype: type[np.generic] = np.int64) -> NDArray[Any]:
        return np.full(shape, value, dtype)

    B, N = lives, tasks
    return Counters(
        life=full(0, B), episode=full(0, B), life_step=full(0, B),
        task=full(-1, B), visits_lived=full(0, B), visit_episode=full(0, B),
        met=full(-1, B, N), met_step=full(-1, B, N), met_visit=full(-1, B, N),
        meetings=full(0, B, N), visits=full(0, B, N),
        episode_return=full(0, B, dtype=np.float64), episode_length=full(0, B),
        episode_start=full(1, B, dtype=np.bool_), task_start=full(1, B, dtype=np.bool_),
        life_start=full(1, B, dtype=np.bool_),
        previous_action=previous_action, previous_reward=full(0, B, dtype=np.float64), last_answer=full(-1, B),
    )  # fmt: skip


@jit
def count_step(counters: Any, reward: Any, terminated: Any, truncated: Any, ended: Any) -> Any:
    """Count one step of every life, write the slots whose episodes ended to `ended` [B], and return how many.

    If a reward is not finite, count nothing and return -1.
    """
    over = 0
    for b in range(reward.size):
        if not np.isfinite(reward[b]):
            return -1
    for b in range(reward.size):
        counters.life_step[b] += 1
        counters.episode_return[b] += reward[b]
        counters.episode_length[b] += 1
        counters.previous_reward[b] = reward[b]
        counters.episode_start[b] = counters.task_start[b] = counters.life_start[b] = False
        if terminated[b] or truncated[b]:
            ended[over] = b
            over += 1
    return over


@jit
def describe_episodes(slots: Any, counters: Any, scores: Any, columns: Any) -> None:
    """Write the rows of the episodes that end in these slots.

    Args:
        slots: [n].
        counters: `Counters`, before `end_episodes`.
        scores: `Scores`.
        columns: those of `ROW` from "life" to "cross", [n] each.
    """
    life, episode, task, visit, index, lag_steps, lag_episodes, lag_tasks, length = columns[:9]
    returns, normalised, within, cross = columns[9:]
    for n in range(slots.size):
        b = slots[n]
        i = counters.task[b]
        before = counters.met[b, i] >= 0
        life[n], episode[n], task[n] = counters.life[b], counters.episode[b], i
        visit[n], index[n] = counters.visits[b, i] - 1, counters.visit_episode[b]
        lag_steps[n] = counters.life_step[b] - counters.episode_length[b] - counters.met_step[b, i] if before else -1
        lag_episodes[n] = counters.episode[b] - counters.met[b, i] if before else -1
        lag_tasks[n] = max(counters.visits_lived[b] - counters.met_visit[b, i] - 1, 0) if before else -1
        length[n], returns[n] = counters.episode_length[b], counters.episode_return[b]
        normalised[n] = (counters.episode_return[b] - scores.random[i]) / scores.gain[i]
        within[n], cross[n] = scores.within[i], scores.cross[i]


@jit
def end_episodes(slots: Any, counters: Any) -> None:
    """Count the episodes that end in these slots."""
    for b in slots:
        i = counters.task[b]
        counters.met[b, i], counters.met_step[b, i] = counters.episode[b], counters.life_step[b]
        counters.met_visit[b, i] = counters.visits_lived[b]
        counters.meetings[b, i] += 1
        counters.episode[b] += 1
        counters.visit_episode[b] += 1


@jit
def begin_episodes(slots: Any, tasks: Any, counters: Any) -> None:
    """Count the episodes of `tasks` [n] that begin in these slots."""
    for n in range(slots.size):
        b, i = slots[n], tasks[n]
        if i != counters.task[b]:
            counters.task[b] = i
            counters.visits[b, i] += 1
            counters.visits_lived[b] += 1
            counters.visit_episode[b] = 0
            counters.task_start[b] = True
        counters.episode_start[b] = True
        counters.episode_return[b] = 0
        counters.episode_length[b] = 0
