"""Check the names of memories and streams, before what they name is imported."""

import re

from lifelong.envs.registry import find_stream
from lifelong.envs.stream_file import is_stream_file
from lifelong.envs.suites import check_registered
from lifelong.experiments.runs.errors import UserError, as_user_error
from lifelong.memory.registry import find_memory

__all__ = ["check_memories", "check_stream"]


def check_memories(*names: str) -> None:
    """Validate names of memories.

    Args:
        *names: as `make_memory` takes them.

    Raises:
        UserError: if there is none of a name; names the nearest.
    """
    with as_user_error():
        for name in names:
            find_memory(name)


def check_stream(name: str) -> None:
    """Validate the name of a stream.

    Args:
        name: as `make_stream` takes it.

    Raises:
        UserError: if there is none of that name; names the nearest.
    """
    if is_stream_file(name):
        return
    if name.startswith("gym:"):
        with as_user_error(prefix=f"stream {name!r}: "):
            check_registered(name.removeprefix("gym:"))
        return
    if _is_gymnasium_id(name):
        raise UserError(f"no stream {name!r}; did you mean 'gym:{name}'?")
    with as_user_error():
        find_stream(name)


def _is_gymnasium_id(name: str) -> bool:
    """Return whether a name that is no stream's looks like an id of gymnasium: `[module:][namespace/]Name-v0`."""
    if re.fullmatch(r"([\w.]+:)?([\w-]+/)?[\w:.-]+-v\d+", name) is None:
        return False
    try:
        find_stream(name)
    except KeyError:
        return True
    return False
