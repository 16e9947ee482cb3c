r"""A matrix per head that computes its own keys, values, rates and decays, one step at a time.

    M stands for (M_k; M_v; M_eta; M_alpha; M_memory), one above the other, and M = A + D
    F, D <- 0, 0,  i <- 0  where a life starts              frozen and present offsets from the slow matrix A
    k_t = unit((A + F)_k x_t),  v_t = short((A + F)_v z_t)
    eta_t = sigmoid((A + F)_eta x_t + b) / C,  log alpha_t = -softplus((A + F)_alpha x_t + c)
    w_t = short((A + F) v_t) - (A + F) k_t                  each part's own target, and its error
    D <- alpha_t D
    D <- D - eta_t (M k_t) k_t^T + eta_t w_t k_t^T
    y_t = M_memory q_t
    i <- i + 1;  at i = C:  F <- D  and  i <- 0             the mini-batch is over

short(u) = u / sqrt(1 + |u|^2), of each of the five parts by itself. All writes of a mini-batch follow from the
matrix it began with, so that with eta <= 1 / C and the short targets equal steps in a row do not overshoot, and the
matrix stays bounded.

Shapes: B lives, T steps, H heads, K width of keys and values, R = 3 K + 2 rows of M, C steps of a mini-batch; F and D
are [B, H, R, K].
Traffic per step and head: 4 R K numbers of state, and 5 K of inputs and outputs.
Source: arXiv:2512.24695, from a transcription of its equations.
"""

import torch
from torch import Tensor
from torch.nn import functional

from lifelong.kernels.arguments import examine
from lifelong.kernels.unit_length import unit_length

__all__ = ["check", "self_modifying", "short", "writes"]


def self_modifying(
    q: Tensor,
    x: Tensor,
    z: Tensor,
    matrix: Tensor,
    frozen: Tensor,
    fast: Tensor,
    rate_bias: Tensor,
    fade_bias: Tensor,
    phase: Tensor,
    start: Tensor,
    batch: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Write and read a self-modifying matrix at every step.

    Args:
        q: [B, T, H, K] queries.
        x: [B, T, H, K] inputs from which the matrix computes keys, rates and decays.
        z: [B, T, H, K] inputs from which it computes values.
        matrix: [H, R, K] A, the slow matrix.
        frozen: [B, H, R, K] F before the first step.
        fast: [B, H, R, K] D before the first step.
        rate_bias: [H] b.
        fade_bias: [H] c.
        phase: [B, 1] int64, i, steps since the mini-batch began, plus any multiple of C.
        start: [B, T] bool, true where a step is the first of a life.
        batch: C.

    Returns:
        y: [B, T, H, K] outputs.
        v: [B, T, H, K] the values.
        frozen: [B, H, R, K] F after the last step.
        fast: [B, H, R, K] D after the last step.
        phase: [B, 1] i after the last step, 0 to C - 1.
    """
    K, ys, vs = q.shape[-1], [], []
    for t in range(q.shape[1]):
        fresh = start[:, t, None, None, None]
        frozen, fast = frozen.masked_fill(fresh, 0.0), fast.masked_fill(fresh, 0.0)
        phase = phase.masked_fill(start[:, t, None], 0)
        k, v, eta, decay, write = (
            part[:, 0] for part in writes(x[:, t, None], z[:, t, None], matrix, frozen, rate_bias, fade_bias)
        )
        eta = eta[..., None, None] / batch
        fast = decay[..., None, None].exp() * fast
        erased = fast @ k[..., None]  # the slow part is in `write`
        fast = fast + eta * (write[..., None] - erased) @ k[..., None, :]
        ys.append(((matrix + fast)[..., -K:, :] @ q[:, t, ..., None])[..., 0])
        vs.append(v)
        phase = (phase + 1) % batch
        frozen = torch.where((phase == 0)[..., None, None], fast, frozen)
    return torch.stack(ys, 1), torch.stack(vs, 1), frozen, fast, phase


def writes(
    x: Tensor, z: Tensor, matrix: Tensor, frozen: Tensor, rate_bias: Tensor, fade_bias: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return keys, values, rates, decays and errors of the steps of a mini-batch, from the matrix it began with.

    Args:
        x: [B, C, H, K] inputs of keys, rates and decays.
        z: [B, C, H, K] inputs of values.
        matrix: [H, R, K] A.
        frozen: [B, H, R, K] F.
        rate_bias: [H] b.
        fade_bias: [H] c.

    Returns:
        keys [B, C, H, K], values [B, C, H, K], C eta [B, C, H], log alpha [B, C, H], and the error w less what is
        erased of the slow part, w - A k, [B, C, H, R].
    """
    K = x.shape[-1]
    F = matrix + frozen
    own = product(F, x)
    k, v = unit_length(own[..., :K]), short(product(F[..., K : 2 * K, :], z))
    rate = torch.sigmoid(own[..., 2 * K] + rate_bias)
    decay = -functional.softplus(own[..., 2 * K + 1] + fade_bias)
    target = torch.cat([short(part) for part in product(F, v).split([K, K, 1, 1, K], -1)], -1)
    return k, v, rate, decay, target - product(F + matrix, k)


def product(matrix: Tensor, at: Tensor) -> Tensor:
    """Return the products [B, C, H, R] of a matrix [B, H, R, K] or [H, R, K] with vectors [B, C, H, K]."""
    return (matrix @ at.transpose(1, 2).mT).mT.transpose(1, 2)


def short(u: Tensor) -> Tensor:
    """Return u [..., N] scaled to a length below 1: u / sqrt(1 + |u|^2)."""
    return u * (1 + u.square().sum(-1, keepdim=True)).rsqrt()


def check(
    q: Tensor,
    x: Tensor,
    z: Tensor,
    matrix: Tensor,
    frozen: Tensor,
    fast: Tensor,
    rate_bias: Tensor,
    fade_bias: Tensor,
    phase: Tensor,
    start: Tensor,
    batch: int,
) -> None:
    """Validate shapes and dtypes.

    Raises:
        ValueError: naming the argument, what it is and what is wanted.
    """
    if q.ndim != 4:
        raise ValueError(f"q must be [B, T, H, K], got {list(q.shape)}")
    if batch < 1:
        raise ValueError(f"batch must be positive: batch={batch}")
    B, T, H, K = q.shape
    R = 3 * K + 2
    wanted = {
        "x": (x, [B, T, H, K]),
        "z": (z, [B, T, H, K]),
        "matrix": (matrix, [H, R, K]),
        "frozen": (frozen, [B, H, R, K]),
        "fast": (fast, [B, H, R, K]),
        "rate_bias": (rate_bias, [H]),
        "fade_bias": (fade_bias, [H]),
        "phase": (phase, [B, 1]),
        "start": (start, [B, T]),
    }
    for name, (tensor, shape) in wanted.items():
        if list(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {list(tensor.shape)}")
    if start.dtype != torch.bool:
        raise ValueError(f"start must be bool, got {start.dtype}")
    if phase.dtype != torch.int64:
        raise ValueError(f"phase must be int64, got {phase.dtype}")
    tensors = {name: tensor for name, (tensor, _) in wanted.items()}
    examine({"q": q, **tensors}, states=("matrix", "frozen", "fast"))
