r"""Output and gradients of the small network trained at test time.

    x_1 = x,   z_i = W_i x_i,   x_{i+1} = silu(z_i),   y = z_L or LN(z_L)           W_1 ... W_L
    e = y - v,   s = slope of the loss at e                                          the error, and what it is worth
    d_L = s through LN,   d_i = (W_{i+1}^T d_{i+1}) * silu'(z_i)                     gradient of W_i: d_i x_i^T
    d_i <- d_i / max(1, n sum_j r_j |d_j|^2 |x_j|^2 / |d_L|^2)                       normalised

The derivatives are written out, so that what trains the network can itself be differentiated by autograd.
The last line is normalised least mean squares, for any network: to first order a step of rate 1 corrects the error and
no more, however long the inputs and however large the weights. For a matrix and keys of length up to 1 it does nothing.
The published rules do not have it: without `bound` the gradient is taken as it is.
n = max(scale^2) / (var(z) + eps) bounds what the layer norm does to an error, whatever its direction: an error that no
weights can correct has next to no gradient, but all of the curvature. Without a norm n = 1. r_j is what a unit step of
the accumulated weights moves the effective ones by, 1 unless a parametrisation scales them.
A layer with one column more than its input is wide has a bias: the input is continued by a 1.

    loss      s(e)                                      every one at most as e, so that no step overshoots
    l2        e
    l3        e |e|, held at e / |e| beyond |e| = 1     each channel by itself
    huber     e min(1, limit / |e|)                     |e| the length of the error

Shapes: S steps, N_i units; weights [..., N_i, N_{i-1} (+ 1)], x [..., S, K], v [..., S, V], d_i [..., S, N_i].
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Layers", "Loss", "Norm", "descent", "extend", "normalised", "places", "read", "size", "split"]

Layers = Sequence[tuple[int, int]]
"""Rows and columns of every W_i, first to last."""
Loss = Literal["l2", "l3", "huber"]
Norm = tuple[Tensor, Tensor]
"""Scale and offset [H, V] of the layer norm of each head."""
EPS = 1e-2
"""Under the root of the layer norm: what says nearly nothing is not blown up to size 1, and no gradient is either."""
TINY = 1e-12


def size(layers: Layers) -> int:
    """Return P, the number of weights."""
    return sum(rows * columns for rows, columns in layers)


def split(flat: Tensor, layers: Layers) -> list[Tensor]:
    """Cut [..., P] into the matrices [..., rows, columns] of the layers."""
    parts: Sequence[Tensor] = flat.split([rows * columns for rows, columns in layers], -1)
    return [part.unflatten(-1, shape) for part, shape in zip(parts, layers, strict=True)]


def places(layers: Layers) -> np.ndarray[Any, Any]:
    """Return [L, 5] uint64: rows and columns of every layer, and where its weights, columns and rows begin among all.

    Places are unsigned, since numba checks the sign of others.
    """
    table, weight, column, row = [], 0, 0, 0
    for R, C in layers:
        table.append((R, C, weight, column, row))
        weight, column, row = weight + R * C, column + C, row + R
    return np.array(table, np.uint64)


def extend(x: Tensor, columns: int) -> Tensor:
    """Continue x [..., N] by a 1 if the layer that reads it has a column for the bias."""
    return x if x.shape[-1] == columns else functional.pad(x, (0, 1), value=1.0)


def normalised(z: Tensor, norm: Norm | None) -> Tensor:
    """Return LN(z), or z itself without a norm."""
    if norm is None:
        return z
    scale, offset = norm
    return functional.layer_norm(z, z.shape[-1:], eps=EPS) * scale[:, None] + offset[:, None]


def read(weights: Sequence[Tensor], x: Tensor, norm: Norm | None) -> Tensor:
    """Return y [..., S, V] of the network at x [..., S, K]."""
    for n, weight in enumerate(weights):
        x = extend(functional.silu(x) if n else x, weight.shape[-1]) @ weight.mT
    return normalised(x, norm)


def descent(
    weights: Sequence[Tensor],
    x: Tensor,
    v: Tensor,
    norm: Norm | None,
    loss: Loss,
    limit: Tensor | None,
    reach: Sequence[Tensor] | None,
    bound: bool = True,
) -> list[tuple[Tensor, Tensor]]:
    """Return for every layer d_i [..., S, N_i] and x_i [..., S, columns]: the step is against d_i x_i^T.

    Args:
        weights: W_1 ... W_L.
        x: [..., S, K] where the network is trained.
        v: [..., S, V] what it should say there.
        norm: of the layer norm, if there is one.
        loss: see above.
        limit: [..., S] length of an error from which on it counts no more; of the loss `huber`.
        reach: r_i [..., 1, 1] of every layer; None for 1.
        bound: whether the gradient is normalised.
    """
    inputs, bends, z = [extend(x, weights[0].shape[-1])], [], x
    for n, weight in enumerate(weights):
        z = inputs[n] @ weight.mT
        if n + 1 < len(weights):
            gate = z.sigmoid()
            x = z * gate
            bends.append(gate * (1 + z - x))  # silu'
            inputs.append(extend(x, weights[n + 1].shape[-1]))
    worth = _slope(normalised(z, norm) - v, loss, limit)
    delta, steep = (worth, 1.0) if norm is None else _through_norm(worth, z, norm[0])
    deltas = [delta]
    for bend, weight in zip(reversed(bends), reversed(weights[1:]), strict=True):
        delta = (delta @ weight[..., : bend.shape[-1]]) * bend
        deltas.insert(0, delta)
    if not bound:
        return list(zip(deltas, inputs, strict=True))
    lengths = [d.square().sum(-1) * x.square().sum(-1) for d, x in zip(deltas, inputs, strict=True)]
    if reach is not None:
        lengths = [r[..., 0] * length for r, length in zip(reach, lengths, strict=True)]
    gain = steep * torch.stack(lengths).sum(0) / (deltas[-1].square().sum(-1) + TINY)  # [..., S]
    share = 1 / gain.clamp(min=1.0)[..., None]
    return [(share * d, x) for d, x in zip(deltas, inputs, strict=True)]


def _slope(error: Tensor, loss: Loss, limit: Tensor | None) -> Tensor:
    if loss == "l3":
        return error * error.abs().clamp(max=1.0) / error.abs().clamp(min=1.0)
    if loss == "huber":
        assert limit is not None
        length = (error.square().sum(-1) + TINY).sqrt()
        return error * (limit / length).clamp(max=1.0)[..., None]
    return error


def _through_norm(worth: Tensor, z: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradient by z of a loss whose gradient by LN(z) is `worth`, and n [..., S]."""
    centred = z - z.mean(-1, keepdim=True)
    inverse = (centred.square().mean(-1, keepdim=True) + EPS).rsqrt()
    unit, back = centred * inverse, worth * scale[:, None]
    steep = inverse[..., 0].square() * scale.square().amax(-1, keepdim=True)
    return (back - back.mean(-1, keepdim=True) - unit * (back * unit).mean(-1, keepdim=True)) * inverse, steep
