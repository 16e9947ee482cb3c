"""Streams: lives made of tasks, behind `gymnasium.vector.VectorEnv`; one file each, one table of names (`registry.py`).

Importing this registers them with gymnasium, so that `gymnasium.make_vec("lifelong/CuedRecall-v0", num_envs=256)`
works, or without the import `gymnasium.make_vec("lifelong.envs:lifelong/CuedRecall-v0")`; `gymnasium.make` gives one
life of it as an environment like any other, see `single_env.py`. Nothing here imports a stream, or MiniGrid, until it
is asked for. Every class that `STREAMS` or `DRIFTS` names is an attribute too: `lifelong.envs.CuedRecall`.
"""

from typing import TYPE_CHECKING, Any

import gymnasium

from lifelong.envs.parse import DRIFTS, SCHEDULES, parse_drifts, parse_integer, parse_schedule
from lifelong.envs.registry import IDS, STREAMS, known_streams, make_single, make_stream, make_vector
from lifelong.envs.rooms.tasks import TASKS
from lifelong.envs.variants import VARIANTS
from lifelong.registry import Entry, lazy_attribute

if TYPE_CHECKING:
    from lifelong.envs.check import StreamContractError, check_stream
    from lifelong.envs.drifts.base import Drift, Drifted
    from lifelong.envs.gym_stream import GymStream, drifting
    from lifelong.envs.gym_task import GymTask
    from lifelong.envs.schedules import Schedule
    from lifelong.envs.single_env import Single
    from lifelong.envs.stream import ROW, References, StreamError, Task, TaskStream
    from lifelong.envs.streams.negative_controls import Control
    from lifelong.envs.vector_env import VectorStream

__all__ = [
    "DRIFTS",
    "ROW",
    "SCHEDULES",
    "STREAMS",
    "Control",
    "Drift",
    "Drifted",
    "Entry",
    "GymStream",
    "GymTask",
    "References",
    "Schedule",
    "Single",
    "StreamContractError",
    "StreamError",
    "Task",
    "TaskStream",
    "VectorStream",
    "check_stream",
    "drifting",
    "known_streams",
    "make_single",
    "make_stream",
    "make_vector",
    "parse_drifts",
    "parse_integer",
    "parse_schedule",
]

_EXPORTS = {
    name: module
    for module, names in {
        "check": ("StreamContractError", "check_stream"),
        "drifts.base": ("Drift", "Drifted"),
        "gym_stream": ("GymStream", "drifting"),
        "gym_task": ("GymTask",),
        "schedules": ("Schedule",),
        "single_env": ("Single",),
        "stream": ("ROW", "References", "StreamError", "Task", "TaskStream"),
        "streams.negative_controls": ("Control",),
        "vector_env": ("VectorStream",),
    }.items()
    for name in names
}
_CLASSES = {
    name: module.removeprefix(f"{__name__}.")
    for module, _, name in (entry.target.partition(":") for entry in (STREAMS | DRIFTS).values())
    if name[0].isupper()
}

_MADE: dict[str, dict[str, Any]] = {f"lifelong/{title}-v0": {"name": name} for title, name in IDS.items()}
_MADE |= {f"lifelong/Rooms-{t.title}-v{t.version}": {"name": "rooms", "task": name} for name, t in TASKS.items()}
for _id, _kwargs in _MADE.items():
    gymnasium.register(
        _id,
        entry_point="lifelong.envs:make_single",
        vector_entry_point="lifelong.envs:make_vector",
        order_enforce=False,  # a stream says itself what is out of order
        kwargs=_kwargs,
    )
gymnasium.register(
    "lifelong/MetaWorld-v0",
    entry_point="lifelong.envs.streams.meta_world:make_arm",
    max_episode_steps=200,
    disable_env_checker=True,
    order_enforce=False,
)
gymnasium.register(
    "lifelong/ColourRoom-v0",
    entry_point="lifelong.envs.streams.colour_rule:ColourRoom",
    disable_env_checker=True,
    order_enforce=False,
)
for _id, _kwargs in VARIANTS.items():
    gymnasium.register(
        _id,
        entry_point="lifelong.envs.variants:make_variant",
        disable_env_checker=True,
        order_enforce=False,  # the environment inside does
        kwargs=_kwargs,
    )


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    return lazy_attribute(__name__, _CLASSES | _EXPORTS, name)
