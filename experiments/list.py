"""`lifelong list`: memories and streams, in one line each; imports none of them."""

import sys
from typing import Any

from lifelong.envs import known_streams
from lifelong.memory import known_memories

__all__ = ["command", "listing"]


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
    return "\n".join(lines)


def command(arguments: list[str]) -> None:
    """Print the table.

    Raises:
        UserError: if there is any word but a plea for help.
    """
    if other := sorted(set(arguments) - {"-h", "--help"}):
        from lifelong.experiments.runs.config import UserError  # not above: it imports what the table can do without

        raise UserError(f"list takes no settings, got {' '.join(other)}")
    sys.stdout.write(listing())
