"""Validate the options of a memory against the annotations of its constructor, before anything is made.

Types are checked for every memory, plug-ins too, where the annotation is one of those below. Integers are sizes in all
memories of this package: positive, and at most `MOST`. What else a range must be, the constructor says.
"""

import inspect
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

__all__ = ["MOST", "check_options"]

MOST = 2**24
"""Largest size that can be meant: of anything that a memory has for a step, a head or a channel."""

LOOPS = {"depth": 64, "iterations": 10_000}
"""Largest numbers of what every step goes through one after another."""

LARGEST = 3.4e38
"""Largest number of float32."""


def check_options(name: str, factory: Any, options: Mapping[str, Any], *, sizes: bool) -> None:
    """Validate options against the annotations of a factory.

    Args:
        name: of the memory, for the error.
        factory: class or function that makes it.
        options: by name of the parameter.
        sizes: whether integers are sizes, from 1 to `MOST`.

    Raises:
        TypeError: if one has another type than its parameter; names the option, what is allowed, and the value.
        ValueError: if it is not finite, no word that is allowed, or no size.
    """
    allowed = _annotations(factory)
    for option, value in options.items():
        annotation = allowed.get(option, Any)
        where = f"memory {name!r}: {option} must be"
        if not _fits(value, annotation):
            wrong = TypeError if not _words(annotation) else ValueError
            raise wrong(f"{where} {_described(annotation)}, got {_shown(value)}")
        for number in value if isinstance(value, list | tuple) else (value,):
            if isinstance(number, int | float) and not abs(number) <= LARGEST:
                raise ValueError(f"{where} finite in float32: {option}={_shown(value)}")
        if sizes and type(value) is int and int in _parts(annotation):
            if value < 1:
                raise ValueError(f"{where} positive: {option}={value}")
            most = LOOPS.get(option, MOST)
            if value > most:
                raise ValueError(f"{where} at most {most:,}: {option}={value}")


def _annotations(factory: Any) -> dict[str, Any]:
    """Return the annotation of each parameter; none where they cannot be resolved."""
    called = factory.__init__ if inspect.isclass(factory) else factory
    try:
        return get_type_hints(called)
    except (NameError, TypeError, AttributeError):  # names that only a type checker imports
        return {}


def _parts(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the annotation itself."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _words(annotation: Any) -> tuple[Any, ...]:
    """Return the values of a Literal; empty for any other annotation."""
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _fits(value: Any, annotation: Any) -> bool:
    """Return whether a value has an annotated type; true where that cannot be said."""
    if annotation is Any:
        return True
    origin, args = get_origin(annotation), get_args(annotation)
    if len(_parts(annotation)) > 1:
        return any(_fits(value, part) for part in args)
    if origin is Literal:
        return any(type(value) is type(word) and value == word for word in args)
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is tuple:
        several = isinstance(value, list | tuple)
        if several and args[-1] is not ...:
            return len(value) == len(args) and all(map(_fits, value, args))
        return several and all(_fits(each, args[0]) for each in value)
    if origin is dict:
        return isinstance(value, Mapping)
    kind = type(None) if annotation is None else annotation
    return isinstance(value, kind) if isinstance(kind, type) and origin is None else True


def _described(annotation: Any) -> str:
    """Return an annotated type in words."""
    if len(parts := _parts(annotation)) > 1:
        return " or ".join(map(_described, parts))
    if words := _words(annotation):
        return f"one of {', '.join(map(str, words))}"
    args = get_args(annotation)
    if get_origin(annotation) is tuple:
        count = "" if args[-1] is ... else f"{len(args)} "
        return f"a list of {count}{'integers' if args[0] is int else 'numbers'}"
    if get_origin(annotation) is dict:
        return "a table of settings"
    named = {int: "an integer", float: "a number", bool: "true or false", str: "a text", type(None): "None (null)"}
    return named.get(annotation) or f"a {getattr(annotation, '__name__', annotation)}"


def _shown(value: Any) -> str:
    """Return a value, shortened where it is long."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
