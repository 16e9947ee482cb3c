"""`lifelong list`: memories, streams, schedules and drifts, in one line each; `lifelong list NAME`: settings of one.

Without a name it imports none of them.
"""

import inspect
import sys
from collections.abc import Mapping

from lifelong.envs import DRIFTS, SCHEDULES, known_streams
from lifelong.envs.parse import IN_STEPS
from lifelong.experiments.runs.docstrings import documented_arguments
from lifelong.experiments.runs.errors import UserError, as_user_error
from lifelong.experiments.runs.families import FAMILIES
from lifelong.memory import known_memories
from lifelong.memory.registry import WRAPPERS, find_memory
from lifelong.registry import Entry, load, nearest

__all__ = ["command", "describe", "listing"]

_NOT_SETTINGS = {"self", "width", "num_envs", "seed"}  # flags of their own
_DEFAULT_COLUMN = 24  # its largest width; a longer default moves what stands behind it
_GIVEN_BY = {  # how a setting of each kind is given
    "memory": "--memory-options NAME=VALUE",
    "stream": "--stream-options NAME=VALUE",
    "schedule": "--schedule {}:NAME=VALUE",
    "order": "--schedule 'order:A,B,A every EPISODES'",
    "drift": "--stream-options drifts={}:NAME=VALUE",
}


def listing() -> str:
    """Return the table of what can be named on the command line."""
    own = {"package.module:Class": Entry("", "a memory of your own")}
    gym = {"gym:<id>": Entry("", "anything gymnasium.make takes, as a one-task stream")}
    groups = {
        "memories (--memory)": known_memories() | own,
        "streams": known_streams() | gym,
        "presets of families of environments (--preset)": {
            name: Entry("", family.summary) for name, family in FAMILIES.items()
        },
        "schedules of a stream (--schedule)": SCHEDULES,
        "drifts of a stream's tasks (--stream-options drifts=...)": DRIFTS,
    }
    width = max(len(name) for entries in groups.values() for name in entries)
    lines = []
    for title, entries in groups.items():
        lines += [f"{title}:", *(f"  {name:<{width}}  {entry.summary}" for name, entry in entries.items()), ""]
    return "\n".join([*lines, "lifelong list NAME shows the settings of one.", ""])


def describe(name: str) -> str:
    """Return the settings and defaults of what has this name, and the tasks of a stream.

    Raises:
        UserError: if there is none of that name, or it needs what is not installed.
    """
    tables = {"memory": known_memories(), "stream": known_streams(), "schedule": SCHEDULES, "drift": DRIFTS}
    found = {kind: key for kind, entries in tables.items() if (key := _found(name, entries)) is not None}
    if name.partition(":")[0] in WRAPPERS:
        with as_user_error():
            return _settings("memory", name, find_memory(name))
    if not found:
        hint = nearest(name, [key for entries in tables.values() for key in entries])
        raise UserError(f"no memory, stream, schedule or drift {name!r}{hint} lifelong list shows all")
    parts = []
    with as_user_error():
        for kind, key in found.items():
            parts.append(_settings(kind, key, tables[kind][key]))
            if kind == "stream":
                parts.append(_tasks(key))
    return "\n".join(parts)


def command(name: str | None) -> None:
    """Print the table, or the description of a name."""
    sys.stdout.write(listing() if name is None else describe(name))


def _found(name: str, entries: Mapping[str, Entry]) -> str | None:
    """Return a name as the registry spells it, or None."""
    return next((known for known in entries if known.replace("_", "-") == name.replace("_", "-")), None)


def _tasks(stream: str) -> str:
    from lifelong.envs import make_stream

    env = make_stream(stream, num_envs=1)
    try:
        names = [task.name for task in env.tasks]
        shown = ", ".join(names[:40]) + (f", and {len(names) - 40} more" if len(names) > 40 else "")
        return f"tasks ({len(names)}): {shown}\nschedule: {env.schedule}\n"
    finally:
        env.close()


def _settings(kind: str, name: str, entry: Entry) -> str:
    factory = load(kind, entry.target)
    lines = [f"{kind} {name}: {entry.summary}", ""]
    if entry.options:
        lines += [f"stands for: {' '.join(f'{key}={value}' for key, value in entry.options.items())}", ""]
    listed = [
        (parameter.name, "required" if parameter.default is parameter.empty else repr(parameter.default))
        for parameter in inspect.signature(factory).parameters.values()
        if parameter.name not in _NOT_SETTINGS
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    said = documented_arguments(factory)
    width = max((len(setting) for setting, _ in listed), default=0)
    column = min(max((len(default) for _, default in listed), default=0), _DEFAULT_COLUMN)
    lines.append(f"settings ({_GIVEN_BY.get(name, _GIVEN_BY[kind]).format(name)}):" if listed else "no settings")
    for setting, default in listed:
        lines.append(f"  {setting:<{width}}  {default:<{column}}  {said.get(setting, '')}".rstrip())
    if kind == "schedule" and name in IN_STEPS:
        lines += ["", "with ` steps` behind the number it counts environment steps of all lives together"]
    return "\n".join([*lines, ""])
