"""Parse schedules and drifts by name, so that a changing environment is one line of text.

    make_stream("gym:CartPole-v1", drifts="plain/gravity:4/reversed_actions+sticky_actions:0.1", schedule="cyclic:20")

makes three tasks of CartPole: as it is, with four times its gravity, and with both of the last two drifts.

Each has its values behind a colon, in order or by name: `name`, `name:1,2` or `name:second=2,first=1`. Nothing here
imports a schedule or a drift until it is named.
"""

import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, get_args

from lifelong.registry import Entry, find, load, table

if TYPE_CHECKING:
    from lifelong.envs.drifts.base import Drift
    from lifelong.envs.schedules import Schedule

__all__ = ["DRIFTS", "IN_STEPS", "SCHEDULES", "kinds_of", "parse_drifts", "parse_integer", "parse_schedule"]

PLAIN = "plain"
_ORDER = "order:A,B,A every N"

SCHEDULES = table(
    "lifelong.envs",
    {
        "block": Entry("schedules:Block", "tasks in order, so many episodes of each; the last one stays"),
        "cyclic": Entry("schedules:Cyclic", "tasks in order, so many episodes of each, again and again"),
        "redrawn": Entry("schedules:Redrawn", "a task drawn anew every so many episodes"),
        "hazard": Entry("schedules:RandomHazard", "after every episode the task changes with this probability"),
        "interleaved": Entry(
            "schedules:Interleaved", "a task drawn for every episode, with weights, rests, growing lives"
        ),
        "novelty": Entry("schedules:Novelty", "now and then the next new task, else one met before"),
        "order": Entry("composed_schedules:Order", "tasks as they are listed: order:A,B,C,A every 500"),
        "sweep": Entry("schedules:Sweep", "evenly from the first task to the last and back"),
        "walk": Entry("schedules:Walk", "a random walk over the tasks in their order"),
        "once": Entry("once:Once", "every task once or a few times, then never again; others come as distractors"),
        "shocks": Entry("shocks:Shocks", "the last task is foreign: it breaks in for 1, 2, 4, ... episodes"),
        "spaced": Entry("schedules:SpacedLags", "half of the tasks come back after 1, 2, 4, ... episodes"),
    },
)

IN_STEPS = ("block", "cyclic", "order", "sweep")
"""Schedules that can count environment steps in place of episodes."""

DRIFTS = table(
    "lifelong.envs.drifts",
    {
        "reversed_actions": Entry("actions:ReversedActions", "the last action means the first"),
        "shuffled_actions": Entry("actions:ShuffledActions", "every action means another one"),
        "delayed_actions": Entry("actions:DelayedActions", "every action is done some steps later"),
        "sticky_actions": Entry("actions:StickyActions", "now and then the last action is repeated"),
        "shuffled_observations": Entry("observations:ShuffledObservations", "entries change places"),
        "rotated_observations": Entry("observations:RotatedObservations", "a view turned by right angles"),
        "noisy_observations": Entry("observations:NoisyObservations", "every entry with a normal error"),
        "remapped_colours": Entry("observations:RemappedColours", "MiniGrid: objects in other colours"),
        "swapped_objects": Entry("observations:SwappedObjects", "MiniGrid: objects of two kinds look like each other"),
        "scaled_rewards": Entry("rewards:ScaledRewards", "every reward times a number"),
        "delayed_rewards": Entry("rewards:DelayedRewards", "every reward is paid some steps later"),
        "gravity": Entry("physics:Gravity", "gravity times a factor"),
        "mass": Entry("physics:Mass", "all masses times a factor"),
        "length": Entry("physics:Length", "all lengths times a factor"),
        "friction": Entry("physics:Friction", "the friction of all surfaces times a factor"),
        "damping": Entry("physics:Damping", "the damping of all joints times a factor"),
        "actuators": Entry("physics:Actuators", "the strength of actuators times a factor"),
    },
)


def parse_schedule(text: str) -> "Schedule":
    """Return the schedule that a text names.

    | text | schedule |
    | --- | --- |
    | `interleaved`, `interleaved:zipf=1.0`, `hazard:0.05` | one with a name and its numbers |
    | `walk:1 every 20` | another one, of which each choice holds for 20 episodes |
    | `block:50000 steps` | counted in environment steps of all lives together, as `IN_STEPS` can be |
    | `order:A,B,C,A every 500`, `order:A,B,A every 50000 steps` | tasks as they are listed |

    Args:
        text: a key of `SCHEDULES`; after a colon its numbers, in order or as name=number, with commas between.

    Raises:
        ValueError: if there is no such schedule, or it does not take these numbers.
    """
    words = text.strip()
    composed = "lifelong.envs.composed_schedules"
    made: Schedule
    if words.endswith(" steps"):
        made = load("schedule", f"{composed}:InSteps")(parse_schedule(words.removesuffix("steps")))
        return made
    held, every, number = words.rpartition(" every ")
    try:
        episodes = parse_integer(number) if every else 1
    except ValueError:
        raise ValueError(f"schedule {text!r}: every must be followed by an integer, got {number.strip()!r}") from None
    if (held or words).partition(":")[0] == "order":
        listed = tuple(part.strip() for part in (held or words).partition(":")[2].split(","))
        if "" in listed:
            raise ValueError(f"schedule {text!r}: write {_ORDER}, with names or numbers of tasks")
        made = load("schedule", f"{composed}:Order")(listed, episodes)
    elif every:
        made = load("schedule", f"{composed}:Held")(parse_schedule(held), episodes)
    else:
        made = _from_text(words, SCHEDULES, "schedule")
    return made


