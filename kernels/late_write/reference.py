r"""A network per head that accumulates gradients and is updated once per period, one step at a time.

    F, G, M <- 0, 0, 0,  i <- 0  where a life starts      offsets from the slow weights A; accumulated; momentum
    y_t = f(q_t; A + F)                                   a step reads the writes of earlier periods
    G <- G + theta_t d_t                                  d_t: direction of change towards v_t at k_t
    i <- i + 1;  at i = period  F is written,  G <- 0,  i <- 0
        without momentum    F <- F + G
        with momentum       M <- G + m M,   W = A + F + lambda orthogonal(M),   F <- W - A
                            each row of W brought to its length in A; orthogonal of each matrix: see `muon.py`

    network    f                                     d_t
    mlp        matrices with SiLU between them       against the gradient of 1/2 |f(k_t) - v_t|^2, normalised if `bound`
    gated      W_1 (silu(W_0 x) * (W_2 x))           the gradient of f(k_t)^T v_t, theta one for each matrix

An unfinished period is lost with its life. `mlp` is that of `kernels/inner_loop/network.py`, `gated` of `gated.py`.

Shapes: B lives, T steps, H heads, K key dim, V value dim, P weights of all layers, one after another; F, G and M
are [B, H, P].
Traffic per step and head: 4 P numbers of state, 6 P with momentum, and 2 K + 2 V of inputs and outputs.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from lifelong.kernels.arguments import examine
from lifelong.kernels.inner_loop.muon import orthogonal
from lifelong.kernels.inner_loop.network import Layers, descent, read as read_mlp, size, split

from . import gated

__all__ = ["Network", "check", "late_write", "read", "weight_change", "written"]

Network = Literal["mlp", "gated"]
TINY = 1e-12


def late_write(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rate: Tensor,
    weights: Tensor,
    fast: Tensor,
    gathered: Tensor,
    momentum: Tensor | None,
    phase: Tensor,
    start: Tensor,
    layers: Layers,
    period: int,
    *,
    batch: int | None = None,
    network: Network = "mlp",
    keep: Tensor | None = None,
    stride: Tensor | None = None,
    bound: bool = True,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor]:
    """Read a network at every step, and update it once per period.

    Args:
        q: [B, T, H, K] inputs at which it is read.
        k: [B, T, H, K] inputs at which it is trained.
        v: [B, T, H, V] targets there.
        rate: [B, T, H] theta of an `mlp`; [B, T, H, 3] of a `gated` network.
        weights: [H, P] A, the slow weights.
        fast: [B, H, P] F before the first step.
        gathered: [B, H, P] G before the first step.
        momentum: [B, H, P] M before the first step; None to add G as it is.
        phase: [B, 1] int64, i, steps since the period began, plus any multiple of the period.
        start: [B, T] bool, true where a step is the first of a life.
        layers: rows and columns of every matrix of the network.
        period: steps between two updates.
        batch: steps computed together; divides the period. None for the period.
        network: `mlp` or `gated`.
        keep: [H] m, share of the momentum that is kept; required if and only if there is momentum.
        stride: [H] lambda, size of an update; likewise.
        bound: whether the gradient of an `mlp` is normalised.

    Returns:
        y: [B, T, H, V] outputs.
        fast: [B, H, P] F after the last step.
        gathered: [B, H, P] G after the last step.
        momentum: [B, H, P] M after the last step, or None.
        phase: [B, 1] i after the last step, 0 to period - 1.
    """
    ys = []
    for t in range(q.shape[1]):
        fresh = start[:, t, None, None]
        fast, gathered = fast.masked_fill(fresh, 0.0), gathered.masked_fill(fresh, 0.0)
        phase = phase.masked_fill(start[:, t, None], 0)
        now = split(weights + fast, layers)
        ys.append(read(now, q[:, t, :, None], network)[:, :, 0])
        gathered = gathered + weight_change(
            now, k[:, t, :, None], v[:, t, :, None], rate[:, t, :, None], network, bound
        )
        phase = (phase + 1) % period
        over = (phase == 0)[..., None]
        if momentum is None:
            fast = torch.where(over, fast + gathered, fast)
        else:
            assert keep is not None
            assert stride is not None
            momentum = momentum.masked_fill(fresh, 0.0)
            push = gathered + keep[:, None] * momentum
            fast = torch.where(over, written(weights, fast, push, stride, layers), fast)
            momentum = torch.where(over, push, momentum)
        gathered = gathered.masked_fill(over, 0.0)
    return torch.stack(ys, 1), fast, gathered, momentum, phase


def read(weights: Sequence[Tensor], x: Tensor, network: Network) -> Tensor:
    """Return f [..., S, V] of x [..., S, K]."""
    return read_mlp(weights, x, None) if network == "mlp" else gated.read(weights, x)


def weight_change(
    weights: Sequence[Tensor], k: Tensor, v: Tensor, rate: Tensor, network: Network, bound: bool
) -> Tensor:
    """Return [..., P], the sum over the steps of theta d.

    Args:
        weights: of every layer.
        k: [..., S, K] inputs.
        v: [..., S, V] targets.
        rate: [..., S] theta of an `mlp`, [..., S, 3] of a `gated` network.
        network: `mlp` or `gated`.
        bound: whether the gradient of an `mlp` is normalised.
    """
    if network == "gated":
        return gated.ascent(weights, k, v, rate)
    steps = descent(weights, k, v, None, "l2", None, None, bound)
    return -torch.cat([((rate[..., None] * delta).mT @ x).flatten(-2) for delta, x in steps], -1)


def written(weights: Tensor, fast: Tensor, push: Tensor, stride: Tensor, layers: Layers) -> Tensor:
    """Return the offsets [B, H, P] after a step along `push` [B, H, P]; rows keep their length in A."""
    firsts, pushes = split(weights, layers), split(push, layers)
    flat = [by if by.shape[-2] <= by.shape[-1] else by.mT for by in pushes]
    alike = len({by.shape for by in flat}) == 1  # then one product does for all
    along = orthogonal(torch.stack(flat)).unbind() if alike else [orthogonal(by) for by in flat]
    offsets = []
    for first, old, by, to in zip(firsts, split(weights + fast, layers), pushes, along, strict=True):
        new = old + stride[:, None, None] * (to if to.shape == by.shape else to.mT)
        length = (first.square().sum(-1, keepdim=True) / (new.square().sum(-1, keepdim=True) + TINY)).sqrt()
        offsets.append((length * new - first).flatten(-2))
    return torch.cat(offsets, -1)


def check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rate: Tensor,
    weights: Tensor,
    fast: Tensor,
    gathered: Tensor,
    momentum: Tensor | None,
    phase: Tensor,
    start: Tensor,
    layers: Layers,
    period: int,
    batch: int | None,
    network: Network,
    keep: Tensor | None,
    stride: Tensor | None,
) -> None:
    """Validate shapes and dtypes.

    Raises:
        ValueError: naming the argument, what it is and what is wanted.
    """
    if q.ndim != 4:
        raise ValueError(f"q must be [B, T, H, K], got {list(q.shape)}")
    if period < 1 or (batch is not None and (batch < 1 or period % batch)):
        raise ValueError(f"period must be positive, and a multiple of batch: period={period}, batch={batch}")
    if network not in ("mlp", "gated"):
        raise ValueError(f"network must be 'mlp' or 'gated', got {network!r}")
    (B, T, H, K), V = q.shape, v.shape[-1]
    N = layers[0][0]
    if network == "gated" and list(layers) != [(N, K), (V, N), (N, K)]:
        raise ValueError(f"layers of a gated network must be (N, {K}), ({V}, N), (N, {K}), got {list(layers)}")
    wide = K
    for rows, columns in layers if network == "mlp" else ():
        if columns != wide:
            raise ValueError(f"layers must have {wide} columns, got {columns}")
        wide = rows
    if network == "mlp" and wide != V:
        raise ValueError(f"layers must end in {V} rows, the width of v, got {wide}")
    if len({z is None for z in (momentum, keep, stride)}) > 1:
        raise ValueError("momentum, keep and stride need each other: a state, its share kept, the size of a write")
    wanted = {
        "k": (k, [B, T, H, K]),
        "v": (v, [B, T, H, V]),
        "rate": (rate, [B, T, H] if network == "mlp" else [B, T, H, 3]),
        "weights": (weights, [H, size(layers)]),
        "fast": (fast, [B, H, size(layers)]),
        "gathered": (gathered, [B, H, size(layers)]),
        "momentum": (momentum, [B, H, size(layers)]),
        "phase": (phase, [B, 1]),
        "start": (start, [B, T]),
        "keep": (keep, [H]),
        "stride": (stride, [H]),
    }
    for name, (tensor, shape) in wanted.items():
        if tensor is not None and list(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {list(tensor.shape)}")
    if start.dtype != torch.bool:
        raise ValueError(f"start must be bool, got {start.dtype}")
    if phase.dtype != torch.int64:
        raise ValueError(f"phase must be int64, got {phase.dtype}")
    tensors = {name: tensor for name, (tensor, _) in wanted.items()}
    examine({"q": q, **tensors}, states=("weights", "fast", "gathered", "momentum"))
