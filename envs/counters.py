"""The counters of a stream's lives, compiled: what a step, an end and a beginning do to them.

`TaskStream` keeps the arrays and says in its docstring and in `ROW` what they mean; here are the loops over its slots.
"""

from typing import Any

import numpy as np

from lifelong.envs.jit import jit

__all__ = ["begin", "close", "describe", "tick"]


@jit
def tick(
    reward: Any, terminated: Any, truncated: Any, life_step: Any, episode_return: Any, episode_length: Any,
    episode_start: Any, task_start: Any, life_start: Any, ended: Any,
) -> Any:  # fmt: skip
    """Count one step of every life and return how many episodes ended; their slots go to `ended` [B].

    Nothing is counted and -1 returned where a reward is not finite.
    """
    over = 0
    for b in range(reward.size):
        if not np.isfinite(reward[b]):
            return -1
    for b in range(reward.size):
        life_step[b] += 1
        episode_return[b] += reward[b]
        episode_length[b] += 1
        episode_start[b] = task_start[b] = life_start[b] = False
        if terminated[b] or truncated[b]:
            ended[over] = b
            over += 1
    return over


@jit
def describe(
    slots: Any, life: Any, episode: Any, life_step: Any, task: Any, visits_lived: Any, visit_episode: Any,
    met: Any, met_step: Any, met_visit: Any, visits: Any, episode_return: Any, episode_length: Any,
    random: Any, gain: Any, within: Any, cross: Any, columns: Any,
) -> None:  # fmt: skip
    """Write what is known of the episodes that end in these slots; what is not named here is an array of `TaskStream`.

    `columns` are those of `ROW` from "life" to "cross", [n] each.
    """
    lives, episodes, tasks, visit, index, lag_steps, lag_episodes, lag_tasks, length = columns[:9]
    returns, normalised, within_here, cross_here = columns[9:]
    for n in range(slots.size):
        b = slots[n]
        i = task[b]
        before = met[b, i] >= 0
        lives[n], episodes[n], tasks[n] = life[b], episode[b], i
        visit[n], index[n] = visits[b, i] - 1, visit_episode[b]
        lag_steps[n] = life_step[b] - episode_length[b] - met_step[b, i] if before else -1
        lag_episodes[n] = episode[b] - met[b, i] if before else -1
        lag_tasks[n] = max(visits_lived[b] - met_visit[b, i] - 1, 0) if before else -1
        length[n], returns[n] = episode_length[b], episode_return[b]
        normalised[n] = (episode_return[b] - random[i]) / gain[i]
        within_here[n], cross_here[n] = within[i], cross[i]


@jit
def close(
    slots: Any, episode: Any, life_step: Any, task: Any, visits_lived: Any, visit_episode: Any,
    met: Any, met_step: Any, met_visit: Any, meetings: Any,
) -> None:  # fmt: skip
    """Count the episodes that end in these slots."""
    for b in slots:
        i = task[b]
        met[b, i], met_step[b, i], met_visit[b, i] = episode[b], life_step[b], visits_lived[b]
        meetings[b, i] += 1
        episode[b] += 1
        visit_episode[b] += 1


@jit
def begin(
    slots: Any, coming: Any, task: Any, visits: Any, visits_lived: Any, visit_episode: Any,
    episode_start: Any, task_start: Any, episode_return: Any, episode_length: Any,
) -> None:  # fmt: skip
    """Count the episodes of the tasks `coming` [n] that begin in these slots."""
    for n in range(slots.size):
        b = slots[n]
        if coming[n] != task[b]:
            task[b] = coming[n]
            visits[b, coming[n]] += 1
            visits_lived[b] += 1
            visit_episode[b] = 0
            task_start[b] = True
        episode_start[b] = True
        episode_return[b] = 0
        episode_length[b] = 0
