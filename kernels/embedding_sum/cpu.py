r"""Embedding sum as a compiled loop; arguments as in `reference.py`.

Most values are 0 (a cell that is empty, an object without a state). With base = sum_p table[begin_p]:

    y = base + sum_{p: value_p > 0} (table[begin_p + value_p] - table[begin_p])

so only non-zero values cost time. Backward, the first row of a place gets the sum of gradients minus its other rows'.
Columns are cut into spans for the threads, so that no two write to one number.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once
from lifelong.kernels.jit import Array, Arrays, jit, spread

__all__ = ["bind", "embedding_sum"]

BLOCK = 32  # columns that are cut off together


def embedding_sum(values: Tensor, table: Tensor, begin: Tensor) -> Tensor:
    """Compute `reference.embedding_sum` in one compiled pass; differentiable once."""
    if table.requires_grad and torch.is_grad_enabled():
        made: Tensor = _Lookup.apply(values, table, begin)  # type: ignore[no-untyped-call]
        return made
    return _run(values, table, begin)


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        ctx.save_for_backward(*inputs)
        return _run(*inputs)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        values, table, begin = ctx.saved_tensors
        dtable = torch.zeros_like(table)
        _cut(_backward, values, begin, dy.contiguous().view(-1, dy.shape[-1]), dtable)
        return None, dtable, None


def _run(values: Tensor, table: Tensor, begin: Tensor) -> Tensor:
    y = table.new_empty(*values.shape[:-1], table.shape[1])
    bind(values.long().contiguous(), table.detach().contiguous(), begin, y)()
    return y


def bind(values: Tensor, table: Tensor, begin: Tensor, y: Tensor) -> Callable[[], None]:
    """Return a call that writes `reference.embedding_sum` of contiguous tensors, as they then are, into y.

    The call raises an `IndexError` if a value is outside the table.

    Args:
        values: [..., P] int64.
        table: [R, D].
        begin: [P] first row of each place.
        y: [..., D]; written over.
    """
    outside = torch.full((1,), -1)
    found, others = outside.numpy(), (table.detach(), y.view(-1, y.shape[-1]), outside)

    def run() -> None:
        _cut(_forward, values, begin, *others)
        if found[0] >= 0:
            place, at = int(found[0]) % len(begin), int(found[0])
            found[0] = -1
            count = int(begin[place + 1] if place + 1 < len(begin) else len(table)) - int(begin[place])
            value = int(values.reshape(-1)[at])
            raise IndexError(f"values of place {place} must be 0 to {count - 1}, got {value}")

    return run


def _cut(span: Any, values: Tensor, begin: Tensor, *others: Tensor) -> None:
    """Run a loop over blocks of columns."""
    index = values.long().contiguous().view(-1, values.shape[-1]).numpy()
    arrays = (index, begin.numpy(), *(x.numpy() for x in others))
    spread(span, -(-others[0].shape[-1] // BLOCK), index.size * BLOCK, arrays)


# Columns are counted by unsigned numbers: numba reads a signed one that may be negative from the end.


@jit
def _forward(first: int, last: int, arrays: Arrays) -> None:
    """Run the blocks of columns from `first` to before `last`; `outside` gets the place of a value without a row."""
    values, begin, table, y, outside = arrays
    low, high = np.uint64(first * BLOCK), np.uint64(min(last * BLOCK, y.shape[1]))
    base = np.zeros(y.shape[1], table.dtype)
    for p in range(begin.size):
        _add(base, table, begin[p], low, high)
    for n in range(values.shape[0]):
        for i in range(low, high):
            y[n, i] = base[i]
        for p in range(begin.size):
            value = values[n, p]
            if value:
                end = begin[p + 1] if p + 1 < begin.size else table.shape[0]
                if value < 0 or begin[p] + value >= end:
                    outside[0] = n * begin.size + p
                    return
                _replace(y, n, table, begin[p] + value, begin[p], low, high)


@jit
def _add(to: Array, source: Array, row: int, low: Any, high: Any) -> None:
    """Add a row."""
    for i in range(low, high):
        to[i] += source[row, i]


@jit
def _replace(y: Array, n: int, table: Array, there: int, instead: int, low: Any, high: Any) -> None:
    """Add one row of the table to y, and take another away."""
    for i in range(low, high):
        y[n, i] += table[there, i] - table[instead, i]


@jit
def _backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the blocks of columns from `first` to before `last`; `dtable` comes as zeros."""
    values, begin, dy, dtable = arrays
    low, high = np.uint64(first * BLOCK), np.uint64(min(last * BLOCK, dy.shape[1]))
    total = np.zeros(dy.shape[1], dy.dtype)
    for n in range(values.shape[0]):
        _add(total, dy, n, low, high)
        for p in range(begin.size):
            if values[n, p]:
                _add_to(dtable, begin[p] + values[n, p], dy, n, low, high)
    for p in range(begin.size):
        end = begin[p + 1] if p + 1 < begin.size else dtable.shape[0]
        for i in range(low, high):
            dtable[begin[p], i] = total[i]
        for row in range(begin[p] + 1, end):
            _take(dtable, begin[p], row, low, high)


@jit
def _add_to(to: Array, to_row: int, source: Array, row: int, low: Any, high: Any) -> None:
    """Add a row to another."""
    for i in range(low, high):
        to[to_row, i] += source[row, i]


@jit
def _take(x: Array, from_row: int, row: int, low: Any, high: Any) -> None:
    """Take a row away from another of the same array."""
    for i in range(low, high):
        x[from_row, i] -= x[row, i]
