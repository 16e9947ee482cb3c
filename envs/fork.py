"""Copies of lives: episodes of a chosen task in lives as they are now, which the lives themselves never see.

What a life has met is in its counters; what it has hidden follows from its number, and where it changes from episode to
episode from `TaskStream._restore_lives`. A stream that keeps more than that declares itself `unforkable`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.counters import Counters
from lifelong.envs.schedules import Draw, History, Ints
from lifelong.envs.stream import TaskStream

__all__ = ["fork"]


@dataclass(frozen=True, slots=True)
class _Given:
    """The tasks of the first episodes of all copies."""

    tasks: Ints

    def next(self, history: History, draw: Draw) -> Ints:
        return self.tasks


@dataclass(frozen=True, slots=True)
class _Same:
    """The present task for ever."""

    def next(self, history: History, draw: Draw) -> Ints:
        return np.maximum(history.task, 0)  # before the first there is none


def fork(
    stream: TaskStream, position: dict[str, NDArray[Any]], slots: Ints, task: int | Ints, *, skip: int = 0
) -> tuple[Any, dict[str, Any]]:
    """Begin episodes of chosen tasks in copies of some lives, and go on with these tasks for ever.

    The copies have met what the lives have met, and their hidden rules; the episodes that were running there are not
    finished in them.

    Args:
        stream: for the copies alone, reset once; made as the living one, but with a slot for each copy.
        position: of the living stream, as `position()` returned it.
        slots: [n] whose lives are copied; a life may be copied several times.
        task: number of the task, or [n] of each copy.
        skip: episodes that are left out of the order of seeds: with another number other episodes are drawn.

    Returns:
        The first observations and `info`, as `reset` does.

    Raises:
        ValueError: if lives of this stream cannot be copied, or it has other numbers of lives or tasks.
    """
    if stream.unforkable:
        raise ValueError(f"lives of this stream cannot be copied: {stream.unforkable}")
    tasks = position["met"].shape[1]
    if stream.num_envs != slots.size:
        raise ValueError(f"stream must have a slot for each copy: num_envs={stream.num_envs}, {slots.size} copies")
    if len(stream.tasks) != tasks:
        raise ValueError(f"position has {tasks} tasks, the stream has {len(stream.tasks)}")
    chosen = np.broadcast_to(np.asarray(task, np.int64), slots.shape)
    if outside := [int(number) for number in chosen if not 0 <= number < tasks]:
        raise ValueError(f"task must lie in 0 to {tasks - 1}: task={outside[0]}")
    copied: dict[str, Any] = {name: position[name][slots].copy() for name in Counters._fields}
    copied["episode"] += skip
    copied["met"][copied["met"] >= 0] += skip  # lags stay what they are
    for name in ("seed", "vector_steps", "lives"):
        setattr(stream, name, position[name].item())
    stream.schedule, everyone = _Given(chosen), np.arange(slots.size)
    stream.life_episodes = stream.life_hazard = None
    stream._set_counters(Counters(**copied))
    stream.base_task = stream._drift.base_task(stream.task)
    stream._begin_lives(everyone)
    stream._restore_lives(position, slots)
    stream._new_episodes(everyone)
    stream.schedule = _Same()
    return stream.observe()
