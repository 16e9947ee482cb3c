r"""The network trained at test time, a mini-batch at a time, in matrix products.

Every life's steps are laid out in mini-batches of its own, the phase its slot, so that starts and phases may fall
anywhere; the n-th mini-batches of all lives are done together. A slot without a step changes nothing.

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

__all__ = ["inner_loop", "products", "slots"]


def slots(phase: Tensor, start: Tensor, batch: int) -> tuple[Tensor, int, Tensor]:
    """Lay out the steps of every life in its own mini-batches.

    Args:
        phase: [B, 1] int64, steps since the mini-batch began.
        start: [B, T] bool, true where a step is the first of a life.
        batch: C.

    Returns:
        place: [B, T] int64, mini-batch of the step times C plus its phase.
        count: N, the most mini-batches that any life has.
        phase: [B, 1] after the last step.
    """
    steps = torch.arange(start.shape[1], device=start.device)
    first = torch.where(start, steps, -phase).cummax(1).values  # when the step's life, or its mini-batch, began
    at = (steps - first) % batch  # [B, T] its phase
    begins = (at == 0) & (steps > 0)
    number = begins.cumsum(1)
    return number * batch + at, int(number.max()) + 1, (at[:, -1:] + 1) % batch


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
    """Do what `reference.inner_loop` does, a mini-batch at a time; arguments as there."""
    B = q.shape[0]
    place, count, phase = slots(phase, start, batch)
    lives = torch.arange(B, device=q.device)[:, None]

    def laid_out(x: Tensor) -> Tensor:
        """[B, T, ...] -> [B, N, C, ...], zero where there is no step."""
        table = x.new_zeros(B, count * batch, *x.shape[2:]).index_put((lives, place), x)
        cut: Tensor = table.unflatten(1, (count, batch))
        return cut

    def heads_first(x: Tensor) -> Tensor:
        """[B, T, H, ...] -> [B, N, H, C, ...]."""
        return laid_out(x).movedim(3, 2)

    there = laid_out(torch.ones_like(start))  # [B, N, C]
    fresh = laid_out(start)[:, :, 0, None, None]  # a life starts in slot 0 only
    full = there[:, :, -1, None, None]
    Q, X, target, theta = heads_first(q), heads_first(k), heads_first(v), heads_first(rate)
    limits = None if limit is None else heads_first(limit)

    one = torch.ones((), dtype=q.dtype, device=q.device)
    kept = one.expand_as(theta) if decay is None else heads_first(decay).exp()
    share, own = products(kept), kept.cumprod(-1)  # [B, N, H, C, C], [B, N, H, C]
    own_momentum = last = end = own  # of a momentum that there is not
    if momentum is not None:
        assert drag is not None
        eta = torch.where(there[:, :, None], heads_first(drag), one)
        pulled = share * there[:, :, None, None]  # only a step adds the momentum to the weights
        lasting, theta = products(eta), (1 - eta) * theta
        own_momentum = (pulled @ eta.cumprod(-1)[..., None])[..., 0]  # [B, N, H, C]
        share, last, end = pulled @ lasting, lasting[..., -1, :], eta.prod(-1)
    G = share * theta[..., None, :]  # [B, N, H, C, C]
    rho = None if scale is None else scale[:, :, None]

    ys = []
    for n in range(count):
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
    return y[lives, place], frozen, fast, momentum, phase


def products(factor: Tensor) -> Tensor:
    """Return [..., C, C], the product of the factors after s up to t at row t >= column s, else 0."""
    steps = torch.arange(factor.shape[-1], device=factor.device)
    return torch.where(steps[:, None] > steps, factor[..., :, None], 1.0).cumprod(-2).tril()
