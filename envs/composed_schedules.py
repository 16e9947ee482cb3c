"""Schedules that name tasks, count environment steps, or contain other schedules; the plain ones: `schedules.py`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lifelong.envs.schedules import Block, Cyclic, Draw, History, Ints, Schedule, Sweep, check_positive
from lifelong.registry import nearest

__all__ = [
    "Held",
    "InSteps",
    "Order",
    "Paired",
    "bind_tasks",
    "changes_together",
    "counts_steps",
    "find_task",
    "shortest_stay",
]

_OTHER = 2**32  # numbers from here on are drawn for the second of two schedules
_MOST_NAMES = 40  # that an error lists


@dataclass(frozen=True, slots=True)
class Order:
    """Tasks as they are listed, `episodes` of each entry; the last one stays. A task may be listed again.

    Args:
        tasks: names or numbers of tasks.
        episodes: of each entry.
    """

    tasks: tuple[str | int, ...]
    episodes: int = 1

    def __post_init__(self) -> None:
        """Validate the list and the block length."""
        check_positive("episodes", self.episodes)
        if not self.tasks:
            raise ValueError("an order must list at least one task")

    def bind(self, names: Sequence[str]) -> "Order":
        """Return the same by number.

        Args:
            names: of the stream's tasks; a number, too, may stand in the list.

        Raises:
            ValueError: if a task is unknown.
        """
        numbers = []
        for task in self.tasks:
            numbered = str(task) not in names and str(task).isdecimal() and int(task) < len(names)
            numbers.append(int(task) if numbered else find_task(str(task), names))
        return Order(tuple(numbers), self.episodes)

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode."""
        coming: Ints = np.array(self.tasks, np.int64)[np.minimum(history.episode // self.episodes, len(self.tasks) - 1)]
        return coming


@dataclass(frozen=True, slots=True)
class InSteps:
    """Another schedule, with environment steps of all lives together in place of episodes.

    All lives then change task at once, each when its episode ends, and every agent gets the same amount of data:
    counted in episodes, a better agent leaves a task sooner.

    Args:
        schedule: a `Block`, `Cyclic`, `Sweep` or `Order`: one that depends on nothing but the count.
    """

    schedule: Schedule

    def __post_init__(self) -> None:
        """Validate the kind of schedule."""
        if not isinstance(self.schedule, Block | Cyclic | Sweep | Order):
            raise ValueError(f"only block, cyclic, sweep and order can be counted in steps, got {self.schedule}")

    def __str__(self) -> str:
        """Return it in words: its `episodes` are steps here."""
        return f"{self.schedule}, counted in environment steps of all lives together".replace("episodes=", "steps=")

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode."""
        step = np.full_like(history.episode, history.step)
        return self.schedule.next(History(step, history.task, history.met, history.meetings), draw)


@dataclass(frozen=True, slots=True)
class Held:
    """Hold each task of another schedule for `episodes` episodes, which count as one.

    Args:
        schedule: that is held.
        episodes: for which a task stays.

    Raises:
        ValueError: if that number is not positive.
    """

    schedule: Schedule
    episodes: int

    def __post_init__(self) -> None:
        """Validate the number of episodes."""
        check_positive("episodes", self.episodes)

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode."""
        n = self.episodes
        asked = History(history.episode // n, history.task, history.met // n, history.meetings // n, history.step)
        return np.where(history.episode % n == 0, self.schedule.next(asked, draw), history.task)


@dataclass(frozen=True, slots=True)
class Paired:
    """Product of two schedules: one of N tasks, and one of the kinds of each task.

    Task k N + i is task i in kind k.

    Args:
        tasks: schedule of the N tasks.
        kinds: schedule of the kinds, with random numbers of its own.
        count: number of kinds.
    """

    tasks: Schedule
    kinds: Schedule
    count: int

    def __post_init__(self) -> None:
        """Validate that there are kinds."""
        check_positive("count", self.count)

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode."""
        n, N = history.met.shape[0], history.met.shape[1] // self.count
        met, meetings = (counted.reshape(n, self.count, N) for counted in (history.met, history.meetings))
        born = history.task < 0
        task, kind = np.where(born, -1, history.task % N), np.where(born, -1, history.task // N)
        of_tasks = History(history.episode, task, met.max(1), meetings.sum(1), history.step)
        of_kinds = History(history.episode, kind, met.max(2), meetings.sum(2), history.step)
        coming: Ints = self.kinds.next(of_kinds, lambda i: draw(_OTHER + i)) * N + self.tasks.next(of_tasks, draw)
        return coming


def find_task(task: str, names: Sequence[str]) -> int:
    """Return the number of a task.

    Args:
        task: its name.
        names: of the stream's tasks.

    Raises:
        ValueError: if it is unknown.
    """
    if task not in names:
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        raise ValueError(f"no task {task!r}{nearest(task, names)} known: {', '.join(names[:_MOST_NAMES])}{more}")
    return list(names).index(task)


def bind_tasks(schedule: Schedule, names: Sequence[str]) -> Schedule:
    """Return a schedule in which an `Order` has numbers in place of names of tasks.

    Args:
        schedule: bound already, or not.
        names: of the stream's tasks.

    Raises:
        ValueError: if it names an unknown task.
    """
    if isinstance(schedule, Order):
        return schedule.bind(names)
    if isinstance(schedule, InSteps | Held):
        return replace(schedule, schedule=bind_tasks(schedule.schedule, names))
    return schedule


def counts_steps(schedule: Schedule) -> bool:
    """Return whether a schedule, or one that it contains, counts environment steps."""
    if isinstance(schedule, Paired):
        return counts_steps(schedule.tasks) or counts_steps(schedule.kinds)
    return isinstance(schedule, InSteps) or (isinstance(schedule, Held) and counts_steps(schedule.schedule))


def changes_together(schedule: Schedule) -> bool:
    """Return whether the task changes, and in all lives at once: by the count of steps of all, and by nothing else."""
    if isinstance(schedule, Paired):
        parts = [part for part in (schedule.tasks, schedule.kinds) if not _is_constant(part)]
        return bool(parts) and all(changes_together(part) for part in parts)
    return isinstance(schedule, InSteps) and not _is_constant(schedule.schedule)


def shortest_stay(schedule: Schedule, tasks: int) -> int | None:
    """Return the fewest steps, of all lives together, between two changes; None unless steps of all are counted.

    Args:
        schedule: of a stream.
        tasks: how many it has.
    """
    if isinstance(schedule, Paired):
        stays = [shortest_stay(part, tasks) for part in (schedule.tasks, schedule.kinds) if not _is_constant(part)]
        return min((stay for stay in stays if stay is not None), default=None)
    inner = schedule.schedule if isinstance(schedule, InSteps) else None
    if isinstance(inner, Sweep):
        return inner.episodes // max(tasks - 1, 1)
    return inner.episodes if isinstance(inner, Block | Cyclic | Order) else None


def _is_constant(schedule: Schedule) -> bool:
    return isinstance(schedule, Order) and len(set(schedule.tasks)) == 1
