"""Values from outside, validated by the annotations of what they are for: the fields of dataclasses, and parameters.

    steps: Annotated[int | None, Within(1)] = None

One validator for the command line, Python, JSON, TOML, YAML and what a checkpoint holds. `check` validates a dataclass
that was made, `read_fields` reads one from a table of a file, where a list is a tuple, a whole number may be 1e6, and
an unknown entry is answered with the nearest.
"""

import inspect
import math
import numbers
import types
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from lifelong.registry import closest, unknown

__all__ = [
    "Place",
    "SchemaError",
    "Within",
    "annotations_of",
    "check",
    "described",
    "fits",
    "read_fields",
    "read_value",
    "shown",
]

Place = tuple[str | int, ...]
"""Path of an entry in a file: keys, and indices in lists."""

_LONGEST = 60  # characters of a value in a message
_MOST_BITS = 63  # of an integer, which numpy and torch hold


class SchemaError(ValueError):
    """A value does not fit its annotation.

    Args:
        message: which, what is allowed, and what it is.
        place: of the value in the table.
    """

    def __init__(self, message: str, place: Place = ()) -> None:
        super().__init__(message)
        self.place = place


@dataclass(frozen=True, slots=True)
class Within:
    """Range of a number; stands in its `Annotated`.

    Args:
        least: smallest value; of floats, with `most`, one end of the interval that a message names.
        most: largest value.
        above: bound that is not a value itself.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None

    def fault(self, value: float) -> str:
        """Return what a number must do, if it does not; else nothing."""
        low = self.least is not None and not value >= self.least  # as NaN is
        low = low or (self.above is not None and not value > self.above)
        if not low and (self.most is None or value <= self.most):
            return ""
        if self.above is not None and self.most is not None:
            return f"lie above {self.above:g} and be at most {self.most:g}"
        if isinstance(self.least, float) and self.most is not None:
            return f"lie in [{self.least:g}, {self.most:g}]"
        if self.least == 0 and self.most is not None:
            return f"be 0 to {self.most}"
        if not low:
            return f"be at most {self.most:,}"
        if self.above == 0 or self.least == 1:
            return "be positive"
        return "not be negative" if self.least == 0 else f"be at least {self.least:g}"


class _MisfitError(Exception):
    """A value has another type."""


class _OutsideError(Exception):
    """A value has the type, and is out of range; says what it must do."""


def fits(value: Any, annotation: Any) -> bool:
    """Return whether a value has an annotated type, whatever its range; true where that cannot be said."""
    try:
        _read(value, annotation, of_file=False)
    except (_MisfitError, SchemaError):
        return False
    except _OutsideError:
        return True
    return True


def annotations_of(factory: Any) -> dict[str, Any]:
    """Return the annotation of each parameter of a class or function; none where they cannot be resolved."""
    called = factory.__init__ if inspect.isclass(factory) else factory
    try:
        return get_type_hints(called)
    except (NameError, TypeError, AttributeError):  # names that only a type checker imports
        return {}


def check(settings: Any) -> None:
    """Validate the fields of a dataclass by their annotations.

    Raises:
        SchemaError: if one has another type, or is out of range.
    """
    kind: Any = type(settings)
    for name, annotation in _annotations(kind).items():
        _named(name, getattr(settings, name), annotation, of_file=False)


def read_value(name: str, value: Any, annotation: Any) -> Any:
    """Return a value of a file as an annotation has it.

    Args:
        name: of the entry, for the error.
        value: as JSON, TOML or YAML have it.
        annotation: of a field.

    Raises:
        SchemaError: if it has another type, or is out of range.
    """
    return _named(name, value, annotation, of_file=True)


def read_fields(
    kind: Any, table: Any, *, names: Collection[str] | None = None, what: str = "entry", needed: bool = True
) -> dict[str, Any]:
    """Return the entries of a table of a file as the fields of a dataclass, or the keys of a `TypedDict`, have them.

    Args:
        kind: dataclass or TypedDict.
        table: as JSON, TOML or YAML have it.
        names: of the fields that a file may give; None is all.
        what: an entry is, for errors.
        needed: whether those without a default must be there.

    Raises:
        SchemaError: if it is no table, an entry is unknown, missing, of another type or out of range.
    """
    if not isinstance(table, Mapping):
        raise SchemaError(f"must be a table of names and values, got {shown(table)}")
    annotations = _annotations(kind)
    allowed = [name for name in annotations if names is None or name in names]
    for name in table:
        if name not in allowed:
            raise SchemaError(f"no {what} {shown(name)}{unknown(str(name), allowed)}", (name,))
    required = _needed(kind) if needed else ()
    if missing := [name for name in allowed if name in required and name not in table]:
        raise SchemaError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
    return {name: _named(name, value, annotations[name], of_file=True) for name, value in table.items()}


def described(annotation: Any, *, of_file: bool = False) -> str:
    """Return an annotated type in words, as a program or a file has it, where None is left out."""
    bare, _ = _bare(annotation)
    if len(parts := _parts(bare)) > 1:
        return " or ".join(dict.fromkeys(described(part) for part in parts if not (of_file and part is types.NoneType)))
    if words := _words(bare):
        return f"one of {', '.join(map(str, words))}"
    origin, args = get_origin(bare), get_args(bare)
    if origin in (tuple, list, Sequence):
        count = "" if origin is not tuple or args[-1] is ... else f"{len(args)} "
        kinds = {int: "integers", float: "numbers", str: "texts", dict: "tables"}
        inner = _bare(args[0])[0]
        return f"a list of {count}{kinds.get(inner, 'numbers')}" if inner in kinds else "a list"
    if origin in (dict, Mapping) or bare is dict or is_dataclass(bare) or is_typeddict(bare):
        return "a table of settings"
    named = {int: "an integer", float: "a number", bool: "true or false", str: "a text", types.NoneType: "None (null)",
             Path: "a path", list: "a list"}  # fmt: skip
    return named.get(bare) or f"a {getattr(bare, '__name__', bare)}"


def shown(value: Any) -> str:
    """Return a value for a message, in one line, shortened where it is long."""
    if isinstance(value, int) and value.bit_length() > 10_000:  # repr would refuse it
        return f"an integer of {value.bit_length()} bits"
    try:
        text = " ".join(repr(value).split())
    except (RecursionError, ValueError):  # nested too deeply; an integer of too many digits inside
        text = f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _named(name: str, value: Any, annotation: Any, *, of_file: bool) -> Any:
    try:
        return _read(value, annotation, of_file=of_file)
    except _MisfitError:
        words = [str(word) for part in _parts(_bare(annotation)[0]) for word in _words(_bare(part)[0])]
        near = closest(value, words) if isinstance(value, str) else None
        hint = f"; did you mean {near!r}?" if near else ""
        raise SchemaError(
            f"{name} must be {described(annotation, of_file=of_file)}, got {shown(value)}{hint}", (name,)
        ) from None
    except _OutsideError as fault:
        raise SchemaError(f"{name} must {fault}: {name}={shown(value)}", (name,)) from None
    except SchemaError as error:
        of_item = len(error.place) == 1 and isinstance(error.place[0], int)
        raise SchemaError(f"{name}: {error}" if of_item else str(error), (name, *error.place)) from None


def _read(value: Any, annotation: Any, *, of_file: bool) -> Any:
    bare, limits = _bare(annotation)
    found = _of_parts(value, _parts(bare), of_file=of_file)
    for limit in limits if isinstance(found, numbers.Real) else ():
        if fault := limit.fault(int(found) if isinstance(found, numbers.Integral) else float(found)):
            raise _OutsideError(fault)
    if isinstance(found, int) and found.bit_length() > _MOST_BITS:
        raise _OutsideError(f"have at most {_MOST_BITS} bits")
    if isinstance(found, float) and not math.isfinite(found):
        raise _OutsideError("be finite")
    return found


def _of_parts(value: Any, parts: tuple[Any, ...], *, of_file: bool) -> Any:
    """Return a value as the first part of a union has it that it fits."""
    if len(parts) == 1:
        return _of_type(value, parts[0], of_file=of_file)
    outside: Exception | None = None
    for part in parts:
        try:
            return _read(value, part, of_file=of_file)
        except _MisfitError:
            continue
        except (_OutsideError, SchemaError) as error:
            outside = outside or error
    raise outside or _MisfitError


def _of_type(value: Any, kind: Any, *, of_file: bool) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if kind in (Any, object):
        return value
    if origin is Literal:
        return _fitting(value, any(type(value) is type(word) and value == word for word in args))
    if kind is int:
        if of_file and isinstance(value, float) and value.is_integer():
            return int(value)
        return _fitting(value, isinstance(value, numbers.Integral) and not isinstance(value, bool))
    if kind is float:
        _fitting(value, isinstance(value, numbers.Real) and not isinstance(value, bool))
        return _as_float(value) if isinstance(value, int) else value
    if kind is str:
        return _text(value)
    if kind is Path:
        return Path(_text(value)) if of_file else _fitting(value, isinstance(value, Path))
    if origin in (tuple, list):
        return _several(value, args, tuple if origin is tuple else list, of_file=of_file)
    if origin is Sequence:
        return _fitting(value, isinstance(value, Sequence))
    if origin in (dict, Mapping) or kind is dict:
        _fitting(value, isinstance(value, Mapping) and all(isinstance(key, str) for key in value))
        inner = args[1] if args else Any
        return {_text(key): _read(one, inner, of_file=of_file) for key, one in value.items()} if of_file else value
    if is_typeddict(kind) or (isinstance(kind, type) and is_dataclass(kind) and not isinstance(value, kind)):
        _fitting(value, of_file and isinstance(value, Mapping))
        found = read_fields(kind, value)
        return found if is_typeddict(kind) else kind(**found)
    plain = types.NoneType if kind is None else kind
    told = isinstance(plain, type) and origin is None and not getattr(plain, "_is_protocol", False)
    return _fitting(value, isinstance(value, plain)) if told else value


def _several(value: Any, args: tuple[Any, ...], made: type, *, of_file: bool) -> Any:
    """Return the items of a list, or of a tuple of one kind or of given ones."""
    _fitting(value, isinstance(value, list | tuple))
    kinds = [args[0]] * len(value) if made is list or args[-1] is ... else args
    _fitting(value, len(kinds) == len(value))
    found = []
    for number, (one, kind) in enumerate(zip(value, kinds, strict=True)):
        try:
            found.append(_read(one, kind, of_file=of_file))
        except SchemaError as error:
            raise SchemaError(str(error), (number, *error.place)) from None
        except _MisfitError:
            raise SchemaError(f"each must be {described(kind)}, got {shown(one)}", (number,)) from None
    return made(found)


def _fitting(value: Any, fit: bool) -> Any:
    if not fit:
        raise _MisfitError
    return value


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise _OutsideError("be finite") from None


def _text(value: Any) -> str:
    """Return a text that files and terminals take."""
    text: str = _fitting(value, isinstance(value, str))
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _OutsideError("be text that UTF-8 can hold") from None
    if "\0" in text:
        raise _OutsideError("hold no NUL character")
    return text


@cache
def _annotations(kind: Any) -> dict[str, Any]:
    """Return the annotations of a dataclass's fields that its constructor takes, or of a TypedDict's keys."""
    hints = get_type_hints(kind, include_extras=True)
    names = hints if is_typeddict(kind) else [field.name for field in fields(kind) if field.init]
    return {name: hints[name] for name in names}


@cache
def _needed(kind: Any) -> frozenset[str]:
    """Return the names of what has no default."""
    if is_typeddict(kind):
        return frozenset(kind.__required_keys__)
    open_ = (one for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING)
    return frozenset(one.name for one in open_)


def _bare(annotation: Any) -> tuple[Any, tuple[Within, ...]]:
    """Return an annotation without what stands beside it in its `Annotated`, and the ranges among that."""
    limits: tuple[Within, ...] = ()
    while get_origin(annotation) in (Annotated, Required, NotRequired):
        limits += tuple(one for one in getattr(annotation, "__metadata__", ()) if isinstance(one, Within))
        annotation = get_args(annotation)[0]
    return annotation, limits


def _parts(bare: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the annotation itself."""
    return get_args(bare) if get_origin(bare) in (Union, types.UnionType) else (bare,)


def _words(bare: Any) -> tuple[Any, ...]:
    """Return the values of a Literal; empty for any other annotation."""
    return get_args(bare) if get_origin(bare) is Literal else ()
