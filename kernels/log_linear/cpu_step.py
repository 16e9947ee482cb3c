"""One step of the levels as a compiled loop without gradients; arguments as in `reference.py`.

Before the step of number t, level 0 is empty once it has moved, and level i > 0 holds something if and only if bit
i - 1 of t is set; the top one, if any bit from there on is. Only those are read and written, in place where that is
allowed (see `in_place.py`).
"""

from typing import Any

import numpy as np
from torch import Tensor

from lifelong.kernels.in_place import next_state
from lifelong.kernels.jit import Array, Arrays, jit, rows, spread

from .reference import Rule

__all__ = ["log_linear"]


def log_linear(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rate: Tensor,
    decay: Tensor,
    scale: Tensor,
    state: Tensor,
    count: Tensor,
    start: Tensor,
    *,
    rule: Rule = "delta",
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `reference.log_linear` for one step, T = 1; float32 or float64, without gradients."""
    given = [z.detach().contiguous() for z in (q, k, v, rate, decay.detach().exp(), scale)]
    state, y, before = next_state(state), v.new_empty(v.shape), count.masked_fill(start, 0).contiguous()
    corrects = np.array([[rule == "delta"]])
    arrays = (*rows(q.dtype, *given, state, before, start.contiguous(), y), corrects)
    spread(_step, state.shape[0] * state.shape[1], state[0, 0].numel(), arrays)
    return y, state, before + 1


@jit
def _step(first: int, last: int, arrays: Arrays) -> None:
    """Run the heads from `first` to before `last`: row b H + h is head h of life b."""
    q, k, v, rate, kept, scale, S, count, start, y, corrects = arrays
    H, V, L, one, zero = rate.shape[1], v.shape[1], scale.shape[1], q.dtype.type(1), q.dtype.type(0)
    for row in range(first, last):
        b, h, at, top = row // H, row % H, row * L * V, L - 1
        if start[b, 0]:
            for i in range(at, at + L * V):
                _fill(S, i)
        t = count[b, 0]
        if t and top:  # what is below the lowest set bit moves up
            up = 1
            while up < top and not t >> (up - 1) & 1:
                up += 1
            for level in range(up):
                for i in range(V):
                    _add(S, at + up * V + i, S, at + level * V + i)
                    _fill(S, at + level * V + i)
        a, beta = kept[b, h], rate[b, h]
        for i in range(V):
            y[row, i] = 0
        for level in range(L):
            if level == top:
                held = t >> max(level - 1, 0)
            else:
                held = t >> (level - 1) & 1 if level else 0
            if held:
                for i in range(V):
                    by = beta * a * _dot(S, at + level * V + i, k, row) if corrects[0, 0] else zero
                    _change(S, at + level * V + i, a, k, row, -by)
                    y[row, i] += scale[row, level] * _dot(S, at + level * V + i, q, row)
        along = _dot(k, row, q, row)
        for i in range(V):
            by = beta * v[row, i]
            _change(S, at + i, one, k, row, by)
            y[row, i] += scale[row, 0] * by * along


@jit
def _fill(x: Array, row: int) -> None:
    for j in range(x.shape[1]):
        x[row, j] = 0


@jit
def _add(to: Array, row: int, x: Array, at: int) -> None:
    for j in range(to.shape[1]):
        to[row, j] += x[at, j]


@jit
def _dot(x: Array, row: int, z: Array, at: int) -> Any:
    total = x.dtype.type(0)
    for j in range(x.shape[1]):
        total += x[row, j] * z[at, j]
    return total


@jit
def _change(to: Array, row: int, kept: Any, x: Array, at: int, by: Any) -> None:
    for j in range(to.shape[1]):
        to[row, j] = kept * to[row, j] + by * x[at, j]
