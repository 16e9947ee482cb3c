"""Streams: lives made of tasks, behind `gymnasium.vector.VectorEnv`; one file each, one table of names.

Importing this registers them with gymnasium, so that `gymnasium.make_vec("lifelong/CuedRecall-v0", num_envs=256)`
works, or without the import `gymnasium.make_vec("lifelong.envs:lifelong/CuedRecall-v0")`; `gymnasium.make` gives one
life of it as an environment like any other, see `single.py`. Nothing here imports a stream, or MiniGrid, until it is
asked for.
"""

import difflib
import importlib
import inspect
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium

from lifelong.envs.rooms.tasks import TASKS

if TYPE_CHECKING:
    from lifelong.envs.action_drift import DelayedActions, ReversedActions, ShuffledActions, StickyActions
    from lifelong.envs.colour_rule import ColourRule
    from lifelong.envs.controls import Control
    from lifelong.envs.cued_recall import CuedRecall
    from lifelong.envs.dark_room import DarkRoom
    from lifelong.envs.doors import Doors
    from lifelong.envs.drift import Drift, Drifted
    from lifelong.envs.drifts import DRIFTS, drifting, parse_drifts
    from lifelong.envs.gym_stream import GymStream, GymTask
    from lifelong.envs.map_change import MapChange
    from lifelong.envs.observation_drift import (
        NoisyObservations,
        RemappedColours,
        RotatedObservations,
        ShuffledObservations,
        SwappedObjects,
    )
    from lifelong.envs.physics_drift import Actuators, Damping, Friction, Gravity, Length, Mass
    from lifelong.envs.reversal import Reversal
    from lifelong.envs.reward_drift import DelayedRewards, ScaledRewards
    from lifelong.envs.rooms.stream import Rooms
    from lifelong.envs.schedule import SCHEDULES, Schedule, parse_schedule
    from lifelong.envs.single import Single
    from lifelong.envs.stream import ROW, References, StreamError, Task, TaskStream

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
    "StreamError",
    "SwappedObjects",
    "Task",
    "TaskStream",
    "drifting",
    "known_streams",
    "make_single",
    "make_stream",
    "parse_drifts",
    "parse_schedule",
]


class Entry(NamedTuple):
    """Where a stream is found and what it is in one line."""

    target: str
    """`module:factory`; called as `factory(num_envs=B, **options)`."""
    summary: str
    extra: str = ""
    """The extra of this package that it needs, a key of `EXTRAS` in `extras.py`; empty if none."""


STREAMS: dict[str, Entry] = {
    "cued-recall": Entry(
        "lifelong.envs.cued_recall:CuedRecall", "which answer belongs to which cue, redrawn for every life"
    ),
    "colour-rule": Entry(
        "lifelong.envs.colour_rule:ColourRule", "MiniGrid: which colour pays, redrawn every 20 episodes"
    ),
    "reversal": Entry(
        "lifelong.envs.reversal:Reversal", "which of two arms pays; one pull per episode, changing without notice"
    ),
    "dark-room": Entry("lifelong.envs.dark_room:DarkRoom", "where on a map the unseen goal is; 20 episodes of each"),
    "map-change": Entry(
        "lifelong.envs.map_change:MapChange", "the way through four rooms to an unseen goal; 20 episodes of each map"
    ),
    "doors": Entry("lifelong.envs.doors:Doors", "which door the key of a colour opens; one try per episode"),
    "cartpole-sign": Entry("lifelong.envs.controls:cartpole_sign", "control: left and right change places"),
    "cartpole-length": Entry("lifelong.envs.controls:cartpole_length", "control: poles of four lengths"),
    "cartpole-physics": Entry(
        "lifelong.envs.controls:cartpole_physics", "negative control: other gravity, pushes and masses"
    ),
    "pendulum-sign": Entry("lifelong.envs.controls:pendulum_sign", "control: the torque is reversed"),
    "inverted-pendulum-gear": Entry(
        "lifelong.envs.controls:inverted_pendulum_gear",
        "control, MuJoCo: a cart pushed as it is, more weakly, and the wrong way",
        extra="mujoco",
    ),
    "reacher-sign": Entry(
        "lifelong.envs.controls:reacher_sign",
        "control, MuJoCo: the torques of an arm are reversed, or change joints",
        extra="mujoco",
    ),
    "cw10": Entry(
        "lifelong.envs.meta_world:cw10",
        "Meta-World: ten tasks of a robot's arm, 5000 episodes of each",
        extra="metaworld",
    ),
    "cw20": Entry(
        "lifelong.envs.meta_world:cw20", "Meta-World: the ten tasks of cw10, and all of them again", extra="metaworld"
    ),
    "rooms": Entry("lifelong.envs.rooms.stream:Rooms", "MiniGrid's own tasks, compiled: millions of steps a second"),
}

_EXPORTS = {
    "DRIFTS": "drifts",
    "ROW": "stream",
    "SCHEDULES": "schedule",
    "Actuators": "physics_drift",
    "ColourRule": "colour_rule",
    "Control": "controls",
    "CuedRecall": "cued_recall",
    "Damping": "physics_drift",
    "DarkRoom": "dark_room",
    "DelayedActions": "action_drift",
    "DelayedRewards": "reward_drift",
    "Doors": "doors",
    "Drift": "drift",
    "Drifted": "drift",
    "Friction": "physics_drift",
    "Gravity": "physics_drift",
    "GymStream": "gym_stream",
    "GymTask": "gym_stream",
    "Length": "physics_drift",
    "MapChange": "map_change",
    "Mass": "physics_drift",
    "NoisyObservations": "observation_drift",
    "References": "stream",
    "RemappedColours": "observation_drift",
    "Reversal": "reversal",
    "ReversedActions": "action_drift",
    "RotatedObservations": "observation_drift",
    "ScaledRewards": "reward_drift",
    "Rooms": "rooms.stream",
    "Schedule": "schedule",
    "ShuffledActions": "action_drift",
    "ShuffledObservations": "observation_drift",
    "Single": "single",
    "StickyActions": "action_drift",
    "StreamError": "stream",
    "SwappedObjects": "observation_drift",
    "Task": "stream",
    "TaskStream": "stream",
    "drifting": "drifts",
    "parse_drifts": "drifts",
    "parse_schedule": "schedule",
}

