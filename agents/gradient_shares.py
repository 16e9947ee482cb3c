"""How much of the gradient in the shared weights is the policy's, and how much the value's.

    g_π = ∂ L_clip / ∂θ,    g_V = c_V ∂ L_V / ∂θ,    share of the value = ||g_V|| / (||g_π|| + ||g_V||)

θ are the weights that both losses reach: encoder and backbone. Clipping scales both by one factor, so where the value's
share is near 1 the policy is left with next to nothing of a clipped step.
"""

import torch
from torch import Tensor, nn

from lifelong.agents.ppo import PPO
from lifelong.agents.replay import entries
from lifelong.agents.rollout import Segment

__all__ = ["gradient_norms"]


def gradient_norms(learner: PPO, segment: Segment, lives: int, steps: int) -> tuple[float, float]:
    """Return the norms of the policy's and of the value's gradient in the weights that both reach.

    They are those of one more minibatch of this segment, without the entropy bonus. Learner and segment stay as they
    are, the gradients kept in the weights too; sampled memories and entropies draw from torch's random numbers.

    Args:
        learner: after it learned from the segment.
        segment: just collected.
        lives: the most lives of it that are replayed, and no more than a minibatch has.
        steps: the most steps of each, from the first on.

    Returns:
        policy: ||g_π||.
        value: ||g_V||; 0 if the value loss has no weight.
    """
    lives = min(lives, -(-len(segment.steps) // learner.config.minibatches))
    some = (slice(lives), slice(steps))
    part = {name: x[some] for name, x in learner.batch(segment.steps).items()}  # normalised over the whole segment
    seen = {path: x[some] for path, x in entries(segment.steps).items()}
    with torch.enable_grad():
        losses, weight = learner.losses(part, seen, segment.state[:lives])[0], learner.config.value_coef
        value = weight * losses.value
    weights = [*learner.policy.encoder.parameters(), *learner.policy.backbone.parameters()]
    return _gradient_norm(losses.policy, weights), _gradient_norm(value, weights) if weight else 0.0


def _gradient_norm(loss: Tensor, weights: list[nn.Parameter]) -> float:
    gradients = torch.autograd.grad(loss, weights, retain_graph=True, materialize_grads=True)
    return float(torch.stack([gradient.norm() for gradient in gradients]).norm())
