"""Registry of streams: built-in table, plug-ins, and `make_stream`. Streams, and MiniGrid, are imported lazily."""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_origin

import numpy as np

from lifelong.registry import Entry, check_settings, find, known, load, table
from lifelong.schema import annotations_of, described, fits, shown

if TYPE_CHECKING:
    from lifelong.envs.single_env import Single
    from lifelong.envs.stream import TaskStream
    from lifelong.envs.vector_env import VectorStream

__all__ = ["IDS", "STREAMS", "find_stream", "known_streams", "make_single", "make_stream", "make_vector"]

STREAMS = table(
    "lifelong.envs",
    {
        "cued-recall": Entry(
            "streams.cued_recall:CuedRecall", "which answer belongs to which cue, redrawn for every life"
        ),
        "colour-rule": Entry(
            "streams.colour_rule:ColourRule", "MiniGrid: which colour pays, redrawn every 20 episodes"
        ),
        "reversal": Entry(
            "streams.reversal:Reversal",
            "which of two arms pays; one pull per episode, changing without notice",
        ),
        "dark-room": Entry("streams.dark_room:DarkRoom", "where on a map the unseen goal is; 20 episodes of each"),
        "map-change": Entry(
            "streams.map_change:MapChange",
            "the way through four rooms to an unseen goal; 20 episodes of each map",
        ),
        "doors": Entry("streams.doors:Doors", "which door the key of a colour opens; one try per episode"),
        "t-maze": Entry("streams.t_maze:TMaze", "which arm pays: a signal, then a corridor of up to 10^6 steps"),
        "endless-cues": Entry(
            "streams.endless_cues:EndlessCues", "novelty: every episode teaches a cue and asks for one of long ago"
        ),
        "endless-t-maze": Entry(
            "streams.endless_t_maze:EndlessTMaze",
            "rewriting: which way to turn, told anew in each of 16 mazes in a row",
        ),
        "colour-cubes": Entry(
            "streams.colour_cubes:ColourCubes", "rewriting: where cubes are that jump, seen only when they do"
        ),
        "foraging": Entry(
            "streams.foraging:Foraging", "never-ending: where things grow again, and which of two kinds pays now"
        ),
        "early-choice": Entry(
            "streams.early_choice:EarlyChoice", "credit: which of two choices pays; made in step 1, paid in step 128"
        ),
        "cartpole-sign": Entry("streams.negative_controls:cartpole_sign", "control: left and right change places"),
        "cartpole-length": Entry("streams.negative_controls:cartpole_length", "control: poles of four lengths"),
        "cartpole-physics": Entry(
            "streams.negative_controls:cartpole_physics", "negative control: other gravity, pushes and masses"
        ),
        "pendulum-sign": Entry("streams.negative_controls:pendulum_sign", "control: the torque is reversed"),
        "inverted-pendulum-gear": Entry(
            "streams.negative_controls:inverted_pendulum_gear",
            "control, MuJoCo: a cart pushed as it is, more weakly, and the wrong way",
            extra="mujoco",
        ),
        "reacher-sign": Entry(
            "streams.negative_controls:reacher_sign",
            "control, MuJoCo: the torques of an arm are reversed, or change joints",
            extra="mujoco",
        ),
        "cw10": Entry(
            "streams.meta_world:cw10",
            "Meta-World: ten tasks of a robot's arm, 5000 episodes of each",
            extra="metaworld",
        ),
        "cw20": Entry(
            "streams.meta_world:cw20",
            "Meta-World: the ten tasks of cw10, and all of them again",
            extra="metaworld",
        ),
        "rooms": Entry("rooms.stream:Rooms", "MiniGrid's own tasks, compiled: millions of steps a second"),
    },
)

_TITLES = {"cartpole": "CartPole", "cw10": "CW10", "cw20": "CW20"}
"""Spelling of name parts in ids that are not simply capitalised."""

_PLUG_INS = "lifelong.streams"
"""Entry-point group."""

IDS: dict[str, str] = {
    "".join(_TITLES.get(word, word.capitalize()) for word in name.split("-")): name
    for name in STREAMS
    if name != "rooms"  # has an id for each of its tasks
}
"""Stream names by their gymnasium titles: `lifelong/<title>-v0`."""


