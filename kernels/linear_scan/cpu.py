r"""The elementwise linear recurrence as a compiled loop; arguments as in `reference.py`.

Notation, for one step (a = exp(decay), h' the state before, 0 where a life starts):

    h = a * h' + u,  y = h                       or  h = a * h' + u w^T,  y = h r

Gradients, last step first; D is the gradient of h' that came from later steps:

    D  <- D + dy                                 or  D <- D + dy r^T,  dr = h^T dy
    du  = D                                      or  du = D w,  dw = D^T u
    ddecay = a * D * h'
    D  <- a * D, or 0 where a life starts

Without `write` and `read` all states are known, as y, and the backward pass is the forward one in reverse. With them
the forward pass keeps the state every `CHECKPOINT` steps; the backward pass recomputes those between.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once
from lifelong.kernels.in_place import next_state, own_state
from lifelong.kernels.jit import Array, Arrays, jit, rows, spread

from .reference import flatten

__all__ = ["linear_scan"]

CHECKPOINT = 16  # steps between the states kept for the backward pass


def linear_scan(
    u: Tensor,
    decay: Tensor,
    state: Tensor,
    start: Tensor,
    *,
    write: Tensor | None = None,
    read: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute `reference.linear_scan` in one compiled loop; float32 or float64, differentiable once."""
    shape = state.shape
    if write is not None:  # every number of the state has a decay of its own there
        decay = decay[(...,) + (None,) * (state.ndim + 1 - decay.ndim)].expand(-1, -1, *shape[1:])
    inputs = (*flatten(u, decay, state, start), start, write, read)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs):
        y, end = (_Scan if write is None else _ReadScan).apply(*inputs)  # type: ignore[no-untyped-call]
    else:
        y, end, _ = _run(*inputs, save=False)
    return y.view(u.shape), end.view(shape)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        y, end, (_, kept, start, *_) = _run(*inputs, save=True)
        ctx.save_for_backward(kept, inputs[2], start, y)
        return y, end

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor, dend: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        kept, state, start, y = ctx.saved_tensors
        du, ddecay, dstate = torch.empty_like(y), torch.empty_like(kept), torch.empty_like(state)
        arrays = rows(y.dtype, kept, state, start, y, dy.contiguous(), dend.contiguous(), du, ddecay, dstate)
        spread(_backward, y.shape[0], 2 * y[0].numel(), arrays)
        return du, ddecay, dstate, None, None, None


class _ReadScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        y, end, saved = _run(*inputs, save=True)
        ctx.save_for_backward(*saved)
        return y, end

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor, dend: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        u, kept, start, w, r, marks = ctx.saved_tensors
        du, ddecay, dw, dr = (torch.empty_like(x) for x in (u, kept, w, r))
        dstate = dend.clone(memory_format=torch.contiguous_format)
        arrays = rows(u.dtype, u, _cut(kept, w), start, w, r, _cut(marks, w), dy.contiguous(), du)
        arrays += rows(u.dtype, _cut(ddecay, w), dw, dr, _cut(dstate, w))
        spread(_backward_read, u.shape[0], 4 * kept[0].numel(), arrays)
        return du, ddecay, dstate, None, dw, dr


