"""Entries of observations: how each is checked against its space.

| space | an observation must be |
| --- | --- |
| Dict | a dict with exactly the keys of the space |
| Tuple | a tuple, list or array of as many entries |
| Box of floats | numbers of exactly its shape |
| Box of integers | numbers of exactly its shape that its dtype holds: whole, and none that would wrap |
| Discrete | one whole number of its values |
| MultiDiscrete, MultiBinary | whole numbers of exactly its shape, each one of its values |
| Text | a string, of any length and any characters |

Numbers are arrays, or scalars and lists that numpy reads as such, and none of them masked; floats of another width are
rounded. That they are finite is checked for all lives at once by the stream.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.hashed_words import is_text
from lifelong.readable import masked_fault

__all__ = ["ContractError", "entry_check", "entry_name", "number", "refuse_outside", "shown"]

_ROUNDING = 1e-6  # by which a value may lie outside the bounds of its Box, relative to a bound above 1
_LONGEST = 120  # characters of a value in a message


class ContractError(RuntimeError):
    """An environment raised, or handed over what it must not.

    Args:
        entry: which part of it, such as `reward` or `observation 'image'`.
        fault: what is wrong with it, what is allowed, and what it is.
    """

    def __init__(self, entry: str, fault: str) -> None:
        super().__init__(f"{entry} {fault}")
        self.entry = entry


def entry_name(path: tuple[str | int, ...]) -> str:
    """Return the name of an entry of an observation."""
    return f"observation {'/'.join(map(str, path))!r}" if path else "observation"


def number(value: Any) -> float | None:
    """Return a number of Python or numpy, or an array without axes, as a float; None if it is none of them."""
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:  # of an integer
            return np.inf if value > 0 else -np.inf
    array = _read(value)
    return None if array is None or array.shape else float(array)


def shown(value: Any) -> str:
    """Return a value for a message, with its type, in one line."""
    kind = type(value).__name__
    if isinstance(value, np.ndarray | np.generic):
        kind = f"{kind} of {value.dtype}, shape {list(value.shape)}"
    elif isinstance(value, tuple | list):
        kind = f"{kind} of {len(value)}"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001  whatever foreign objects raise
        text = "what cannot be shown"
    return f"{text if len(text) <= _LONGEST else f'{text[:_LONGEST]} ...'} ({kind})"


def entry_check(space: spaces.Space[Any], path: tuple[str | int, ...] = ()) -> Callable[[Any], None]:
    """Return a function that checks an observation of a space, and raises `ContractError` if it is none.

    Args:
        space: of the observation; entries of spaces that no agent can read are not checked.
        path: where it is in the whole observation.
    """
    name = entry_name(path)
    if isinstance(space, spaces.Dict):
        return _dict_check([(key, entry_check(inner, (*path, key))) for key, inner in space.spaces.items()], name)
    if isinstance(space, spaces.Tuple):
        return _tuple_check([entry_check(inner, (*path, i)) for i, inner in enumerate(space.spaces)], name)
    if isinstance(space, spaces.Discrete):
        return _discrete_check(int(space.start), int(space.n), name)
    if isinstance(space, spaces.MultiDiscrete):
        return _choices_check(space.start, space.start + (space.nvec - 1), name)
    if isinstance(space, spaces.MultiBinary):
        return _choices_check(np.zeros(space.shape, space.dtype), np.ones(space.shape, space.dtype), name)
    if isinstance(space, spaces.Box):
        return _box_check(space, name)
    if is_text(space):
        return _text_check(name)
    return _unchecked


def refuse_outside(space: spaces.Space[Any], obs: Any, path: tuple[str | int, ...] = ()) -> None:
    """Check that the numbers of an observation are finite and lie within the bounds of their Boxes, but for rounding.

    Args:
        space: of the observation.
        obs: that `entry_check` has passed.
        path: where it is in the whole observation.

    Raises:
        ContractError: if some do not; names the first.
    """
    if isinstance(space, spaces.Dict):
        for key, inner in space.spaces.items():
            refuse_outside(inner, obs[key], (*path, key))
    elif isinstance(space, spaces.Tuple):
        for i, inner in enumerate(space.spaces):
            refuse_outside(inner, obs[i], (*path, i))
    elif isinstance(space, spaces.Box) and space.dtype != np.bool_:
        values, low, high = (np.asarray(part, np.float64) for part in (obs, space.low, space.high))
        slack = [_ROUNDING * np.maximum(1.0, np.abs(bound, where=np.isfinite(bound), out=np.zeros_like(bound)))
                 for bound in (low, high)]  # fmt: skip
        if not np.isfinite(values).all():
            raise ContractError(entry_name(path), f"must be finite: {values[~np.isfinite(values)].flat[0]}")
        outside = (values < low - slack[0]) | (values > high + slack[1])
        if outside.any():
            at = _first(outside)
            raise ContractError(
                entry_name(path),
                f"must lie within the bounds of its space, {low[at]:g} to {high[at]:g}{_place(at)}, got {values[at]:g}",
            )


def _read(value: Any) -> NDArray[Any] | None:
    """Return numbers as an array; None if they are none, or some of them are masked."""
    if masked_fault(value):
        return None
    try:
        array = np.asarray(value)
    except Exception:  # noqa: BLE001  whatever foreign objects raise, and lists of several lengths
        return None
    return array if array.dtype.kind in "biuf" else None


def _numbers(value: Any, shape: tuple[int, ...], name: str) -> NDArray[Any]:
    """Return numbers of a shape as an array."""
    if fault := masked_fault(value):
        raise ContractError(name, fault)
    array = _read(value)
    if array is None:
        raise ContractError(name, f"must be numbers of the shape {list(shape)}, got {shown(value)}")
    if array.shape != shape:
        raise ContractError(name, f"must have the shape {list(shape)}, got {list(array.shape)}: {shown(value)}")
    return array


def _refuse_wrapping(array: NDArray[Any], dtype: np.dtype[Any], name: str) -> None:
    """Refuse numbers that are not whole, or larger or smaller than an integer dtype holds."""
    if array.dtype.kind == "b":
        return
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    with np.errstate(invalid="ignore"):  # of infinities, which are refused
        fits = (array >= low) & (array <= high) & (array % 1 == 0)
    if not fits.all():
        at = _first(~fits)
        raise ContractError(
            name, f"must be whole numbers that {dtype} holds, got {array[at]} of {array.dtype}{_place(at)}"
        )


def _first(bad: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape)) if bad.shape else ()


def _place(at: tuple[int, ...]) -> str:
    return f" at {list(at)}" if at else ""


def _box_check(space: spaces.Box, name: str) -> Callable[[Any], None]:
    shape, dtype, array_type = space.shape, np.dtype(space.dtype), np.ndarray

    def check(value: Any) -> None:
        if type(value) is array_type and value.dtype is dtype and value.shape == shape:
            return
        array = _numbers(value, shape, name)
        if array.dtype != dtype and dtype.kind != "f":
            _refuse_wrapping(array, dtype, name)

    return check


def _discrete_check(first: int, n: int, name: str) -> Callable[[Any], None]:
    end, kinds = first + n, (int, np.int64)

    def check(value: Any) -> None:
        if type(value) in kinds and first <= value < end:
            return
        array = _numbers(value, (), name)
        if not first <= array < end or array % 1:
            raise ContractError(name, f"must be a whole number from {first} to {end - 1}, got {shown(value)}")

    return check


def _choices_check(first: NDArray[Any], last: NDArray[Any], name: str) -> Callable[[Any], None]:
    shape, dtype, array_type = last.shape, last.dtype, np.ndarray
    unsigned = dtype.kind == "u" and not first.any()

    def check(value: Any) -> None:
        fits = type(value) is array_type and value.dtype is dtype and value.shape == shape
        if fits and unsigned and 1 not in (value > last).tobytes():  # in half the time of any()
            return
        array = _numbers(value, shape, name)
        if array.dtype.kind == "f":
            _refuse_wrapping(array, dtype, name)
        outside = (array > last) | (array < first)
        if 1 in outside.tobytes():
            at = _first(outside)
            raise ContractError(name, f"must be {first[at]} to {last[at]}{_place(at)}, got {array[at]}")

    return check


def _text_check(name: str) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if not isinstance(value, str):
            raise ContractError(name, f"must be a string, got {shown(value)}")

    return check


def _dict_check(inner: list[tuple[Any, Callable[[Any], None]]], name: str) -> Callable[[Any], None]:
    keys = dict(inner).keys()
    checked = [(key, check_inner) for key, check_inner in inner if check_inner is not _unchecked]

    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise ContractError(name, f"must be a dict with the keys {list(keys)}, got {shown(value)}")
        if value.keys() != keys:
            raise ContractError(name, f"must have the keys {list(keys)}, got {list(value)}")
        for key, check_inner in checked:
            check_inner(value[key])

    return check


def _tuple_check(inner: list[Callable[[Any], None]], name: str) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        several = isinstance(value, tuple | list) or (isinstance(value, np.ndarray) and value.ndim > 0)
        if not several or len(value) != len(inner):
            raise ContractError(name, f"must be a tuple of {len(inner)} entries, got {shown(value)}")
        for part, check_inner in zip(value, inner, strict=True):
            check_inner(part)

    return check


def _unchecked(value: Any) -> None:
    pass
