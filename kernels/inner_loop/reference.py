r"""A small network per head, trained on every step by gradient descent in mini-batches, one step at a time.

    F, D, M <- 0, 0, 0,  i <- 0  where a life starts        frozen and present offsets from the slow weights A; momentum
    g = gradient at parametrisation(A + F) of the loss of f(k_t) against v_t, normalised: see `network.py`
    M <- eta_t M - (1 - eta_t) theta_t g                    without momentum, M = -theta_t g
    D <- exp(decay_t) D + M
    E = F + rho_i (D - F)                                   the weights read; without rho, E = D
    y_t = f(q_t) with the weights parametrisation(A + E)               step t sees its own write
    i <- i + 1;  at i = C:  F, D <- E, E  and  i <- 0       the mini-batch is over

All gradients of a mini-batch are taken at the weights it began with: C is part of what is computed, and i belongs to
the state of each life. C = 1 is descent step by step. Identical steps in one mini-batch are one step of up to C times
the rate: with theta_t <= 1 / C, or rho_i <= 1 / i, and the normalised gradient, no repetition overshoots.
Weights are kept as offsets from the slow weights A: a life starts at zero, fades to A, and A gets a gradient from
every step of every life.

Shapes: B lives, T steps, H heads, K key dim, V value dim, C steps of a mini-batch, P weights of all layers, one
after another; F, D and M are [B, H, P].
Traffic per step and head: 6 P numbers of state with momentum, and 2 K + 2 V of inputs and outputs.
"""

import torch
from torch import Tensor

from lifelong.kernels.arguments import examine

from .network import Layers, Loss, Norm, descent, read, size, split
from .parametrisation import Parametrisation, effective, reaches

__all__ = ["check", "inner_loop"]


def inner_loop(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rate: Tensor,
    weights: Tensor,
    frozen: Tensor,
    fast: Tensor,
    momentum: Tensor | None,
    phase: Tensor,
    start: Tensor,
    layers: Layers,
    batch: int,
    *,
    decay: Tensor | None = None,
    drag: Tensor | None = None,
    scale: Tensor | None = None,
    norm: Norm | None = None,
    loss: Loss = "l2",
    limit: Tensor | None = None,
    parametrisation: Parametrisation = "identity",
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor]:
    """Train and read a network at every step.

    Args:
        q: [B, T, H, K] where it is read.
        k: [B, T, H, K] where it is trained.
        v: [B, T, H, V] what it should say there.
        rate: [B, T, H] theta, >= 0.
        weights: [H, P] A, the slow weights.
        frozen: [B, H, P] F before the first step.
        fast: [B, H, P] D before the first step.
        momentum: [B, H, P] M before the first step; None for descent without momentum.
        phase: [B, 1] int64, i, steps since the mini-batch began, 0 to C - 1.
        start: [B, T] bool, true where a step is the first of a life.
        layers: rows and columns of every layer of the network.
        batch: C.
        decay: [B, T, H], log of the factor kept, <= 0; None keeps everything.
        drag: [B, T, H], eta, 0 to 1; needed if and only if there is momentum.
        scale: [H, C], rho, what a step reads of the changes of its mini-batch, by phase; the last is what remains.
        norm: scale and offset [H, V] of a layer norm at the end of the network.
        loss: `l2`, `l3` or `huber`: see `network.py`.
        limit: [B, T, H] from what length on an error of the loss `huber` counts no more.
        parametrisation: what the weights are of what is accumulated: see `parametrisation.py`.

    Returns:
        y: [B, T, H, V] what was read.
        frozen: [B, H, P] F after the last step.
        fast: [B, H, P] D after the last step.
        momentum: [B, H, P] M after the last step, or None.
        phase: [B, 1] i after the last step.
    """
    ys = []
    for t in range(q.shape[1]):
        fresh = start[:, t, None, None]
        frozen, fast = frozen.masked_fill(fresh, 0.0), fast.masked_fill(fresh, 0.0)
        phase = phase.masked_fill(start[:, t, None], 0)
        base = split(weights + frozen, layers)
        reach = reaches(base, parametrisation)
        limit_t = None if limit is None else limit[:, t, :, None]
        steps = descent(
            effective(base, reach, parametrisation), k[:, t, :, None], v[:, t, :, None], norm, loss, limit_t, reach
        )  # [B, H, 1, N] each
        pace = rate[:, t]
        if drag is not None:
            pace = (1 - drag[:, t]) * pace
        change = -torch.cat([((pace[..., None, None] * d).mT @ x).flatten(-2) for d, x in steps], -1)
        if momentum is not None:
            assert drag is not None
            momentum = drag[:, t, :, None] * momentum.masked_fill(fresh, 0.0) + change
            change = momentum
        if decay is not None:
            fast = decay[:, t, :, None].exp() * fast
        fast = fast + change
        seen = fast
        if scale is not None:
            seen = frozen + scale[:, phase[:, 0]].mT[..., None] * (fast - frozen)
        ys.append(
            read(effective(split(weights + seen, layers), reach, parametrisation), q[:, t, :, None], norm)[:, :, 0]
        )
        phase = (phase + 1) % batch
        over = (phase == 0)[..., None]
        frozen, fast = torch.where(over, seen, frozen), torch.where(over, seen, fast)
    return torch.stack(ys, 1), frozen, fast, momentum, phase


