"""Copies of lives: episodes of a chosen task in lives as they are now, which the lives themselves never see.

What a life has met is in its counters; what it has hidden follows from its number, and where it changes from episode to
episode from `TaskStream._restore_lives`. A stream that keeps more than that declares itself `unforkable`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.composed_schedules import Order
from lifelong.envs.counters import Counters
from lifelong.envs.stream import TaskStream

__all__ = ["fork"]


def fork(
    stream: TaskStream, position: dict[str, NDArray[Any]], slots: NDArray[np.int64], task: int, *, skip: int = 0
) -> tuple[Any, dict[str, Any]]:
    """Begin episodes of one task in copies of some lives, and go on with that task for ever.

    The copies have met what the lives have met, and their hidden rules; the episodes that were running there are not
    finished in them.

    Args:
        stream: for the copies alone, reset once; made as the living one, but with a slot for each copy.
        position: of the living stream, as `position()` returned it.
        slots: [n] whose lives are copied.
        task: number of the task.
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
    if not 0 <= task < tasks:
        raise ValueError(f"task must lie in 0 to {tasks - 1}: task={task}")
    copied: dict[str, Any] = {name: position[name][slots].copy() for name in Counters._fields}
    copied["episode"] += skip
    copied["met"][copied["met"] >= 0] += skip  # lags stay what they are
    for name in ("seed", "vector_steps", "lives"):
        setattr(stream, name, position[name].item())
    stream.schedule, stream.life_episodes, everyone = Order((task,)), None, np.arange(slots.size)
    stream._set_counters(Counters(**copied))
    stream.base_task = stream._drift.base_task(stream.task)
    stream._begin_lives(everyone)
    stream._restore_lives(position, slots)
    stream._new_episodes(everyone)
    return stream.observe()
