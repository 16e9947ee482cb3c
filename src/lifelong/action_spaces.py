"""Action spaces: which are supported, actions as rows of numbers, and what an agent observes of its last action.

A *row* is an action in which everything that is chosen counts from 0. That of a Discrete, MultiDiscrete, MultiBinary or
Box is an array of the space's shape; that of a Dict or Tuple, [N], has all numbers of its entries side by side, in the
order of the space.

| actions | `previous_action` of an observation | before the first action of a life |
| --- | --- | --- |
| Discrete of n | Discrete of n + 1 | n |
| MultiDiscrete of n_i | MultiDiscrete of n_i + 1 | n_i |
| MultiBinary | MultiDiscrete of 3 | 2 |
| Box | itself | what is nearest to 0 |
| Dict, Tuple | a Dict of the above; the entries of a Tuple are named 0, 1, ... | of each entry |

An action mask says which choices are legal, all choices side by side: of a Discrete of n [n], of a MultiDiscrete
[sum n_i], of a MultiBinary of N numbers [2 N] (0 and 1 of each), of a Dict or Tuple those of its entries. It may also
be a dict or tuple of the entries' masks, or a tuple with a mask for each number of a MultiDiscrete; None: all are
legal. A Box has no choices, and needs no entry in a dict.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.readable import MOST, brief, masked_fault, same_names

__all__ = [
    "Masks",
    "as_actions",
    "as_rows",
    "batch_of",
    "can_be_previous",
    "choice_sizes",
    "from_zero",
    "is_nested",
    "no_action",
    "of_slot",
    "previous_action_space",
    "previous_entry",
    "row_like",
    "spread_rows",
    "validate_space",
]

AnySpace = spaces.Space[Any]

_SUPPORTED = "Discrete, MultiDiscrete, MultiBinary, Box, and Dict or Tuple of these"


def validate_space(space: AnySpace, name: str) -> None:
    """Validate that an agent can act in a space.

    Args:
        space: of one environment's actions.
        name: of the environment, for the message.

    Raises:
        ValueError: if there is no policy over it; names the environment, the entry and what is supported.
    """
    for entry, leaf in _leaves(space):
        where = f" of entry {entry!r}" if entry else ""
        if not isinstance(leaf, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary | spaces.Box):
            raise ValueError(
                f"{name}: actions {brief(leaf, 60)}{where} are not supported; supported are {_SUPPORTED}: "
                "wrap the environment in gymnasium.wrappers.TransformAction, which makes its actions from one"
            )
        if (
            isinstance(leaf, spaces.Discrete | spaces.MultiDiscrete)
            and (most := int(_choices(leaf).max(initial=0))) >= MOST
        ):
            raise ValueError(
                f"{name}: actions {brief(leaf, 60)}{where} have {most:,} choices, and at most {MOST - 1:,} are "
                "supported; take a number as a Box, or a code as its digits in a MultiDiscrete"
            )
        if leaf.dtype == np.longdouble:  # of 16 bytes, which neither torch nor compiled loops have
            raise ValueError(
                f"{name}: actions {brief(leaf, 60)}{where} are of {leaf.dtype}; float64 is the longest supported"
            )
        if not _size(leaf):
            raise ValueError(f"{name}: actions {leaf}{where} hold no number; an action needs at least one")
    if not list(_leaves(space)):
        raise ValueError(f"{name}: actions {space} have no entries; an action needs at least one number")


def is_nested(space: AnySpace) -> bool:
    """Return whether actions are dicts or tuples."""
    return isinstance(space, spaces.Dict | spaces.Tuple)


def from_zero(space: AnySpace) -> AnySpace:
    """Return the space in which everything that is chosen counts from 0."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: from_zero(inner) for key, inner in _entries(space).items()})
    if isinstance(space, spaces.Tuple):
        return spaces.Tuple([from_zero(inner) for inner in space.spaces])
    if isinstance(space, spaces.Discrete):
        return space if space.start == 0 and space.dtype == np.int64 else spaces.Discrete(int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        return spaces.MultiDiscrete(space.nvec, space.dtype) if np.any(space.start) else space
    return space


def previous_action_space(space: AnySpace) -> AnySpace:
    """Return the space of `previous_action`; see the table."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return spaces.Dict({key: previous_action_space(inner) for key, inner in _entries(space).items()})
    if isinstance(space, spaces.Discrete):
        return spaces.Discrete(int(space.n) + 1)
    if isinstance(space, spaces.MultiDiscrete):
        return spaces.MultiDiscrete(space.nvec.astype(np.int64) + 1)
    if isinstance(space, spaces.MultiBinary):
        return spaces.MultiDiscrete(np.full(space.shape, 3))
    return space


def no_action(space: AnySpace) -> NDArray[Any]:
    """Return the row that stands for "none yet"; see the table."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return np.concatenate([np.reshape(no_action(inner), -1).astype(np.float64) for _, inner in _leaves(space)])
    if isinstance(space, spaces.Discrete):
        return np.array(space.n, np.int64)
    if isinstance(space, spaces.MultiDiscrete):
        return np.array(space.nvec, np.int64)
    if isinstance(space, spaces.MultiBinary):
        return np.full(space.shape, 2, np.int64)
    if isinstance(space, spaces.Box):
        return np.asarray(np.clip(0, space.low, space.high), np.float32 if space.dtype == np.float16 else space.dtype)
    raise ValueError(f"action space must be {_SUPPORTED}, got {space}")


def row_like(space: AnySpace, *batch: int) -> NDArray[Any]:
    """Return zeros for rows, [*batch, ...]."""
    row = no_action(space)
    return np.zeros((*batch, *row.shape), row.dtype)


def as_rows(space: AnySpace, actions: Any, batch: int) -> NDArray[Any]:
    """Return the rows of a batch of actions, validated.

    Args:
        space: of one action.
        actions: [B, ...], nested as the space is.
        batch: B.

    Raises:
        ValueError: if an action is not of the space; names the entry, what was given and what is allowed.
    """
    if not is_nested(space):
        return _validated(space, actions, batch, "")
    return _side_by_side(space, actions, batch, "")


def as_actions(space: AnySpace, rows: NDArray[Any]) -> Any:
    """Return the actions of rows as the environment takes them: new arrays, nested as the space, counted as it counts.

    Args:
        space: of one action.
        rows: [..., *row], of one action or of a batch.
    """
    if not is_nested(space):
        start = getattr(space, "start", None)
        own = np.asarray((rows if start is None or not np.any(start) else rows + start).astype(space.dtype))
        return own[()] if isinstance(space, spaces.Discrete) else own  # one choice is a number, not an array
    parts = tuple(as_actions(inner, part) for _, inner, part in _parts(space, rows))
    return dict(zip(space.spaces, parts, strict=True)) if isinstance(space, spaces.Dict) else parts


def batch_of(action: Any, batch: int) -> Any:
    """Return a batch of equal actions, nested as the action is.

    Args:
        action: of one life.
        batch: B.
    """
    if isinstance(action, Mapping):
        return {key: batch_of(part, batch) for key, part in action.items()}
    if isinstance(action, tuple):
        return tuple(batch_of(part, batch) for part in action)
    return np.repeat(np.asarray(action)[None], batch, 0)


def previous_entry(space: AnySpace, rows: NDArray[Any]) -> Any:
    """Return the entry `previous_action` of observations: new arrays.

    Args:
        space: of one action.
        rows: [B, ...].
    """
    if isinstance(space, spaces.Discrete):
        return rows.astype(np.int64)
    if is_nested(space):
        return {key: previous_entry(inner, part) for key, inner, part in _parts(space, rows)}
    return rows.astype(space.dtype if isinstance(space, spaces.Box) else np.int64)


def can_be_previous(space: AnySpace, rows: NDArray[Any]) -> bool:
    """Return whether rows can be those of previous actions: choices in range or "none yet", other numbers finite.

    Args:
        space: of one action.
        rows: [B, ...].
    """
    return _holds(previous_action_space(space), previous_entry(space, rows))


def choice_sizes(space: AnySpace) -> NDArray[np.int64]:
    """Return [K] how many values each number takes that is chosen; none of a Box."""
    return np.concatenate([np.zeros(0, np.int64), *(_choices(leaf) for _, leaf in _leaves(space))])


class Masks:
    """Read action masks of a space as [n] bool, validated; `size` is n.

    Args:
        space: of one action.
    """

    def __init__(self, space: AnySpace) -> None:
        self.space = space
        sizes = choice_sizes(space)
        self.size, self._first = int(sizes.sum()), np.cumsum(sizes) - sizes

    def read(self, mask: Any) -> NDArray[np.bool_]:
        """Return a mask side by side.

        Args:
            mask: [n] of 0 and 1, or nested; see the head of this file.

        Raises:
            ValueError: if it has another size, holds other numbers, or leaves nothing to choose.
        """
        if fault := masked_fault(mask):
            raise ValueError(f"action_mask {fault}")
        array = np.asarray(_joined(self.space, mask) if isinstance(mask, Mapping | tuple) else mask)
        (legal,) = self.read_batch(array[None], 1)
        return np.asarray(legal, np.bool_)

    def read_batch(self, masks: Any, batch: int) -> NDArray[np.bool_]:
        """Return the masks of a batch side by side, [B, n].

        Args:
            masks: [B, n] of 0 and 1, or a dict or tuple of the entries' as a vector environment batches them.
            batch: B.

        Raises:
            ValueError: as `read`.
        """
        if isinstance(masks, Mapping | tuple):
            masks = np.stack([_joined(self.space, of_slot(masks, slot)) for slot in range(batch)])
        if fault := masked_fault(masks):
            raise ValueError(f"action_mask {fault}")
        masks = np.asarray(masks)
        if masks.size != batch * self.size or masks.dtype.kind not in "biuf":
            raise ValueError(
                f"action_mask must have {self.size} numbers, 1 where an action of {brief(self.space)} is legal and 0 "
                f"where not, got {list(masks.shape[1:])} {masks.dtype}"
            )
        given = masks.reshape(batch, self.size)
        legal: NDArray[np.bool_] = given != 0
        if masks.dtype != np.bool_ and np.count_nonzero(legal != given):
            raise ValueError(f"action_mask must hold 0 (illegal) and 1 (legal), got {given.tolist()}")
        some = np.logical_or.reduceat(legal, self._first, 1)
        if not some.all():
            nothing = given[int(np.argmin(some.all(1)))]
            raise ValueError(f"action_mask must leave something to choose, but all is illegal: {nothing.tolist()}")
        return legal


def spread_rows(space: AnySpace, u: NDArray[np.float64]) -> NDArray[Any]:
    """Return the rows of numbers in [0, 1): choices and integers evenly, bounded floats evenly between their bounds.

    Floats with an infinite bound are spread over [-1, 1], clipped to the other.

    Args:
        space: of one action.
        u: [..., N], a number for each of an action's.
    """
    row, at, parts = no_action(space), 0, []
    for _, leaf in _leaves(space):
        part, at = u[..., at : at + _size(leaf)], at + _size(leaf)
        if isinstance(leaf, spaces.Box):
            low, high = (edge.reshape(-1).astype(np.float64) for edge in (leaf.low, leaf.high))
            if leaf.dtype.kind != "f":
                parts.append(np.minimum(low + np.floor(part * (high - low + 1)), high))
                continue
            bounded = np.isfinite(low) & np.isfinite(high)
            inside = np.where(bounded, low, -1) + part * (np.where(bounded, high, 1) - np.where(bounded, low, -1))
            parts.append(np.clip(inside, low, high).astype(leaf.dtype))
        else:
            parts.append(np.floor(part * _choices(leaf)))
    return np.concatenate(parts, -1).reshape(*u.shape[:-1], *row.shape).astype(row.dtype)


def of_slot(masks: Any, slot: int) -> Any:
    """Return the mask of one slot.

    Args:
        masks: [B, ...] or nested; entries `_key` beside `key`, by which a vector environment says who told one, are
            left out.
        slot: which.
    """
    if isinstance(masks, Mapping):
        flags = {f"_{key}" for key in masks}
        return {key: of_slot(part, slot) for key, part in masks.items() if key not in flags}
    return tuple(of_slot(part, slot) for part in masks) if isinstance(masks, tuple) else masks[slot]


def _joined(space: AnySpace, mask: Any) -> NDArray[Any]:
    """Return a nested mask side by side."""
    if mask is None:
        return np.ones(Masks(space).size, np.bool_)
    if isinstance(space, spaces.Dict | spaces.Tuple):
        entries = _entries(space)
        given = {key: None for key, inner in entries.items() if not choice_sizes(inner).size} | _by_name(mask)
        if given.keys() != entries.keys():
            raise ValueError(f"action_mask must have the entries {list(entries)}, got {list(given)}")
        return np.concatenate([_joined(inner, given[key]) for key, inner in entries.items()])
    if isinstance(mask, Mapping):  # a tuple, as a stream or a TensorDict holds it
        names = [str(key) for key in mask]
        if names != [str(number) for number in range(len(names))]:
            raise ValueError(
                f"action_mask must be numbers, side by side, for actions {brief(space)}, got a dict of {names}"
            )
        mask = tuple(mask.values())
    if isinstance(mask, tuple):
        return np.concatenate([_joined(space, part) for part in mask])
    if fault := masked_fault(mask):
        raise ValueError(f"action_mask {fault}")
    return np.reshape(mask, -1)


def _choices(leaf: Any) -> NDArray[np.int64]:
    if isinstance(leaf, spaces.Discrete):
        return np.array([leaf.n], np.int64)
    if isinstance(leaf, spaces.MultiDiscrete):
        return leaf.nvec.reshape(-1).astype(np.int64)
    return np.full(_size(leaf) if isinstance(leaf, spaces.MultiBinary) else 0, 2, np.int64)


def _validated(leaf: AnySpace, given: Any, batch: int, where: str) -> NDArray[Any]:
    """Return a batch of actions of a leaf, if they are."""
    if fault := masked_fault(given):
        raise ValueError(f"actions{where} {fault}")
    actions = np.asarray(given)
    shape = (batch, *(leaf.shape or ()))
    if actions.shape != shape:
        raise ValueError(f"actions{where} must be {list(shape)}, got {list(actions.shape)}")
    binary = isinstance(leaf, spaces.MultiBinary) or leaf.dtype == np.bool_
    whole = actions.dtype.kind in "iu" or (actions.dtype.kind == "b" and binary)
    if isinstance(leaf, spaces.Discrete):
        if not whole:
            raise ValueError(f"actions{where} must be integers, got {actions.dtype}")
        if np.count_nonzero(actions.astype(np.uint64) >= np.uint64(leaf.n)):  # negative ones are large; beats any()
            raise ValueError(f"actions{where} must be 0 to {leaf.n - 1}, got {actions.min()} to {actions.max()}")
    elif isinstance(leaf, spaces.Box) and leaf.dtype.kind == "f":
        if not np.isfinite(actions).all():
            raise ValueError(f"actions{where} must be finite, got {actions[~np.isfinite(actions)][0]}")
    else:
        if not whole:
            raise ValueError(
                f"actions{where} must be integers in {brief(leaf)}, got {actions.dtype} {actions.tolist()}"
            )
        low, high = (leaf.low, leaf.high) if isinstance(leaf, spaces.Box) else (0, getattr(leaf, "nvec", 2) - 1)
        if ((actions < low) | (actions > high)).any():
            raise ValueError(f"actions{where} must be {low} to {high}, got {actions.tolist()}")
    return actions


def _holds(space: AnySpace, entry: Any) -> bool:
    """Return whether a batch of entries is of a space, but for the bounds of floats, which streams do not enforce."""
    if isinstance(space, spaces.Dict):
        return all(_holds(inner, entry[key]) for key, inner in space.spaces.items())
    if isinstance(space, spaces.Box) and space.dtype.kind == "f":
        return bool(np.isfinite(entry).all())
    low, high = (space.low, space.high) if isinstance(space, spaces.Box) else (0, choice_sizes(space) - 1)
    return bool(((entry >= low) & (entry <= high.reshape(space.shape or ()))).all())


def _leaves(space: AnySpace, path: str = "") -> Iterator[tuple[str, AnySpace]]:
    """Yield what is no Dict or Tuple, with the name of its entry; a space without entries has none."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        for key, inner in _entries(space).items():
            yield from _leaves(inner, _joint(path, key))
    else:
        yield path, space


def _entries(space: Any) -> dict[str, AnySpace]:
    if isinstance(space, spaces.Dict):
        entries = {str(key): inner for key, inner in space.spaces.items()}
        if len(entries) < len(space.spaces):
            raise ValueError(f"actions {space}: {same_names(space)}")
        return entries
    return {str(number): inner for number, inner in enumerate(space.spaces)}


def _by_name(parts: Any) -> dict[str, Any]:
    """Return the parts of a dict or a sequence by the names of `_entries`."""
    return {str(key): part for key, part in (parts.items() if isinstance(parts, Mapping) else enumerate(parts))}


def _side_by_side(space: AnySpace, actions: Any, batch: int, entry: str) -> NDArray[np.float64]:
    """Return a batch of actions as rows [B, N], validated."""
    if not is_nested(space):
        where = f" of entry {entry!r}"
        return _validated(space, actions, batch, where).reshape(batch, -1).astype(np.float64)
    entries = _entries(space)
    given = _by_name(actions)
    if given.keys() != entries.keys():
        raise ValueError(f"actions must have the entries {list(entries)} of {brief(space)}, got {list(given)}")
    parts = [_side_by_side(inner, given[key], batch, _joint(entry, key)) for key, inner in entries.items()]
    return np.concatenate(parts, 1)


def _parts(space: AnySpace, rows: NDArray[Any]) -> Iterator[tuple[str, AnySpace, NDArray[Any]]]:
    """Yield the entries of a Dict or Tuple, with their spaces and their rows."""
    at = 0
    for key, inner in _entries(space).items():
        numbers, at = rows[..., at : at + _size(inner)], at + _size(inner)
        yield key, inner, numbers if is_nested(inner) else numbers.reshape((*rows.shape[:-1], *(inner.shape or ())))


def _size(space: AnySpace) -> int:
    """Return how many numbers an action has."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return sum(_size(inner) for inner in _entries(space).values())
    return int(np.prod(space.shape or (), dtype=np.int64))


def _joint(entry: str, key: str) -> str:
    return f"{entry}/{key}" if entry else key
