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
from lifelong.kernels.jit import Arrays, jit, spread

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


@jit
def _forward(first: int, last: int, arrays: Arrays) -> None:
    """Run the blocks of columns from `first` to before `last`; `outside` gets the place of a value without a row."""
    values, begin, table, y, outside = arrays
    low, high = first * BLOCK, min(last * BLOCK, y.shape[1])
    base = np.zeros(high - low, table.dtype)
    for p in range(begin.size):
        row = table[begin[p], low:high]
        for i in range(base.size):
            base[i] += row[i]
    for n in range(values.shape[0]):
        out = y[n, low:high]
        for i in range(base.size):
            out[i] = base[i]
        for p in range(begin.size):
            value = values[n, p]
            if value:
                end = begin[p + 1] if p + 1 < begin.size else table.shape[0]
                if value < 0 or begin[p] + value >= end:
                    outside[0] = n * begin.size + p
                    return
                there, instead = table[begin[p] + value, low:high], table[begin[p], low:high]
                for i in range(base.size):
                    out[i] += there[i] - instead[i]


@jit
def _backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the blocks of columns from `first` to before `last`; `dtable` comes as zeros."""
    values, begin, dy, dtable = arrays
    low, high = first * BLOCK, min(last * BLOCK, dy.shape[1])
    total = np.zeros(high - low, dy.dtype)
    for n in range(values.shape[0]):
        out = dy[n, low:high]
        for i in range(total.size):
            total[i] += out[i]
        for p in range(begin.size):
            if values[n, p]:
                to = dtable[begin[p] + values[n, p], low:high]
                for i in range(total.size):
                    to[i] += out[i]
    for p in range(begin.size):
        to = dtable[begin[p], low:high]
        end = begin[p + 1] if p + 1 < begin.size else dtable.shape[0]
        for i in range(total.size):
            to[i] = total[i]
        for row in range(begin[p] + 1, end):
            other = dtable[row, low:high]
            for i in range(total.size):
                to[i] -= other[i]
