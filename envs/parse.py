"""Data from text, for any table of names and dataclasses: `name`, `name:1,2` or `name:second=2,first=1`."""

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, get_args

from lifelong.registry import nearest

__all__ = ["from_text"]


def from_text(text: str, table: Mapping[str, type[Any]], what: str) -> Any:
    """Return what a text names.

    Args:
        text: a key of the table; after a colon its values, in order or as name=value, with commas between.
        table: dataclasses whose fields are numbers or words.
        what: what the table holds, for errors.

    Raises:
        ValueError: if there is no such key, or it does not take these values.
    """
    name, _, rest = text.strip().partition(":")
    if name not in table:
        hint = nearest(name, table)
        raise ValueError(f"no {what} {name!r}{hint} known: {', '.join(_usage(known, table) for known in table)}")
    wanted = {f.name: _kind(f.type) for f in fields(table[name])}
    given: dict[str, int | float | str] = {}
    for position, part in enumerate(rest.split(",") if rest else ()):
        key, equals, value = part.strip().partition("=")
        if not equals:
            key, value = list(wanted)[position] if position < len(wanted) else part, key
        if key not in wanted or key in given:
            raise ValueError(f"{what} {text!r}: cannot place {part.strip()!r}; write {_usage(name, table)}")
        try:
            given[key] = wanted[key](value)
        except ValueError:
            kinds = "an integer" if wanted[key] is int else "a number"
            raise ValueError(f"{what} {text!r}: {key} must be {kinds}, got {value!r}") from None
    if missing := [f.name for f in fields(table[name]) if f.default is MISSING and f.name not in given]:
        raise ValueError(f"{what} {text!r} needs {', '.join(missing)}; write {_usage(name, table)}")
    return table[name](**given)


def _kind(annotation: Any) -> type[int] | type[float] | type[str]:
    """Return int, float or str, without a None that the annotation allows besides."""
    kind: Any = get_args(annotation)[0] if isinstance(annotation, types.UnionType) else annotation
    return kind  # type: ignore[no-any-return]


def _usage(name: str, table: Mapping[str, type[Any]]) -> str:
    """Return how an entry is written, with its defaults; what has none is shown as N."""
    shown = [(f.name, "N" if f.default is MISSING else f.default) for f in fields(table[name])]
    parts = [f"{key}={value}" for key, value in shown if value not in (None, "")]
    return f"{name}:{','.join(parts)}" if parts else name
