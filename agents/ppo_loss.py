"""Losses of PPO with a clipped ratio, written out.

    L_π = -E[min(r A, clip(r, 1 - ε, 1 + ε) A)],    r = π(a) / π_old(a)
    L_V = E[(V - target)^2]
    H   = E[entropy of π]

TorchRL's `ClipPPOLoss` is the reference that the tests compare with; it calls policy and value function through
TensorDicts, which takes longer than the arithmetic of a small minibatch.

Source: Schulman et al. 2017, "Proximal policy optimization algorithms", arXiv 1707.06347.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn import functional

from lifelong.agents.action_heads import entropy_of

__all__ = ["Losses", "clipped_losses"]


@dataclass(frozen=True, slots=True)
class Losses:
    """Means over a minibatch.

    Args:
        policy: L_π.
        value: L_V.
        entropy: H, in nats.
        clip_fraction: share of the ratios that were clipped; no gradient.
    """

    policy: Tensor
    value: Tensor
    entropy: Tensor
    clip_fraction: Tensor


def clipped_losses(
    distribution: Distribution,
    log_ratio: Tensor,
    advantage: Tensor,
    value: Tensor,
    target: Tensor,
    clip_epsilon: float,
    *,
    entropy: bool = True,
) -> Losses:
    """Return the losses of a minibatch, batch [...] of all arguments.

    Args:
        distribution: over actions, of the policy that learns.
        log_ratio: log r of the actions that were taken.
        advantage: A.
        value: V.
        target: of the values.
        clip_epsilon: ε.
        entropy: whether the entropy is needed; else it is 0, and no random numbers are drawn for it.
    """
    least = math.log1p(-clip_epsilon) if clip_epsilon < 1 else -math.inf  # r is positive anyway
    clipped = log_ratio.clamp(least, math.log1p(clip_epsilon))
    gain = torch.minimum(log_ratio.exp() * advantage, clipped.exp() * advantage)
    return Losses(
        policy=-gain.mean(),
        value=functional.mse_loss(value, target),
        entropy=entropy_of(distribution).mean() if entropy else log_ratio.new_zeros(()),
        clip_fraction=(clipped != log_ratio).float().mean().detach(),
    )
