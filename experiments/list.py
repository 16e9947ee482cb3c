"""`lifelong list`: memories and streams, in one line each; `lifelong list NAME`: settings, defaults and tasks of one.

Without a name it imports none of them.
"""

import inspect
import sys
from collections.abc import Mapping
from typing import Any

from lifelong.envs import known_streams
from lifelong.memory import known_memories
from lifelong.registry import Entry, load, nearest

__all__ = ["command", "describe", "listing"]

_NOT_SETTINGS = {"self", "width", "num_envs", "seed"}  # flags of their own
_VARIADIC = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def listing() -> str:
    """Return the table of what can be named on the command line."""
    groups: dict[str, dict[str, tuple[Any, ...]]] = {
        "memories (--memory)": {**known_memories(), "package.module:Class": (None, "a memory of your own")},
        "streams": {**known_streams(), "gym:<id>": (None, "anything gymnasium.make takes, as a one-task stream")},
    }
    width = max(len(name) for entries in groups.values() for name in entries)
    lines = []
    for title, entries in groups.items():
        lines += [f"{title}:", *(f"  {name:<{width}}  {entry[1]}" for name, entry in entries.items()), ""]
    return "\n".join([*lines, "lifelong list NAME shows the settings of one.", ""])


def describe(name: str) -> str:
    """Return the settings and defaults of a memory or stream, and the tasks of a stream.

    Raises:
        UserError: if there is none of that name, or it needs what is not installed.
    """
    from lifelong.experiments.runs.errors import UserError, as_user_error  # not above: the table does without torch

    memories, streams = known_memories(), known_streams()
    memory, stream = _found(name, memories), _found(name, streams)
    if memory is None and stream is None:
        hint = nearest(name, [*memories, *streams])
        raise UserError(f"no memory or stream {name!r}{hint} lifelong list shows all")
    parts = []
    with as_user_error():
        if memory is not None:
            parts.append(_settings("memory", memory, memories[memory], "--memory-options"))
        if stream is not None:
            parts.append(_settings("stream", stream, streams[stream], "--stream-options"))
            from lifelong.envs import make_stream

            env = make_stream(stream, num_envs=1)
            try:
                names = [task.name for task in env.tasks]
                shown = ", ".join(names[:40]) + (f", and {len(names) - 40} more" if len(names) > 40 else "")
                parts.append(f"tasks ({len(names)}): {shown}\nschedule: {env.schedule}\n")
            finally:
                env.close()
    return "\n".join(parts)


def command(arguments: list[str]) -> None:
    """Print the table, or the description of a name.

    Raises:
        UserError: if there is more than one name, or an option.
    """
    if any(word in ("-h", "--help") for word in arguments):
        sys.stdout.write("usage: lifelong list [NAME]\n\nMemories and streams, or the settings of one.\n")
        return
    options = [word for word in arguments if word.startswith("-")]
    if options or len(arguments) > 1:
        from lifelong.experiments.runs.errors import UserError  # not above: it imports torch

        raise UserError(f"list takes at most one name and no settings, got {' '.join(options or arguments)}")
    sys.stdout.write(describe(arguments[0]) if arguments else listing())


def _found(name: str, entries: Mapping[str, Entry]) -> str | None:
    """Return a name as the registry spells it, or None."""
    return next((known for known in entries if known.replace("_", "-") == name.replace("_", "-")), None)


def _settings(kind: str, name: str, entry: Entry, flag: str) -> str:
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
    said = _arguments(inspect.getdoc(factory) or "")
    width = max((len(setting) for setting, _ in listed), default=0)
    lines.append(f"settings ({flag} NAME=VALUE):" if listed else "no settings")
    for setting, default in listed:
        lines.append(f"  {setting:<{width}}  {default:<10}  {said.get(setting, '')}".rstrip())
    return "\n".join([*lines, ""])


def _arguments(docstring: str) -> dict[str, str]:
    """Return what the `Args:` of a docstring says of each parameter, in one line."""
    _, _, below = docstring.partition("Args:\n")
    found: dict[str, str] = {}
    name = ""
    for line in below.split("\n"):
        indent = len(line) - len(line.lstrip())
        if not line.strip() or indent == 0:
            break
        if indent == 4 and ":" in line:
            name, _, text = line.strip().partition(": ")
            found[name] = text
        elif name:
            found[name] += f" {line.strip()}"
    return found
