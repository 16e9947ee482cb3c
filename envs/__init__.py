"""Streams: lives made of tasks, behind `gymnasium.vector.VectorEnv`; one file each, one table of names (`registry.py`).

Importing this registers them with gymnasium, so that `gymnasium.make_vec("lifelong/CuedRecall-v0", num_envs=256)`
works, or without the import `gymnasium.make_vec("lifelong.envs:lifelong/CuedRecall-v0")`; `gymnasium.make` gives one
life of it as an environment like any other, see `single_env.py`. Nothing here imports a stream, or MiniGrid, until it
is asked for.
"""

from typing import TYPE_CHECKING, Any

import gymnasium

from lifelong.envs.registry import IDS, STREAMS, known_streams, make_single, make_stream
from lifelong.envs.rooms.tasks import TASKS
from lifelong.registry import Entry, lazy_attribute

if TYPE_CHECKING:
    from lifelong.envs.check import StreamContractError, check_stream
    from lifelong.envs.drifts.actions import DelayedActions, ReversedActions, ShuffledActions, StickyActions
    from lifelong.envs.drifts.base import Drift, Drifted
    from lifelong.envs.drifts.observations import (
        NoisyObservations,
        RemappedColours,
        RotatedObservations,
        ShuffledObservations,
        SwappedObjects,
    )
    from lifelong.envs.drifts.parse import DRIFTS, parse_drifts
    from lifelong.envs.drifts.physics import Actuators, Damping, Friction, Gravity, Length, Mass
    from lifelong.envs.drifts.rewards import DelayedRewards, ScaledRewards
    from lifelong.envs.gym_stream import GymStream, GymTask, drifting
    from lifelong.envs.rooms.stream import Rooms
    from lifelong.envs.schedules import SCHEDULES, Schedule, parse_schedule
    from lifelong.envs.single_env import Single
    from lifelong.envs.stream import ROW, References, StreamError, Task, TaskStream
    from lifelong.envs.streams.colour_rule import ColourRule
    from lifelong.envs.streams.cued_recall import CuedRecall
    from lifelong.envs.streams.dark_room import DarkRoom
    from lifelong.envs.streams.doors import Doors
    from lifelong.envs.streams.map_change import MapChange
    from lifelong.envs.streams.negative_controls import Control
    from lifelong.envs.streams.reversal import Reversal

__all__ = [
    "DRIFTS",
    "ROW",
    "SCHEDULES",
    "STREAMS",
    "Actuators",
    "ColourRule",
    "Control",
    "CuedRecall",
    "Damping",
    "DarkRoom",
    "DelayedActions",
    "DelayedRewards",
    "Doors",
    "Drift",
    "Drifted",
    "Entry",
    "Friction",
    "Gravity",
    "GymStream",
    "GymTask",
    "Length",
    "MapChange",
    "Mass",
    "NoisyObservations",
    "References",
    "RemappedColours",
    "Reversal",
    "ReversedActions",
    "Rooms",
    "RotatedObservations",
    "ScaledRewards",
    "Schedule",
    "ShuffledActions",
    "ShuffledObservations",
    "Single",
    "StickyActions",
    "StreamContractError",
    "StreamError",
    "SwappedObjects",
    "Task",
    "TaskStream",
    "check_stream",
    "drifting",
    "known_streams",
    "make_single",
    "make_stream",
    "parse_drifts",
    "parse_schedule",
]

_EXPORTS = {
    "DRIFTS": "drifts.parse",
    "ROW": "stream",
    "SCHEDULES": "schedules",
    "Actuators": "drifts.physics",
    "ColourRule": "streams.colour_rule",
    "Control": "streams.negative_controls",
    "CuedRecall": "streams.cued_recall",
    "Damping": "drifts.physics",
    "DarkRoom": "streams.dark_room",
    "DelayedActions": "drifts.actions",
    "DelayedRewards": "drifts.rewards",
    "Doors": "streams.doors",
    "Drift": "drifts.base",
    "Drifted": "drifts.base",
    "Friction": "drifts.physics",
    "Gravity": "drifts.physics",
    "GymStream": "gym_stream",
    "GymTask": "gym_stream",
    "Length": "drifts.physics",
    "MapChange": "streams.map_change",
    "Mass": "drifts.physics",
    "NoisyObservations": "drifts.observations",
    "References": "stream",
    "RemappedColours": "drifts.observations",
    "Reversal": "streams.reversal",
    "ReversedActions": "drifts.actions",
    "RotatedObservations": "drifts.observations",
    "ScaledRewards": "drifts.rewards",
    "Rooms": "rooms.stream",
    "Schedule": "schedules",
    "ShuffledActions": "drifts.actions",
    "ShuffledObservations": "drifts.observations",
    "Single": "single_env",
    "StickyActions": "drifts.actions",
    "StreamContractError": "check",
    "StreamError": "stream",
    "SwappedObjects": "drifts.observations",
    "Task": "stream",
    "TaskStream": "stream",
    "check_stream": "check",
    "drifting": "gym_stream",
    "parse_drifts": "drifts.parse",
    "parse_schedule": "schedules",
}

_MADE: dict[str, dict[str, Any]] = {f"lifelong/{title}-v0": {"name": name} for title, name in IDS.items()}
_MADE |= {f"lifelong/Rooms-{t.title}-v{t.version}": {"name": "rooms", "task": name} for name, t in TASKS.items()}
for _id, _kwargs in _MADE.items():
    gymnasium.register(
        _id,
        entry_point="lifelong.envs:make_single",
        vector_entry_point="lifelong.envs:make_stream",
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


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    return lazy_attribute(__name__, _EXPORTS, name)
