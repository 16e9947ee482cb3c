"""Counters of a stream's lives, and the compiled loops that update them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.jit import jit
from lifelong.envs.task import Task

__all__ = ["Counters", "begin_episodes", "count_step", "end_episodes", "new_counters", "reference_scores"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Counters(NamedTuple):
    """Counters of B lives among N tasks, updated in place; -1 means never."""

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


def reference_scores(tasks: Sequence[Task]) -> Floats:
    """Return [4, N] of each task: random score, oracle - random, within score and cross score."""
    scores = [task.references for task in tasks]
    return np.array([[r.random, r.oracle - r.random, r.within, r.cross] for r in scores]).T.copy()


def new_counters(num_envs: int, tasks: int, previous_action: NDArray[Any]) -> Counters:
    """Return the counters of lives before their first episode.

    Args:
        num_envs: B.
        tasks: N.
        previous_action: [B, ...] an array for the previous actions.
    """

    def full(value: float, *shape: int, dtype: type[np.generic] = np.int64) -> NDArray[Any]:
        return np.full(shape, value, dtype)

    B, N = num_envs, tasks
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


# Numba unpacks a plain tuple in half the time of a NamedTuple: the loops take `tuple(counters)` and name its parts.


@jit
def count_step(arrays: Any, reward: Any, terminated: Any, truncated: Any, ended: Any) -> Any:
    """Count one step of every life, write the slots whose episodes ended to `ended` [B], and return their number.

    Returns -1 and counts nothing if a reward is not finite.
    """
    c = Counters(*arrays)
    over = 0
    for b in range(reward.size):
        if not np.isfinite(reward[b]):
            return -1
    for b in range(reward.size):
        c.life_step[b] += 1
        c.episode_return[b] += reward[b]
        c.episode_length[b] += 1
        c.previous_reward[b] = reward[b]
        c.episode_start[b] = c.task_start[b] = c.life_start[b] = False
        if terminated[b] or truncated[b]:
            ended[over] = b
            over += 1
    return over


@jit
def end_episodes(slots: Any, arrays: Any, scores: Any, columns: Any) -> None:
    """Count the episodes that end in these slots, and write their rows.

    Args:
        slots: [n].
        arrays: `tuple(Counters)`.
        scores: [4, N] those of `reference_scores`.
        columns: those of `ROW` from "life" to "cross", [n] each.
    """
    c = Counters(*arrays)
    life, episode, task, visit, index, lag_steps, lag_episodes, lag_tasks, meetings, load = columns[:10]
    length, returns, normalised, within, cross = columns[10:]
    for n in range(slots.size):
        b = slots[n]
        i = c.task[b]

        life[n], episode[n], task[n] = c.life[b], c.episode[b], i
        visit[n], index[n] = c.visits[b, i] - 1, c.visit_episode[b]
        before = c.met[b, i] >= 0
        lag_steps[n] = c.life_step[b] - c.episode_length[b] - c.met_step[b, i] if before else -1
        lag_episodes[n] = c.episode[b] - c.met[b, i] if before else -1
        lag_tasks[n] = max(c.visits_lived[b] - c.met_visit[b, i] - 1, 0) if before else -1
        meetings[n], load[n] = c.meetings[b, i], -1
        if before:
            load[n] = 0
            for j in range(c.met.shape[1]):
                load[n] += c.met[b, j] > c.met[b, i]
        length[n], returns[n] = c.episode_length[b], c.episode_return[b]
        normalised[n] = (c.episode_return[b] - scores[0, i]) / scores[1, i]
        within[n], cross[n] = scores[2, i], scores[3, i]

        c.met[b, i], c.met_step[b, i], c.met_visit[b, i] = c.episode[b], c.life_step[b], c.visits_lived[b]
        c.meetings[b, i] += 1
        c.episode[b] += 1
        c.visit_episode[b] += 1


@jit
def begin_episodes(slots: Any, tasks: Any, arrays: Any) -> None:
    """Count the episodes of `tasks` [n] that begin in these slots."""
    c = Counters(*arrays)
    for n in range(slots.size):
        b, i = slots[n], tasks[n]
        if i != c.task[b]:
            c.task[b] = i
            c.visits[b, i] += 1
            c.visits_lived[b] += 1
            c.visit_episode[b] = 0
            c.task_start[b] = True
        c.episode_start[b] = True
        c.episode_return[b] = 0
        c.episode_length[b] = 0
