"""Entropy of a policy, compared with that of uniform actions, the greatest there is.

| actions | greatest entropy | compared by |
| --- | --- | --- |
| one of n | log n | share H / log n, 1 for uniform actions and 0 for always the same one |
| several choices | sum_i log n_i | share H / sum_i log n_i |
| choices under a mask | the same of the legal ones, on average | the same |
| box of d dimensions | sum_i log(high_i - low_i) | (sum_i log(high_i - low_i) - H) / d, in nats per dimension |

An entropy of densities has no zero, so that of a box is no share of anything: the difference is 0 for uniform actions
and grows by log 2 whenever the range that actions are drawn from is halved. Choices and numbers together, or numbers
without bounds, have neither.
"""

import math

from torch import Tensor
from torch.distributions import Categorical, Distribution

from lifelong.agents.action_heads import JointAction
from lifelong.agents.squashed_normal import SquashedNormal

__all__ = ["against_uniform"]


def against_uniform(distribution: Distribution, entropy: float) -> dict[str, float]:
    """Compare an entropy with that of uniform actions.

    Args:
        distribution: over the actions, whatever its parameters.
        entropy: mean entropy of such distributions, in nats.

    Returns:
        `entropy_share` of discrete actions, `entropy_below_uniform` of a box; nothing where there is only one action.
    """
    choices = distribution.only_choices if isinstance(distribution, JointAction) else distribution
    if isinstance(choices, Categorical):
        legal = (~choices.logits.isneginf()).sum(-1)  # [...] of one choice, [..., K] of several
        several = choices.batch_shape[len(distribution.batch_shape) :]
        logs = [_mean_log(counts) for counts in legal.reshape(-1, several.numel()).unbind(1)]
        return {"entropy_share": entropy / sum(logs)} if sum(logs) > 0 else {}
    if isinstance(distribution, SquashedNormal):
        widths = (distribution.high - distribution.low).expand(distribution.event_shape)
        return {"entropy_below_uniform": (widths.log().sum().item() - entropy) / widths.numel()}
    return {}


def _mean_log(counts: Tensor) -> float:
    """Return the mean logarithm of some counts."""
    same = bool((counts == counts[0]).all())
    return math.log(int(counts[0])) if same else counts.double().log().mean().item()
