r"""The network trained at test time, a mini-batch at a time, in matrix products.

Every life's steps are laid out in mini-batches of its own, see `schedule.py`. A slot without a step changes nothing.

The gradients d_s x_s^T of a mini-batch are all taken at the weights F it began with, so that what its steps leave is
linear in them. For one mini-batch, head and layer (rows are steps, X and Z inputs and outputs of the layer):
    a[t], c[t]     share of the incoming D, and of the incoming M, in D at t: see `shares.py`
    G[t, s]        share of the step against the gradient of pair s in D at t; without windows pairs are steps
    Z = X (A + F)^T + rho ((a X) D^T + (c X) M^T - X F^T - (G * (X X_k^T)) Delta)          and so on to the next layer
    D <- a[C] D + c[C] M - Delta^T (G[C] X_k)
so the weights of single steps are never formed. (Where the weights are not linear in the gradients, with the
parametrisation softmax or a momentum of directions, they are.)
"""

import torch
from torch import Tensor
from torch.nn import functional

from .muon import orthogonal
from .network import Layers, descent, extend, normalised, split
from .parametrisation import effective, reaches
from .rules import Rules
from .schedule import schedule
from .shares import Shares, shares_of
from .window import windows

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
    """Compute `reference.inner_loop`, a mini-batch at a time; arguments as there."""
    plan = schedule(phase, start, batch, whole=True)
    pairs, weight = plan.lay_out_heads, None
    if rules.trust is not None:
        past = k.shape[1] - q.shape[1]
        view = windows(plan, start, past)
        pairs, weight = view.gather, view.seen[:, :, None] * view.gather(rules.trust)[..., None, :] / (past + 1)
    Q, X, target = plan.lay_out_heads(q), pairs(k), pairs(v)  # [B, N, H, C or S, K or V]
    limits = None if rules.limit is None else pairs(rules.limit)
    rho = None if rules.scale is None else rules.scale[:, :, None]
    full, shares = plan.full[..., None, None], shares_of(plan, rules, weight)
    norm, parametrisation, directions = rules.norm, rules.parametrisation, rules.momentum_of == "directions"
    every_step = directions or parametrisation == "softmax"

    def mini_batch(n: int, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        (frozen, fast, *moving), share = state, shares.of(n)
        A, F, D = split(weights, layers), split(frozen, layers), split(fast, layers)
        M = split(moving[0], layers) if moving else None
        base = [slow + f for slow, f in zip(A, F, strict=True)]
        reach = reaches(base, parametrisation)
        limit = None if limits is None else limits[:, n]
        now = effective(base, reach, parametrisation)
        steps = descent(now, X[:, n], target[:, n], norm, rules.loss, limit, reach, rules.bound)

        x, ends = Q[:, n], []
        for i, (delta, inputs) in enumerate(steps):
            x = extend(functional.silu(x) if i else x, inputs.shape[-1])
            if every_step:  # the weights of every step, [B, H, C, rows, columns]
                D_t, *M_t = _layer_at_every_step(share, delta, inputs, D[i], None if M is None else M[i], directions)
                ends.append([z[:, :, -1].flatten(-2) for z in (D_t, *M_t)])
                if rho is not None:
                    D_t = F[i][:, :, None] + rho[..., None] * (D_t - F[i][:, :, None])
                held = None if reach is None else [reach[i][:, :, None]]
                (W_t,) = effective([A[i][:, None] + D_t], held, parametrisation)
                x = (W_t @ x[..., None])[..., 0]
                continue
            change = share.own[..., None] * (x @ D[i].mT) - (share.steps * (x @ inputs.mT)) @ delta
            if M is not None and share.momentum is not None:
                change = change + share.momentum.drift[..., None] * (x @ M[i].mT)
            if rho is None:
                x = x @ A[i].mT + change
            else:
                still = x @ F[i].mT
                x = x @ A[i].mT + still + rho * (change - still)
            if reach is not None:
                x = reach[i] * x

        if directions:
            after, *moving = (torch.cat(parts, -1) for parts in zip(*ends, strict=True))
        else:
            after = share.own[..., -1:] * fast - _summed(share.steps, steps)
            if share.momentum is not None:
                after = after + share.momentum.drift[..., -1:] * moving[0]
                moving = [share.momentum.last[..., None] * moving[0] + _summed(share.momentum.gathered, steps)]
        seen, done = after if rho is None else frozen + rho[:, -1] * (after - frozen), full[:, n]
        return normalised(x, norm), [torch.where(done, seen, frozen), torch.where(done, seen, after), *moving]

    y, after = plan.run(mini_batch, [frozen, fast] if momentum is None else [frozen, fast, momentum])
    return y, after[0], after[1], None if momentum is None else after[2], plan.phase


def _layer_at_every_step(
    share: Shares, delta: Tensor, inputs: Tensor, D: Tensor, M: Tensor | None, directions: bool
) -> list[Tensor]:
    """Return the offsets of a layer after every step, [B, H, C, rows, columns]; of directions its momentum too."""
    own, gradients = share.own[..., None, None] * D[:, :, None], "bhts,bhsr,bhsc->bhtrc"
    if directions:
        assert M is not None
        assert share.momentum is not None
        M_t = share.momentum.run[..., None, None] * M[:, :, None]
        M_t = M_t + torch.einsum(gradients, share.momentum.gathered, delta, inputs)
        return [own + torch.einsum("bhts,bhsrc->bhtrc", share.momentum.pull, orthogonal(M_t)), M_t]
    D_t = own - torch.einsum(gradients, share.steps, delta, inputs)
    if M is not None and share.momentum is not None:
        D_t = D_t + share.momentum.drift[..., None, None] * M[:, :, None]
    return [D_t]


def _summed(by: Tensor, steps: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the sum of the gradients [B, H, P] with the shares `by` [B, H, C, S] that the last step has in them."""
    return torch.cat([((by[..., -1, :, None] * delta).mT @ inputs).flatten(-2) for delta, inputs in steps], -1)
