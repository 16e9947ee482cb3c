r"""A small network per head, trained at every step by gradient descent in mini-batches, one step at a time.

    F, D, M <- 0, 0, 0,  i <- 0  where a life starts        frozen and present offsets from the slow weights A; momentum
    g = gradient at parametrisation(A + F) of the loss of f(k_t) against v_t, normalised: see `network.py`
    M <- eta_t M - (1 - eta_t) theta_t g                    without momentum, M = -theta_t g
    D <- exp(decay_t) D + M
    E = F + rho_i (D - F)                                   the weights read; without rho, E = D
    y_t = f(q_t) with the weights parametrisation(A + E)               step t sees its own write
    i <- i + 1;  at i = C:  F, D <- E, E  and  i <- 0       the mini-batch is over

Where the momentum is of gradients, the rate comes after it, and what is added may be made orthogonal:
    M <- eta_t M + (1 - eta_t) g,   D <- exp(decay_t) D - theta_t M    or    ... - theta_t orthogonal(M)
With windows g is the mean over the last c pairs of this life, each times its gamma: see `window.py`.

All gradients of a mini-batch are taken at the weights it began with: C is part of what is computed, and i belongs to
the state of each life. C = 1 is descent step by step. Identical steps in one mini-batch are one step of up to C times
the rate: with theta_t <= 1 / C, or rho_i <= 1 / i, and the normalised gradient, no repetition overshoots.
Weights are kept as offsets from the slow weights A: a life starts at zero, fades to A, and A gets a gradient from
every step of every life.

Shapes: B lives, T steps, H heads, K key dim, V value dim, C steps of a mini-batch, c pairs of a window (1 without),
P weights of all layers, one after another; F, D and M are [B, H, P].
Traffic per step and head: 6 P numbers of state with momentum, and 2 K + 2 V of inputs and outputs.
"""

import torch
from torch import Tensor

from .muon import orthogonal
from .network import Layers, descent, read, split
from .parametrisation import effective, reaches
from .rules import Rules
from .window import lives_of_pairs

__all__ = ["inner_loop"]


def inner_loop(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weights: Tensor,
    frozen: Tensor,
    fast: Tensor,
    momentum: Tensor | None,
    phase: Tensor,
    start: Tensor,
    layers: Layers,
    batch: int,
    rules: Rules,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor]:
    """Train and read a network at every step.

    Args:
        q: [B, T, H, K] inputs at which it is read.
        k: [B, c - 1 + T, H, K] inputs at which it is trained; with windows the pairs from before the pass come first.
        v: [B, c - 1 + T, H, V] targets there.
        weights: [H, P] A, the slow weights.
        frozen: [B, H, P] F before the first step.
        fast: [B, H, P] D before the first step.
        momentum: [B, H, P] M before the first step; None for descent without momentum.
        phase: [B, 1] int64, i, steps since the mini-batch began, 0 to C - 1.
        start: [B, T] bool, true where a step is the first of a life.
        layers: rows and columns of every layer of the network.
        batch: C.
        rules: rates, decay, momentum, loss and parametrisation.

    Returns:
        y: [B, T, H, V] outputs.
        frozen: [B, H, P] F after the last step.
        fast: [B, H, P] D after the last step.
        momentum: [B, H, P] M after the last step, or None.
        phase: [B, 1] i after the last step.
    """
    norm, parametrisation, of_steps = rules.norm, rules.parametrisation, rules.momentum_of == "steps"
    past = k.shape[1] - q.shape[1]
    lives = lives_of_pairs(start, past)
    ys = []
    for t in range(q.shape[1]):
        fresh = start[:, t, None, None]
        frozen, fast = frozen.masked_fill(fresh, 0.0), fast.masked_fill(fresh, 0.0)
        phase = phase.masked_fill(start[:, t, None], 0)
        base = split(weights + frozen, layers)
        reach = reaches(base, parametrisation)

        window = slice(t, t + past + 1)
        x, target = k[:, window].transpose(1, 2), v[:, window].transpose(1, 2)  # [B, H, c, K or V]
        limit = None if rules.limit is None else rules.limit[:, window].mT
        now = effective(base, reach, parametrisation)
        steps = descent(now, x, target, norm, rules.loss, limit, reach, rules.bound)
        theta = rules.rate[:, t, :, None]
        pace = theta if of_steps else torch.ones_like(theta)  # [B, H, 1], or c for 1
        if rules.drag is not None:
            pace = (1 - rules.drag[:, t, :, None]) * pace
        if rules.trust is not None:
            same = lives[:, window] == lives[:, past + t, None]
            pace = pace * (rules.trust[:, window] * same[..., None]).mT / (past + 1)
        change = torch.cat([((pace[..., None] * d).mT @ x).flatten(-2) for d, x in steps], -1)
        if of_steps:
            change = -change
        if momentum is not None:
            assert rules.drag is not None
            momentum = rules.drag[:, t, :, None] * momentum.masked_fill(fresh, 0.0) + change
            change = momentum
        if rules.momentum_of == "directions":
            change = torch.cat([orthogonal(M).flatten(-2) for M in split(change, layers)], -1)
        if not of_steps:
            change = -theta * change

        if rules.decay is not None:
            fast = rules.decay[:, t, :, None].exp() * fast
        fast = fast + change
        seen = fast
        if rules.scale is not None:
            seen = frozen + rules.scale[:, phase[:, 0]].mT[..., None] * (fast - frozen)
        read_at = effective(split(weights + seen, layers), reach, parametrisation)
        ys.append(read(read_at, q[:, t, :, None], norm)[:, :, 0])
        phase = (phase + 1) % batch
        over = (phase == 0)[..., None]
        frozen, fast = torch.where(over, seen, frozen), torch.where(over, seen, fast)
    return torch.stack(ys, 1), frozen, fast, momentum, phase
