"""Registries: tables from names to import targets, for memories, streams, schedules, drifts and verbs.

An entry names its target as text, so that a table can be listed and searched without imports.
"""

import difflib
import importlib
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any, NamedTuple

from lifelong.trust import is_foreign, make_importable

__all__ = [
    "Entry",
    "check_settings",
    "closest",
    "find",
    "known",
    "lazy_attribute",
    "load",
    "nearest",
    "table",
    "unknown",
]

_LONGEST, _LONGEST_NAME = 160, 60  # characters of a list of names, and of one, in a message


class Entry(NamedTuple):
    """Registry entry: import target and one-line summary."""

    target: str
    """`module:attribute`."""
    summary: str
    options: dict[str, Any] = {}  # noqa: RUF012  a NamedTuple default, never written to
    """Settings that the name implies."""
    extra: str = ""
    """The extra of this package that it needs; empty if none."""
    source: str = ""
    """Publication: an arXiv id, or a DOI with `doi.org/` before it; empty if none."""


def table(package: str, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return entries with their relative targets made absolute.

    Args:
        package: dotted name.
        entries: by name.
    """
    return {name: entry._replace(target=f"{package}.{entry.target}") for name, entry in entries.items()}


def known(built_in: Mapping[str, Entry], group: str) -> dict[str, Entry]:
    """Return the built-in entries and those of installed plug-ins.

    Args:
        built_in: entries by name; they win over a plug-in of the same name.
        group: entry-point group of the plug-ins.
    """
    plug_ins = {point.name: Entry(point.value, f"plug-in {point.value}") for point in entry_points(group=group)}
    return plug_ins | dict(built_in)


def closest(name: str, names: Iterable[str]) -> str | None:
    """Return the name that an unknown one was most likely meant to be; None if nothing is near."""
    return next(iter(difflib.get_close_matches(name[:_LONGEST], list(names), n=1)), None)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return how an error goes on after an unknown name: "; did you mean 'x'?", or ";" if nothing is near."""
    near = closest(name, names)
    return f"; did you mean {near!r}?" if near else ";"


def unknown(name: str, names: Iterable[str]) -> str:
    """Return how an error goes on after an unknown name: the nearest one, or else all, as far as they are short."""
    listed = sorted(names)
    near = closest(name, listed)
    return f"; did you mean {near!r}?" if near else f"; known: {_short(listed)}"


def _short(names: Iterable[str]) -> str:
    """Return names with commas between, as far as they are short."""
    text = ", ".join(names)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST].rpartition(',')[0]}, ..."


def find(
    kind: str,
    name: str,
    entries: Mapping[str, Entry],
    otherwise: str = "",
    *,
    group: str = "",
    written: Callable[[str], str] = str,
) -> Entry:
    """Return the entry of a name, in which `-` and `_` are the same.

    Args:
        kind: of the entry, for the error: "memory".
        name: of the entry.
        entries: by name.
        otherwise: what else would be understood, for the error: ", or package.module:Class".
        group: entry-point group of plug-ins, which are read from disk where no entry has the name; empty if none.
        written: how a known name is listed in the error, such as with its settings.

    Raises:
        KeyError: if there is none; names the nearest and lists those that are known, the first of many.
    """
    found = _of_name(name, entries)
    if found is None and group:
        entries = known(entries, group)
        found = _of_name(name, entries)
    if found is not None:
        return found
    shown = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."
    listed = _short(written(key) for key in sorted(entries))
    raise KeyError(f"no {kind} {shown!r}{nearest(shown, entries)} known: {listed}{otherwise}")


def _of_name(name: str, entries: Mapping[str, Entry]) -> Entry | None:
    folded = name.replace("_", "-")
    return next((entry for key, entry in entries.items() if key.replace("_", "-") == folded), None)


def load(kind: str, target: str) -> Any:
    """Import and return `module:attribute`.

    Raises:
        ImportError: if it cannot be found, or lies inside the folder of a run.
    """
    module_name, _, attribute = target.partition(":")
    try:
        if is_foreign(target):
            make_importable(module_name)
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ImportError(f"cannot load {kind} {target!r}: {error}") from error


def check_settings(
    kind: str, name: str, factory: Any, settings: Collection[str], *, also: Collection[str] = (), hidden: str = ""
) -> None:
    """Validate the names of settings against a factory's parameters.

    Args:
        kind: of the factory, for the error: "memory".
        name: of the factory.
        factory: takes the settings; one with `**kwargs`, or without a signature, is not checked.
        settings: names to check.
        also: names accepted besides the parameters.
        hidden: a parameter that is not a setting, such as "width".

    Raises:
        TypeError: if one is unknown; names the nearest and lists all, and begins in Python's own words, which other
            libraries look for.
    """
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    understood = sorted({*parameters, *also} - {hidden})
    for unknown in sorted(set(settings) - set(understood)):
        hint = nearest(unknown, understood)
        listed = ", ".join(understood) or "none"
        raise TypeError(f"{kind} {name!r} got an unexpected keyword argument {unknown!r}{hint} known: {listed}")


def lazy_attribute(package: str, exports: Mapping[str, str], name: str) -> Any:
    """Import a public name of a package at its first access (PEP 562).

    Args:
        package: its dotted name, `__name__`.
        exports: from public name to the module, relative to the package, that defines it.
        name: the attribute.

    Raises:
        AttributeError: if the package has no such name.
    """
    if name not in exports:
        raise AttributeError(f"module {package!r} has no attribute {name!r}{nearest(name, exports)[:-1]}")
    return getattr(importlib.import_module(f"{package}.{exports[name]}"), name)
