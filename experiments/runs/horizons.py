"""Horizons of a preset: heads that forget within an episode beside those that remember for life."""

import inspect
from collections.abc import Mapping
from typing import Any

from lifelong.memory.registry import load_memory

__all__ = ["fits"]

LONG = 1000
"""Steps above which the shortest of a memory's own horizons is no episode's."""


def fits(memory: str, width: int, given: Mapping[str, Any]) -> bool:
    """Return whether a preset's horizons fit a memory: one of two heads or more whose own horizons are all a life's.

    Args:
        memory: its name; nothing fits one that is unknown, which is refused where it is made.
        width: D; a memory has a head for each 32 channels, unless `num_heads` is given.
        given: its settings; horizons among them win.
    """
    heads = given.get("num_heads", given.get("heads", width // 32))
    if "horizons" in given or not isinstance(heads, int) or heads < 2:
        return False
    try:
        own = inspect.signature(load_memory(memory)).parameters["horizons"].default
        return bool(min(own) > LONG)
    except (KeyError, ImportError, TypeError, ValueError):  # no such memory, no such setting, none that is a pair
        return False