_IDS = {
    "CuedRecall": "cued-recall",
    "ColourRule": "colour-rule",
    "Reversal": "reversal",
    "DarkRoom": "dark-room",
    "MapChange": "map-change",
    "Doors": "doors",
    "CartPoleSign": "cartpole-sign",
    "CartPoleLength": "cartpole-length",
    "CartPolePhysics": "cartpole-physics",
    "PendulumSign": "pendulum-sign",
    "InvertedPendulumGear": "inverted-pendulum-gear",
    "ReacherSign": "reacher-sign",
    "CW10": "cw10",
    "CW20": "cw20",
}
_MADE: dict[str, dict[str, Any]] = {f"lifelong/{title}-v0": {"name": name} for title, name in _IDS.items()}
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
    entry_point="lifelong.envs.meta_world:make_arm",
    max_episode_steps=200,
    disable_env_checker=True,
    order_enforce=False,
)
gymnasium.register(
    "lifelong/ColourRoom-v0",
    entry_point="lifelong.envs.colour_rule:ColourRoom",
    disable_env_checker=True,
    order_enforce=False,
)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)


def known_streams() -> dict[str, Entry]:
    """Return the built-in streams and those of installed plug-ins (entry-point group `lifelong.streams`)."""
    plugins = {e.name: Entry(e.value, f"plug-in {e.value}") for e in entry_points(group="lifelong.streams")}
    return plugins | STREAMS


def make_stream(name: str, num_envs: int = 1, **options: Any) -> "TaskStream":
    """Return a new stream.

    Args:
        name: a key of `known_streams()` (`-` and `_` are the same), `gym:<id>` for any id of gymnasium, or a file (see
            `stream_file.py`), whose settings these options override.
        num_envs: B, lives side by side.
        **options: passed to its constructor; a schedule may be given as text, see `parse_schedule`. Any stream may be
            given `drifts` of its tasks, see `parse_drifts`, with strokes between them, and a `drift_schedule` which
            says when they change, see `drifted_lives.py`; the tasks of `gym:<id>` are made with them, see `drifting`.

    Raises:
        KeyError: if no stream has that name.
        ImportError: if a plug-in cannot be loaded.
        TypeError: if it does not take these options, or is no `TaskStream`.
        ValueError: if it does not take their values, or gymnasium cannot make the environment.
    """
    from lifelong.envs.drifts import drifting, kinds_of
    from lifelong.envs.schedule import parse_schedule
    from lifelong.envs.stream import TaskStream

    for key in ("schedule", "drift_schedule"):
        if isinstance(options.get(key), str):
            options[key] = parse_schedule(options[key])
    if name.endswith((".toml", ".yaml", ".yml")):
        from lifelong.envs.stream_file import read_stream_file

        found = read_stream_file(name)
        if found.stream:
            return make_stream(found.stream, num_envs, **(found.options | options))
        name, options = "gym:", found.options | options
    known = {key.replace("_", "-"): entry for key, entry in known_streams().items()}
    drifts, drift_schedule = options.pop("drifts", None), options.pop("drift_schedule", None)
    if drift_schedule is not None and drifts is None:
        raise ValueError(f"drift_schedule says when drifts change, and there are none: drift_schedule={drift_schedule}")
    if name.startswith("gym:"):
        entry, tasks = Entry("lifelong.envs.gym_stream:GymStream", ""), name[len("gym:") :]
        if drifts is not None and drift_schedule is None and "tasks" not in options:
            options["tasks"], drifts = drifting(tasks, drifts), None
        options = {"tasks": tasks} | options
    elif (key := name.replace("_", "-")) in known:
        entry = known[key]
    else:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ";"
        raise KeyError(
            f"no stream {name!r}{hint} known: {', '.join(sorted(known))}, or gym:<id of gymnasium>, or a .toml file"
        )
    module_name, _, attribute = entry.target.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ImportError(f"cannot load stream {entry.target!r}: {error}") from error
    _refuse_unknown(name, factory, options)
    try:
        stream = factory(num_envs=num_envs, **options)
    except TypeError as error:
        raise TypeError(f"stream {name!r} cannot be made with num_envs={num_envs}, {options}: {error}") from error
    if not isinstance(stream, TaskStream):
        raise TypeError(f"stream {name!r} must be a lifelong.envs.TaskStream, got {type(stream).__name__}")
    if drifts is not None:
        stream.drift(kinds_of(drifts), drift_schedule)
    return stream


def _refuse_unknown(name: str, factory: Any, options: dict[str, Any]) -> None:
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return  # it tells no parameters; what cannot be called says so itself
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return  # it hands on what it does not know
    known = sorted({*parameters, "drifts", "drift_schedule"} - {"num_envs"})
    for unknown in options.keys() - parameters.keys():
        near = difflib.get_close_matches(unknown, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ";"
        raise TypeError(f"stream {name!r} has no setting {unknown!r}{hint} known: {', '.join(known)}")


def make_single(name: str, **options: Any) -> "Single":
    """Return a new stream of one life as a `gymnasium.Env`; arguments and errors as for `make_stream`."""
    from lifelong.envs.single import Single

    return Single(make_stream(name, 1, **options))