def known_streams() -> dict[str, Entry]:
    """Return the built-in streams and those of installed plug-ins (entry-point group `lifelong.streams`)."""
    return known(STREAMS, _PLUG_INS)


def find_stream(name: str) -> Entry:
    """Return the entry of a stream.

    Args:
        name: a key of `known_streams()` (`-` and `_` are the same).

    Raises:
        KeyError: if no stream has that name; names the nearest.
    """
    return find("stream", name, STREAMS, ", or gym:<id of gymnasium>, or a .toml file", group=_PLUG_INS)


def make_stream(name: str, num_envs: int = 1, *, trust: bool = False, **options: Any) -> "TaskStream":
    """Return a new stream.

    Args:
        name: a key of `known_streams()` (`-` and `_` are the same), `gym:<id>` for any id of gymnasium, or a file (see
            `stream_file.py`), whose settings these options override.
        num_envs: B, lives side by side.
        trust: whether a file may name environments that are neither registered nor of installed packages.
        **options: passed to its constructor; a schedule may be given as text, see `parse_schedule`. Any stream may be
            given `drifts` of its tasks, see `parse_drifts`, separated by slashes, and a `drift_schedule` of their
            changes, see `drifts/batched.py`; the tasks of `gym:<id>` are made with them, see `drifting`. Any stream may
            be given a `life_hazard`, see `TaskStream.life_hazard`. `env_kwargs` of `gym:<id>` are for `gymnasium.make`,
            and `env_workers` for all streams that are made of its environments, see `GymStream`.

    Raises:
        KeyError: if no stream has that name.
        ImportError: if a plug-in cannot be loaded.
        TypeError: if it does not take these options, or is no `TaskStream`.
        ValueError: if it does not take their values, or gymnasium cannot make the environment.
    """
    from lifelong.envs.gym_stream import drifting
    from lifelong.envs.gym_task import GymTask
    from lifelong.envs.parse import kinds_of, parse_schedule
    from lifelong.envs.stream import TaskStream
    from lifelong.envs.stream_file import is_stream_file, read_stream_file

    num_envs = _plain(num_envs)
    options = {key: _plain(value) for key, value in options.items()}
    for key in ("schedule", "drift_schedule"):
        if isinstance(options.get(key), str):
            options[key] = parse_schedule(options[key])
        if options.get(key) is not None and not hasattr(options[key], "next"):
            raise TypeError(f"{key} must be a schedule or its text, such as cyclic:4: {key}={options[key]!r}")
    if is_stream_file(name):
        found = read_stream_file(name, trust=trust)
        if found.stream:
            return make_stream(found.stream, num_envs, **(found.options | options))
        name, options = "gym:", found.options | options
    drifts, drift_schedule = options.pop("drifts", None), options.pop("drift_schedule", None)
    life_hazard, env_kwargs = options.pop("life_hazard", None), options.pop("env_kwargs", None)
    if env_kwargs is not None and not isinstance(env_kwargs, Mapping):
        raise TypeError(f"env_kwargs must be names with values: env_kwargs={env_kwargs!r}")
    if env_kwargs and (not name.startswith("gym:") or "tasks" in options):
        raise ValueError(
            "env_kwargs are for gym:<id> alone; other streams have stream_options, and tasks of a file kwargs: "
            f"env_kwargs={env_kwargs}"
        )
    if drift_schedule is not None and drifts is None:
        raise ValueError(f"drift_schedule says when drifts change, and there are none: drift_schedule={drift_schedule}")
    if name.startswith("gym:"):
        entry, env_id = Entry("lifelong.envs.gym_stream:GymStream", ""), name[len("gym:") :]
        if drifts is not None and drift_schedule is None and "tasks" not in options:
            options["tasks"], drifts = drifting(env_id, drifts, env_kwargs or {}), None
        options = {"tasks": GymTask(env_id, kwargs=env_kwargs or {})} | options
    else:
        entry = find_stream(name)
    factory = load("stream", entry.target)
    if "env_workers" in options and not _takes(factory, "env_workers"):
        workers = options.pop("env_workers")
        if workers:
            raise ValueError(
                "env_workers must be 0 for streams that are not made of gymnasium's environments, since in them is no "
                f"foreign code that could end the process: env_workers={workers}"
            )
    check_settings(
        "stream",
        name,
        factory,
        options,
        also=("drifts", "drift_schedule", "life_hazard", "env_kwargs"),
        hidden="num_envs",
    )
    _check_types(name, factory, options)
    try:
        stream = factory(num_envs=num_envs, **options)
    except TypeError as error:
        raise TypeError(f"stream {name!r} cannot be made with num_envs={num_envs}, {options}: {error}") from error
    if not isinstance(stream, TaskStream):
        raise TypeError(f"stream {name!r} must be a lifelong.envs.TaskStream, got {type(stream).__name__}")
    stream.life_hazard = life_hazard
    if drifts is not None:
        stream.drift(kinds_of(drifts), drift_schedule)
    stream.bind_schedule()
    return stream


