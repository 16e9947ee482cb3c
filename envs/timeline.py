"""Timeline of a schedule: the task of each episode of a life, as numbers and as text."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.rng import Purpose, uniform
from lifelong.envs.schedules import History, Schedule

__all__ = ["show_timeline", "timeline"]

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
    """
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


def show_timeline(line: NDArray[np.int64], names: Sequence[str], width: int = 100, rows: int = 24) -> str:
    """Return a timeline as text: a row for each task, a column for some episodes, darker where it takes more of them.

    Args:
        line: task of each episode.
        names: of the tasks.
        width: columns at most.
        rows: at most; the last one summarises the rest.
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
    first, last = "0", f"{line.size} episodes"
    text.append(" " * (label + 2) + first + last.rjust(max(columns - len(first), len(last) + 1)))
    return "\n".join(text) + "\n"
