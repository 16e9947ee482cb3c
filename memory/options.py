"""Validate the options of a memory against the annotations of its constructor, before anything is made.

Types are checked for every memory, plug-ins too, where the annotation is one of those below. Integers are sizes in all
memories of this package: positive, and at most `MOST`. What else a range must be, the constructor says.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from lifelong.schema import annotations_of, described, fits, shown

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
    allowed = annotations_of(factory)
    for option, value in options.items():
        annotation = allowed.get(option, Any)
        where = f"memory {name!r}: {option} must be"
        if not fits(value, annotation):
            wrong = ValueError if get_origin(annotation) is Literal else TypeError
            raise wrong(f"{where} {described(annotation)}, got {shown(value)}")
        for number in value if isinstance(value, list | tuple) else (value,):
            if isinstance(number, int | float) and not abs(number) <= LARGEST:
                raise ValueError(f"{where} finite in float32: {option}={shown(value)}")
        if sizes and type(value) is int and int in (annotation, *get_args(annotation)):
            if value < 1:
                raise ValueError(f"{where} positive: {option}={value}")
            most = LOOPS.get(option, MOST)
            if value > most:
                raise ValueError(f"{where} at most {most:,}: {option}={value}")