def parse_integer(text: str) -> int:
    """Return the integer of a text such as `5`, `-5`, `2_000_000` or `1e6`.

    Raises:
        ValueError: if it is none.
    """
    if re.fullmatch(r"[+-]?\d[\d_]*(\.\d+)?[eE]\+?\d{1,3}", text.strip()):
        number = float(text)
        if number.is_integer():
            return int(number)
        raise ValueError(f"{text} is not a whole number")
    return int(text)


def parse_drifts(text: str) -> tuple["Drift", ...]:
    """Return the drifts that a text names: `gravity:2`, `mass:2+sticky_actions`, or none for `plain`.

    Args:
        text: keys of `DRIFTS`, each with its strength behind a colon, the first next to the environment.

    Raises:
        ValueError: if there is no such drift, or it does not take these numbers.
    """
    if text.strip() == PLAIN:
        return ()
    return tuple(_from_text(part, DRIFTS, "drift") for part in text.split("+"))


def kinds_of(texts: str | Sequence[str]) -> list[tuple[str, tuple["Drift", ...]]]:
    """Return for each text its name and the drifts that it names.

    Args:
        texts: as `parse_drifts` takes them, or all in one with strokes between.

    Raises:
        TypeError: if they are not texts.
        ValueError: as `parse_drifts`, or if a text comes twice.
    """
    listed = texts.split("/") if isinstance(texts, str) else texts
    if not isinstance(listed, list | tuple) or not all(isinstance(text, str) for text in listed):
        raise TypeError(f"drifts must be a text or a list of texts: drifts={texts!r}")
    kinds = [(text.strip(), parse_drifts(text)) for text in listed]
    names = [name for name, _ in kinds]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"kinds of drift are named once each, got {twice[0]!r} twice")
    return kinds


def _from_text(text: str, entries: Mapping[str, Entry], what: str) -> Any:
    """Return what a text names.

    Args:
        text: a key of the table; after a colon its values, in order or as name=value, with commas between.
        entries: by name; they name dataclasses whose fields are numbers or words.
        what: what the table holds, for errors.

    Raises:
        ValueError: if there is no such key, or it does not take these values.
    """
    name, _, rest = text.strip().partition(":")
    try:
        entry = find(what, name, entries, written=lambda key: _usage(key, load(what, entries[key].target)))
    except KeyError as error:
        raise ValueError(error.args[0]) from None
    kind = load(what, entry.target)
    wanted = {f.name: _kind(f.type) for f in fields(kind)}
    given: dict[str, int | float | str] = {}
    for position, part in enumerate(rest.split(",") if rest else ()):
        key, equals, value = part.strip().partition("=")
        if not equals:
            key, value = list(wanted)[position] if position < len(wanted) else part, key
        if key not in wanted or key in given:
            raise ValueError(f"{what} {text!r}: cannot place {part.strip()!r}; write {_usage(name, kind)}")
        try:
            given[key] = parse_integer(value) if wanted[key] is int else wanted[key](value)
        except ValueError:
            kinds = "an integer" if wanted[key] is int else "a number"
            raise ValueError(f"{what} {text!r}: {key} must be {kinds}, got {value!r}") from None
    if missing := [f.name for f in fields(kind) if f.default is MISSING and f.name not in given]:
        raise ValueError(f"{what} {text!r} needs {', '.join(missing)}; write {_usage(name, kind)}")
    return kind(**given)


def _kind(annotation: Any) -> type[int] | type[float] | type[str]:
    """Return int, float or str, without a None that the annotation allows besides."""
    kind: Any = get_args(annotation)[0] if isinstance(annotation, types.UnionType) else annotation
    return kind  # type: ignore[no-any-return]


def _usage(name: str, kind: type[Any]) -> str:
    """Return how a name is written, with the defaults of what it names; what has none is shown as N."""
    if name == "order":
        return _ORDER
    shown = [(f.name, "N" if f.default is MISSING else f.default) for f in fields(kind)]
    parts = [f"{key}={value}" for key, value in shown if value not in (None, "")]
    return f"{name}:{','.join(parts)}" if parts else name
