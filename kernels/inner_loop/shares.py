r"""Coefficients of the offsets D_t and the momentum M_t within a mini-batch, as linear functions of its inputs.

    M_t = run_t M + sum_s gathered_ts g_s                           g_s: gradients, all at the same weights
    D_t = own_t D + drift_t M - sum_s steps_ts g_s = own_t D + sum_s pull_ts M_s

A slot without a step keeps everything and adds nothing. With windows there are more gradients than steps.

Shapes: B lives, N mini-batches, H heads, C slots, S gradients, C without windows.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .rules import Rules
from .schedule import Schedule

__all__ = ["MomentumShares", "Shares", "shares_of"]


class MomentumShares(NamedTuple):
    """Shares that exist with momentum only."""

    drift: Tensor
    """[B, N, H, C] of the incoming M in D_t."""
    run: Tensor
    """[B, N, H, C] of the incoming M in M_t."""
    last: Tensor
    """[B, N, H] of the incoming M in M_C."""
    gathered: Tensor
    """[B, N, H, C, S] of a gradient in M_t."""
    pull: Tensor
    """[B, N, H, C, C] of M_s in D_t."""


class Shares(NamedTuple):
    """Shares of all mini-batches."""

    own: Tensor
    """[B, N, H, C] of the incoming D in D_t."""
    steps: Tensor
    """[B, N, H, C, S] of the step against a gradient in D_t."""
    momentum: MomentumShares | None

    def of(self, n: int) -> "Shares":
        """Return the shares of the n-th mini-batches, without their axis N."""
        momentum = None if self.momentum is None else MomentumShares(*(z[:, n] for z in self.momentum))
        return Shares(self.own[:, n], self.steps[:, n], momentum)


def shares_of(plan: Schedule, rules: Rules, weight: Tensor | None) -> Shares:
    """Return the shares of all mini-batches.

    Args:
        plan: the mini-batches.
        rules: rates, decay and momentum.
        weight: [B, N, H, C, S] weight of a pair in the gradient of a step; None where each step has its own pair.
    """
    theta, there, one = plan.lay_out_heads(rules.rate), plan.there[:, :, None], rules.rate.new_ones(())
    kept = one.expand_as(theta) if rules.decay is None else plan.lay_out_heads(rules.decay).exp()
    share, own = _products(kept), kept.cumprod(-1)  # [B, N, H, C, C], [B, N, H, C]
    if rules.drag is None:
        steps = share * theta[..., None, :]
        return Shares(own, steps if weight is None else steps @ weight, None)

    eta = torch.where(there, plan.lay_out_heads(rules.drag), one)
    lasting, run = _products(eta), eta.cumprod(-1)
    if rules.momentum_of == "steps":
        by, pull, sign = (1 - eta) * theta, share * there[..., None, :], 1.0  # only a step adds M to the weights
    else:
        by, pull, sign = 1 - eta, share * theta[..., None, :], -1.0
    if weight is None:
        steps, gathered = (pull @ lasting) * by[..., None, :], lasting * by[..., None, :]
    else:
        gathered = lasting @ (by[..., None] * weight)
        steps = pull @ gathered
    drift = sign * (pull @ run[..., None])[..., 0]
    return Shares(own, steps, MomentumShares(drift, run, eta.prod(-1), -sign * gathered, sign * pull))


def _products(factor: Tensor) -> Tensor:
    """Return [..., C, C], the product of the factors after s up to t at row t >= column s, else 0."""
    steps = torch.arange(factor.shape[-1], device=factor.device)
    return torch.where(steps[:, None] > steps, factor[..., :, None], 1.0).cumprod(-2).tril()
