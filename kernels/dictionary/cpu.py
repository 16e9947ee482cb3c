"""The dictionary as a compiled loop; arguments as in `reference.py`.

The backward pass is the forward one in reverse: what is found adds to its slot's gradient, what is stored takes it.
"""

from typing import Any

import torch
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once
from lifelong.kernels.in_place import next_state, own_state
from lifelong.kernels.jit import Array, Arrays, jit, rows, spread

__all__ = ["dictionary"]


def dictionary(
    under: Tensor,
    what: Tensor,
    lived: Tensor,
    asked: Tensor,
    key: Tensor,
    value: Tensor,
    known: Tensor,
    start: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute `reference.dictionary` in one compiled loop; float32 or float64, differentiable once."""
    inputs = (under, what, lived, asked, key, value, known, start)
    if torch.is_grad_enabled() and (what.requires_grad or value.requires_grad):
        made: tuple[Tensor, Tensor, Tensor, Tensor] = _Dictionary.apply(*inputs)  # type: ignore[no-untyped-call]
        return made
    return _run(*inputs, save=False)[:4]


class _Dictionary(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        y, key, value, known, places = _run(*inputs, save=True)
        ctx.save_for_backward(places, inputs[7])
        ctx.mark_non_differentiable(key, known)
        return y, key, value, known

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor, _key: Any, dvalue: Tensor, _known: Any) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        places, start = ctx.saved_tensors
        B, T, columns = dy.shape
        dwhat, dvalue = dy.new_zeros(B, T, columns - 1), dvalue.clone(memory_format=torch.contiguous_format)
        spread(_backward, B, T * columns, rows(dy.dtype, dy.contiguous(), places, start.contiguous(), dwhat, dvalue))
        return None, dwhat, None, None, None, dvalue, None, None


def _run(*inputs: Tensor, save: bool) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Run forward; return y, the dictionary, and the slots stored in and found at each step, -1 for none."""
    under, what, lived, asked, start = (inputs[n].detach().contiguous() for n in (0, 1, 2, 3, 7))
    key, value, known = (own_state(z) if save else next_state(z) for z in inputs[4:7])
    B, T, V = what.shape
    y, places = what.new_empty(B, T, V + 1), torch.empty(B, T, 2, dtype=torch.int64)
    arrays = rows(what.dtype, under, what, lived, asked, key, value, known, start, y, places)
    spread(_forward, B, 2 * T * key[0].numel(), arrays)
    return y, key, value, known, places


@jit
def _forward(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`: row b N + s is slot s of life b."""
    under, what, lived, asked, key, value, known, start, y, places = arrays
    T, N, V = start.shape[1], len(key) // len(known), what.shape[1]
    for b in range(first, last):
        for t in range(T):
            row = b * T + t
            if start[b, t]:
                known[b, 0] = 0
                for slot in range(b * N, (b + 1) * N):
                    _fill(key, slot)
                    _fill(value, slot)
            places[row, 0] = -1
            if lived[b, t]:
                slot = _nearest(key, b * N, min(known[b, 0], N), under, row)
                if known[b, 0] == 0 or _distance(key, b * N + slot, under, row):
                    slot = known[b, 0] % N
                    known[b, 0] += 1
                places[row, 0] = slot
                _copy(key, b * N + slot, under, row)
                _copy(value, b * N + slot, what, row)
            slot = _nearest(key, b * N, min(known[b, 0], N), asked, row)
            places[row, 1] = slot
            for j in range(V):
                y[row, j] = value[b * N + slot, j]
            y[row, V] = 1 if known[b, 0] and _distance(key, b * N + slot, asked, row) == 0 else 0


@jit
def _nearest(key: Array, at: int, used: int, wanted: Array, row: int) -> int:
    """Return the first slot of the key nearest to a row of `wanted`, 0 if there is none."""
    best, slot = -1, 0
    for n in range(used):
        distance = _distance(key, at + n, wanted, row)
        if best < 0 or distance < best:
            best, slot = distance, n
    return slot


@jit
def _distance(key: Array, slot: int, wanted: Array, row: int) -> int:
    total = 0
    for j in range(key.shape[1]):
        total += (key[slot, j] - wanted[row, j]) * (key[slot, j] - wanted[row, j])
    return total


@jit
def _backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`; the gradient of the last values comes in that of the first."""
    dy, places, start, dwhat, dvalue = arrays
    T, N, V = start.shape[1], len(dvalue) // len(start), dwhat.shape[1]
    for b in range(first, last):
        for t in range(T - 1, -1, -1):
            row = b * T + t
            found, stored = b * N + places[row, 1], b * N + places[row, 0]
            for j in range(V):
                dvalue[found, j] += dy[row, j]
            if places[row, 0] >= 0:
                _copy(dwhat, row, dvalue, stored)
                _fill(dvalue, stored)
            if start[b, t]:
                for slot in range(b * N, (b + 1) * N):
                    _fill(dvalue, slot)


@jit
def _fill(x: Array, row: int) -> None:
    for j in range(x.shape[1]):
        x[row, j] = 0


@jit
def _copy(to: Array, row: int, x: Array, at: int) -> None:
    for j in range(to.shape[1]):
        to[row, j] = x[at, j]