def _check_types(name: str, factory: Any, options: Mapping[str, Any]) -> None:
    """Validate options against the annotations of a factory; of words it says itself what it takes.

    Raises:
        TypeError: if one has another type than its parameter.
    """
    allowed = annotations_of(factory)
    for option, value in options.items():
        annotation = allowed.get(option, Any)
        if get_origin(annotation) is not Literal and not fits(value, annotation):
            raise TypeError(f"stream {name!r}: {option} must be {described(annotation)}, got {shown(value)}")


def _takes(factory: Any, setting: str) -> bool:
    """Return whether a factory has a parameter of that name, or takes any."""
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return True
    return setting in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def make_single(name: str, *, flat: bool = False, render_mode: str | None = None, **options: Any) -> "Single":
    """Return a new stream of one life as a `gymnasium.Env`.

    Args:
        name: as for `make_stream`.
        flat: whether an observation is one vector of float32.
        render_mode: as the stream takes it; `rgb_array` for any.
        **options: as for `make_stream`; without a `seed` the first reset draws one.

    Raises:
        Exception: as `make_stream`; ValueError on a render mode that there is not.
    """
    from lifelong.envs.single_env import Single

    stream, seeded = _drawing_stream(name, 1, render_mode, options)
    return Single(stream, flat=flat, render_mode=render_mode, seeded=seeded)


def make_vector(
    name: str,
    num_envs: int = 1,
    *,
    autoreset_mode: Any = "SAME_STEP",
    flat: bool = False,
    render_mode: str | None = None,
    **options: Any,
) -> "VectorStream":
    """Return a new stream as a `gymnasium.vector.VectorEnv` by gymnasium's conventions.

    Args:
        name: as for `make_stream`.
        num_envs: B, lives side by side.
        autoreset_mode: gymnasium's `AutoresetMode`, or its name: SAME_STEP, NEXT_STEP, DISABLED.
        flat: whether an observation is one vector of float32.
        render_mode: as the stream takes it; `rgb_array` for any.
        **options: as for `make_stream`; without a `seed` the first reset draws one.

    Raises:
        Exception: as `make_stream`; ValueError on a mode that there is not.
    """
    from lifelong.envs.vector_env import VectorStream

    stream, seeded = _drawing_stream(name, num_envs, render_mode, options)
    return VectorStream(stream, autoreset_mode, flat=flat, render_mode=render_mode, seeded=seeded)


def _drawing_stream(
    name: str, num_envs: int, render_mode: str | None, options: dict[str, Any]
) -> "tuple[TaskStream, bool]":
    """Return a stream that draws by itself if it can, and whether its seed was given."""
    if options.get("seed") is None:
        options.pop("seed", None)
    stream = make_stream(name, num_envs, **options)
    if render_mode in stream.metadata["render_modes"]:
        stream.close()
        stream = make_stream(name, num_envs, render_mode=render_mode, **options)
    return stream, "seed" in options


def _plain(value: Any) -> Any:
    """Return a number of numpy as Python's own, which some environments insist on."""
    return value.item() if isinstance(value, np.generic) else value