def check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rate: Tensor,
    weights: Tensor,
    frozen: Tensor,
    fast: Tensor,
    momentum: Tensor | None,
    phase: Tensor,
    start: Tensor,
    layers: Layers,
    batch: int,
    decay: Tensor | None,
    drag: Tensor | None,
    scale: Tensor | None,
    norm: Norm | None,
    loss: Loss,
    limit: Tensor | None,
    parametrisation: Parametrisation,
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
    V, P = v.shape[-1], size(layers)
    wide = K
    for rows, columns in layers:
        if columns not in (wide, wide + 1):
            raise ValueError(f"layers must have {wide} columns, or {wide + 1} with a bias, got {columns}")
        wide = rows
    if wide != V:
        raise ValueError(f"layers must end in {V} rows, the width of v, got {wide}")
    wanted = {
        "k": (k, [B, T, H, K]),
        "v": (v, [B, T, H, V]),
        "rate": (rate, [B, T, H]),
        "weights": (weights, [H, P]),
        "frozen": (frozen, [B, H, P]),
        "fast": (fast, [B, H, P]),
        "momentum": (momentum, [B, H, P]),
        "phase": (phase, [B, 1]),
        "start": (start, [B, T]),
        "decay": (decay, [B, T, H]),
        "drag": (drag, [B, T, H]),
        "scale": (scale, [H, batch]),
        "norm's scale": (norm and norm[0], [H, V]),
        "norm's offset": (norm and norm[1], [H, V]),
        "limit": (limit, [B, T, H]),
    }
    for name, (tensor, shape) in wanted.items():
        if tensor is not None and list(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {list(tensor.shape)}")
    if start.dtype != torch.bool:
        raise ValueError(f"start must be bool, got {start.dtype}")
    if phase.dtype != torch.int64:
        raise ValueError(f"phase must be int64, got {phase.dtype}")
    if (momentum is None) != (drag is None):
        raise ValueError("momentum and drag need each other: a state, and how much of it is kept")
    if loss not in ("l2", "l3", "huber"):
        raise ValueError(f"loss must be 'l2', 'l3' or 'huber', got {loss!r}")
    if (loss == "huber") != (limit is not None):
        raise ValueError(f"limit belongs to the loss 'huber' and to no other, got loss={loss!r}")
    if parametrisation not in ("identity", "l4", "softmax"):
        raise ValueError(f"parametrisation must be 'identity', 'l4' or 'softmax', got {parametrisation!r}")
    tensors = {name: tensor for name, (tensor, _) in wanted.items()}
    examine({"q": q, **tensors}, states=("weights", "frozen", "fast", "momentum"))