def _run(
    u: Tensor, decay: Tensor, state: Tensor, start: Tensor, write: Tensor | None, read: Tensor | None, *, save: bool
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Run forward; return y, the last state and what the backward pass needs."""
    B, T, _ = u.shape
    u, state, start = (x.detach().contiguous() for x in (u, state, start))
    kept, y = decay.detach().exp().contiguous(), torch.empty_like(u)
    if write is None or read is None:
        spread(_forward, B, u[0].numel(), rows(u.dtype, u, kept, state, start, y))
        end = y[:, -1].clone() if save else next_state(state).copy_(y[:, -1])
        return y, end, (u, kept, start)
    w, r = write.detach().contiguous(), read.detach().contiguous()
    end = own_state(state) if save else next_state(state)
    marks = end.new_empty((-(-T // CHECKPOINT) if save else 0, *end.shape))
    arrays = rows(u.dtype, u, _cut(kept, w), start, w, r, y, _cut(end, w), _cut(marks, w))
    spread(_forward_read, B, kept[0].numel(), arrays)
    return y, end, (u, kept, start, w, r, marks)


def _cut(x: Tensor, w: Tensor) -> Tensor:
    """[..., D N] -> [rows, N]."""
    return x.view(-1, w.shape[-1])


# Below, row b T + t of u, kept, y is step t of life b, and `state` has a row per life.


@jit
def _forward(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`."""
    u, kept, state, start, y = arrays
    T = start.shape[1]
    for b in range(first, last):
        for t in range(T):
            row = b * T + t
            if start[b, t]:
                _copy(y[row], u[row])
            else:
                _step(y[row], kept[row], state[b] if t == 0 else y[row - 1], u[row])


@jit
def _backward(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`."""
    kept, state, start, y, dy, dend, du, ddecay, dstate = arrays
    T = start.shape[1]
    for b in range(first, last):
        for t in range(T - 1, -1, -1):
            row = b * T + t
            if t == T - 1:
                _add(du[row], dend[b], dy[row])
            elif start[b, t + 1]:
                _copy(du[row], dy[row])
            else:
                _step(du[row], kept[row + 1], du[row + 1], dy[row])
            if start[b, t]:
                _fill(ddecay[row], 0)
            else:
                _undo_decay(ddecay[row], kept[row], du[row], state[b] if t == 0 else y[row - 1])
        _fill(dstate[b], 0)
        if not start[b, 0]:
            _step(dstate[b], kept[b * T], du[b * T], dstate[b])


@jit
def _fill(x: Array, value: float) -> None:
    for j in range(x.size):
        x[j] = value


@jit
def _copy(to: Array, x: Array) -> None:
    for j in range(to.size):
        to[j] = x[j]


@jit
def _add(to: Array, x: Array, z: Array) -> None:
    for j in range(to.size):
        to[j] = x[j] + z[j]


@jit
def _step(after: Array, kept: Array, before: Array, u: Array) -> None:
    """Write a * before + u, with one factor for each number or for each M of them."""
    M = u.size // kept.size
    if M == 1:
        for j in range(u.size):
            after[j] = kept[j] * before[j] + u[j]
    else:
        for g in range(kept.size):
            a, part = kept[g], slice(g * M, (g + 1) * M)
            to, x, z = after[part], before[part], u[part]
            for j in range(M):
                to[j] = a * x[j] + z[j]


@jit
def _undo_decay(ddecay: Array, kept: Array, d: Array, before: Array) -> None:
    """Write a * d * before, summed over what has one factor."""
    M = d.size // kept.size
    if M == 1:
        for j in range(d.size):
            ddecay[j] = kept[j] * d[j] * before[j]
    else:
        for g in range(kept.size):
            total, part = d.dtype.type(0), slice(g * M, (g + 1) * M)
            x, z = d[part], before[part]
            for j in range(M):
                total += x[j] * z[j]
            ddecay[g] = kept[g] * total


# Below, with `write` and `read`, kept and the states have a row of N for each channel: (b T + t) D + d, and b D + d.


@jit
def _forward_read(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`; `h` comes as the states before the first step."""
    u, kept, start, w, r, y, h, marks = arrays
    (B, T), D = start.shape, u.shape[1]
    for b in range(first, last):
        state = h[b * D : (b + 1) * D]
        for t in range(T):
            row = b * T + t
            if marks.size and t % CHECKPOINT == 0:
                mark = (t // CHECKPOINT * B + b) * D
                _copy(marks[mark : mark + D].ravel(), state.ravel())
            if start[b, t]:
                _fill(state.ravel(), 0)
            _write_read(state, kept, row, u, w, r, y)


@jit
def _backward_read(first: int, last: int, arrays: Arrays) -> None:
    """Run the lives from `first` to before `last`; `dstate` comes as the gradient of the last states."""
    u, kept, start, w, r, marks, dy, du, ddecay, dw, dr, dstate = arrays
    (B, T), D, N = start.shape, u.shape[1], w.shape[1]
    empty = np.zeros((D, N), u.dtype)
    h = np.zeros((CHECKPOINT + 1, D, N), u.dtype)  # before and after each step since the checkpoint
    for b in range(first, last):
        d = dstate[b * D : (b + 1) * D]
        for n in range((T - 1) // CHECKPOINT, -1, -1):
            t0, t1 = n * CHECKPOINT, min(T, (n + 1) * CHECKPOINT)
            mark = (n * B + b) * D
            _copy(h[0].ravel(), marks[mark : mark + D].ravel())
            for t in range(t0, t1):
                _write(h[t - t0 + 1], empty if start[b, t] else h[t - t0], kept, b * T + t, u, w)
            for t in range(t1 - 1, t0 - 1, -1):
                row, before = b * T + t, empty if start[b, t] else h[t - t0]
                _undo_write_read(d, h[t - t0 + 1], before, row, kept, u, w, r, dy, du, ddecay, dw, dr)
                if start[b, t]:
                    _fill(d.ravel(), 0)


@jit
def _write_read(h: Array, kept: Array, row: int, u: Array, w: Array, r: Array, y: Array) -> None:
    """H <- a * h + u w^T;  y = h r."""
    D, N = h.shape
    for d in range(D):
        ud, total = u[row, d], u.dtype.type(0)
        for n in range(N):
            new = kept[row * D + d, n] * h[d, n] + ud * w[row, n]
            h[d, n] = new
            total += new * r[row, n]
        y[row, d] = total


@jit
def _write(after: Array, before: Array, kept: Array, row: int, u: Array, w: Array) -> None:
    """Write a * before + u w^T."""
    D, N = after.shape
    for d in range(D):
        ud = u[row, d]
        for n in range(N):
            after[d, n] = kept[row * D + d, n] * before[d, n] + ud * w[row, n]


@jit
def _undo_write_read(
    back: Array,
    after: Array,
    before: Array,
    row: int,
    kept: Array,
    u: Array,
    w: Array,
    r: Array,
    dy: Array,
    du: Array,
    ddecay: Array,
    dw: Array,
    dr: Array,
) -> None:
    """D <- D + dy r^T;  du = D w, dw = D^T u, dr = h^T dy;  D <- a * D, ddecay = D * h'."""
    D, N = after.shape
    for n in range(N):
        dw[row, n] = dr[row, n] = 0
    for d in range(D):
        ud, dyd, total = u[row, d], dy[row, d], u.dtype.type(0)
        for n in range(N):
            new = back[d, n] + dyd * r[row, n]
            dr[row, n] += after[d, n] * dyd
            dw[row, n] += new * ud
            total += new * w[row, n]
            new = kept[row * D + d, n] * new
            ddecay[row * D + d, n] = new * before[d, n]
            back[d, n] = new
        du[row, d] = total
