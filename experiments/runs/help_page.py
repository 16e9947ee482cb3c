"""The page of `lifelong VERB --help`, made from the dataclass of the verb's settings.

A field is a line: its flag, what it takes, what the class's `Args:` say of it, its default. A `Heading` in a field's
annotation stands above it and the fields that follow.
"""

import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from inspect import cleandoc
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import tyro

from lifelong.experiments.runs.docstrings import documented_arguments

__all__ = ["Heading", "help_page", "takes"]

_WIDEST = 110  # columns of the page, on a terminal that is wider
_NO_BREAK = "\N{NO-BREAK SPACE}"
_NAMES = 31  # columns of flags; what is longer has a line of its own


@dataclass(frozen=True)
class Heading:
    """Heading of the help above a field and those that follow, up to the next; stands in the field's `Annotated`."""

    title: str


class _Line(NamedTuple):
    heading: str
    name: str
    """`--steps INT`, or `STREAM` if it is positional."""
    text: str
    positional: bool
    required: bool


def help_page(config: type, verb: str, *, shown: Any = None, note: str = "", examples: str = "") -> str:
    """Return the help of a verb.

    Args:
        config: dataclass of its settings.
        verb: after `lifelong`.
        shown: a config whose values are shown as defaults; if not given, the fields' own.
        note: sentence below the description.
        examples: below the note, as they are.
    """
    lines = list(_lines(config, shown, "settings"))
    usage = [line.name if line.required else f"[{line.name}]" for line in lines if line.positional]
    usage += [line.name for line in lines if line.required and not line.positional]
    description = cleandoc(config.__doc__ or "").partition("\n\n")[0]
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    column = 2 + max((len(line.name) for line in lines if len(line.name) <= _NAMES), default=0) + 2
    page = [f"usage: lifelong {' '.join([verb, *usage])} [OPTIONS]", "", *textwrap.wrap(description, width)]
    page += textwrap.wrap(note, width, break_on_hyphens=False)
    page += ["", examples] if examples else []
    heading = ""
    for line in lines:
        if line.heading != heading:
            heading = line.heading
            page += ["", f"{heading}:"]
        wrapped = textwrap.wrap(line.text, max(width - column, 30), break_on_hyphens=False) or [""]
        text = [part.replace(_NO_BREAK, " ") for part in wrapped]
        name = f"  {line.name}".ljust(column)
        if len(name) > column:
            page.append(name)
            name = " " * column
        page.append(f"{name}{text[0]}".rstrip())
        page += [" " * column + part for part in text[1:]]
    return "\n".join([*page, ""])


def takes(kind: Any, name: str) -> str:
    """Return what stands behind a flag: INT, {a,b}, NAME ...

    Args:
        kind: type of the field, without its annotations.
        name: of the field.
    """
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (one for one in get_args(kind) if one is not NoneType)
    if name.endswith("_options"):
        return "NAME=VALUE ..."
    if get_origin(kind) is tuple:
        return f"{takes(get_args(kind)[0], name)} ..."
    if get_origin(kind) is Literal:
        return f"{{{','.join(map(str, get_args(kind)))}}}"
    words = {int: "INT", float: "FLOAT", Path: "PATH"}
    return words.get(kind, name.upper())


def _lines(config: type, shown: Any, heading: str) -> Iterator[_Line]:
    """Yield the lines of a dataclass, those of nested ones in their place."""
    said = documented_arguments(config)
    hints = get_type_hints(config, include_extras=True)
    for field in fields(config):
        marks = getattr(hints[field.name], "__metadata__", ())
        heading = next((mark.title for mark in marks if isinstance(mark, Heading)), heading)
        default = _default(field) if shown is None else getattr(shown, field.name)
        if is_dataclass(default):
            yield from _lines(type(default), default, heading)
            continue
        positional = tyro.conf.Positional in marks
        kind = get_args(hints[field.name])[0] if marks else hints[field.name]
        given = next((mark.metavar for mark in marks if getattr(mark, "metavar", None)), None)
        value = given or takes(kind, field.name)
        flag = field.name.replace("_", "-")
        if positional:
            name = f"{field.name.upper()} ..." if value.endswith("...") else field.name.upper()
        elif kind is bool:
            name = f"--no-{flag}" if default is True else f"--{flag}"
        else:
            name = f"--{flag} {value}"
        text = said.get(field.name, "").removesuffix(".") + _hint(default)
        yield _Line(heading, name, text, positional, default is MISSING)


def _default(field: "Field[Any]") -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _hint(default: Any) -> str:
    """Return how a default is shown, as it can be given; empty if there is nothing to show."""
    if default is MISSING:
        return " (required)"
    if default is None or isinstance(default, bool) or default in ((), ""):
        return ""
    if isinstance(default, tuple):
        return f" (default: {' '.join(map(str, default))})"
    if isinstance(default, int):
        default = f"{default:_}" if default >= 10_000 else default
    elif isinstance(default, float):
        default = f"{default:g}"
    return f" (default:{_NO_BREAK}{default})"
