r"""The network trained at test time, a mini-batch at a time, in matrix products.

Every life's steps are laid out in mini-batches of its own, see `schedule.py`. A slot without a step changes nothing.

The gradients d_s x_s^T of a mini-batch are all taken at the weights F it began with, so that what its steps leave is
linear in them. For one mini-batch, head and layer (rows are steps, X and Z inputs and outputs of the layer):
    a[t], c[t]     share of the incoming D, and of the incoming M, in D at t
    G[t, s]        share of the change of step s in D at t >= s, times its rate
    Z = X (A + F)^T + rho ((a X) D^T + (c X) M^T - X F^T - (G * (X X_k^T)) Delta)          and so on to the next layer
    D <- a[C] D + c[C] M - Delta^T (G[C] X_k)
so the weights of single steps are never formed. (With the parametrisation softmax, not linear, they are.)
"""

import torch
from torch import Tensor
from torch.nn import functional

from .network import Layers, Loss, Norm, descent, extend, normalised, split
from .parametrisation import Parametrisation, effective, reaches
from .schedule import schedule

__all__ = ["inner_loop", "products"]


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
    """Compute `reference.inner_loop`, a mini-batch at a time; arguments as there."""
    plan = schedule(phase, start, batch, whole=True)
    there, fresh, full = plan.there, plan.fresh[..., None, None], plan.full[..., None, None]
    Q, X, target, theta = (plan.lay_out_heads(z) for z in (q, k, v, rate))
    limits = None if limit is None else plan.lay_out_heads(limit)

    one = torch.ones((), dtype=q.dtype, device=q.device)
    kept = one.expand_as(theta) if decay is None else plan.lay_out_heads(decay).exp()
    share, own = products(kept), kept.cumprod(-1)  # [B, N, H, C, C], [B, N, H, C]
    own_momentum = last = end = own  # of a momentum that there is not
    if momentum is not None:
        assert drag is not None
        eta = torch.where(there[:, :, None], plan.lay_out_heads(drag), one)
        pulled = share * there[:, :, None, None]  # only a step adds the momentum to the weights
        lasting, theta = products(eta), (1 - eta) * theta
        own_momentum = (pulled @ eta.cumprod(-1)[..., None])[..., 0]  # [B, N, H, C]
        share, last, end = pulled @ lasting, lasting[..., -1, :], eta.prod(-1)
    G = share * theta[..., None, :]  # [B, N, H, C, C]
    rho = None if scale is None else scale[:, :, None]

    ys = []
    for n in range(plan.batches):
        frozen, fast = frozen.masked_fill(fresh[:, n], 0.0), fast.masked_fill(fresh[:, n], 0.0)
        A, F, D = split(weights, layers), split(frozen, layers), split(fast, layers)
        base = [slow + f for slow, f in zip(A, F, strict=True)]
        reach = reaches(base, parametrisation)
        limit_n = None if limits is None else limits[:, n]
        steps = descent(effective(base, reach, parametrisation), X[:, n], target[:, n], norm, loss, limit_n, reach)
        M, G_n = None, G[:, n]
        own_n, own_m = own[:, n, ..., None], own_momentum[:, n, ..., None]
        if momentum is not None:
            momentum = momentum.masked_fill(fresh[:, n], 0.0)
            M = split(momentum, layers)

        x = Q[:, n]
        for i, (delta, inputs) in enumerate(steps):
            x = extend(functional.silu(x) if i else x, inputs.shape[-1])
            if parametrisation == "softmax":  # the weights of every step, [B, H, C, rows, columns]
                D_t = own_n[..., None] * D[i][:, :, None] - torch.einsum("bhts,bhsr,bhsc->bhtrc", G_n, delta, inputs)
                if M is not None:
                    D_t = D_t + own_m[..., None] * M[i][:, :, None]
                if rho is not None:
                    D_t = F[i][:, :, None] + rho[..., None] * (D_t - F[i][:, :, None])
                (W_t,) = effective([A[i][:, None] + D_t], reach, parametrisation)
                x = (W_t @ x[..., None])[..., 0]
                continue
            change = own_n * (x @ D[i].mT) - (G_n * (x @ inputs.mT)) @ delta
            if M is not None:
                change = change + own_m * (x @ M[i].mT)
            if rho is None:
                x = x @ A[i].mT + change
            else:
                still = x @ F[i].mT
                x = x @ A[i].mT + still + rho * (change - still)
            if reach is not None:
                x = reach[i] * x
        ys.append(normalised(x, norm))

        def summed(by: Tensor, steps: list[tuple[Tensor, Tensor]] = steps) -> Tensor:
            """Return the sum of the changes [B, H, P], each times `by` [B, H, C]."""
            return torch.cat([((by[..., None] * delta).mT @ inputs).flatten(-2) for delta, inputs in steps], -1)

        after = own_n[..., -1, :] * fast - summed(G_n[..., -1, :])
        if momentum is not None:
            after = after + own_m[..., -1, :] * momentum
            momentum = end[:, n, :, None] * momentum - summed(last[:, n] * theta[:, n])
        seen = after if rho is None else frozen + rho[:, -1] * (after - frozen)
        frozen, fast = torch.where(full[:, n], seen, frozen), torch.where(full[:, n], seen, after)
    y = torch.stack(ys, 1).movedim(2, 3).flatten(1, 2)  # [B, N C, H, V]
    return plan.gather(y), frozen, fast, momentum, plan.phase


def products(factor: Tensor) -> Tensor:
    """Return [..., C, C], the product of the factors after s up to t at row t >= column s, else 0."""
    steps = torch.arange(factor.shape[-1], device=factor.device)
    return torch.where(steps[:, None] > steps, factor[..., :, None], 1.0).cumprod(-2).tril()
