"""Timeline of a schedule: the task of each episode of a life, or after so many steps, as numbers and as text."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.composed_schedules import InSteps, Order, counts_steps
from lifelong.envs.rng import Purpose, uniform
from lifelong.envs.schedules import Block, Cyclic, History, Schedule, Sweep

__all__ = ["show_timeline", "step_timeline", "timeline"]

_SHADES = " ░▒▓█"  # share of a column's episodes


def timeline(schedule: Schedule, tasks: int, episodes: int, seed: int = 0, life: int = 0) -> NDArray[np.int64]:
    """Return the task of each episode of a life, as a stream with this seed has it.

    Args:
        schedule: of the stream.
        tasks: N, how many there are.
        episodes: number of episodes.
        seed: of the stream.
        life: number of the life.

    Returns:
        [episodes] numbers below N.

    Raises:
        ValueError: if the schedule counts environment steps: which episode that is depends on how long episodes are.
    """
    if counts_steps(schedule):
        raise ValueError(f"a timeline of episodes needs a schedule that counts episodes, got {schedule}")
    met, meetings, task = np.full((1, tasks), -1), np.zeros((1, tasks), np.int64), np.array([-1])
    line = np.empty(episodes, np.int64)

    def draw(number: int) -> NDArray[np.float64]:
        return uniform(seed, Purpose.SCHEDULE, [life], [episode], number)

    for episode in range(episodes):
        task = schedule.next(History(np.array([episode]), task, met, meetings), draw)
        line[episode] = task[0]
        met[0, task[0]] = episode
        meetings[0, task[0]] += 1
    return line


def step_timeline(schedule: InSteps, tasks: int, points: int = 200) -> tuple[NDArray[np.int64], int]:
    """Return the task at evenly spaced steps of one pass through a schedule, two of `cyclic`.

    Args:
        schedule: of the stream.
        tasks: N, how many there are.
        points: number of steps looked at, at most.

    Returns:
        Numbers below N, and the environment steps of the whole pass, all lives together.
    """
    counted = schedule.schedule
    assert isinstance(counted, Block | Cyclic | Sweep | Order)  # noqa: S101  as `InSteps` promises
    if isinstance(counted, Order):
        blocks = len(counted.tasks)
    else:
        blocks = 2 if isinstance(counted, Sweep) else tasks * (1 + isinstance(counted, Cyclic))
    steps = blocks * counted.episodes
    at = np.arange(min(points, steps)) * steps // min(points, steps)
    history = History(at, np.full(at.size, -1), np.full((at.size, tasks), -1), np.zeros((at.size, tasks), np.int64))
    return counted.next(history, lambda number: np.zeros(at.size)), steps


def show_timeline(
    line: NDArray[np.int64], names: Sequence[str], width: int = 100, rows: int = 24, span: str = ""
) -> str:
    """Return a timeline as text: a row for each task, a column for some episodes, darker where it takes more of them.

    Args:
        line: task of each episode.
        names: of the tasks.
        width: columns at most.
        rows: at most; the last one summarises the rest.
        span: what the whole width is; by default so many episodes.
    """
    columns = min(width, line.size)
    column = np.arange(line.size) * columns // max(line.size, 1)
    share = np.zeros((len(names), columns))
    np.add.at(share, (line, column), 1.0)
    share /= share.sum(0)
    shown = range(min(len(names), rows))
    label = max((len(names[task]) for task in shown), default=0)
    text = [
        f"{names[task]:<{label}} |{''.join(_SHADES[int(np.ceil(part * (len(_SHADES) - 1)))] for part in share[task])}|"
        for task in shown
    ]
    if len(names) > rows:
        text.append(f"... and {len(names) - rows} tasks more")
    first, last = "0", span or f"{line.size} episodes"
    text.append(" " * (label + 2) + first + last.rjust(max(columns - len(first), len(last) + 1)))
    return "\n".join(text) + "\n"
