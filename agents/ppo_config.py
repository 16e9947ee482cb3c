"""Hyperparameters of PPO, as data: a command line reads them without torch."""

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["PPOConfig"]


@dataclass(frozen=True, slots=True)
class PPOConfig:
    """PPO's hyperparameters.

    Args:
        lr: learning rate of Adam; a run lowers it linearly, and the entropy bonus with it.
        epochs: passes over every segment.
        minibatches: parts into which the lives of a segment are split.
        clip_epsilon: clipping range of the probability ratio.
        gamma: discount of the next step of the same episode.
        life_gamma: discount of the next episode of the same life; through it an episode counts for later ones.
        gae_lambda: lambda of generalised advantage estimation.
        entropy_coef: weight of the entropy bonus.
        value_coef: weight of the value loss.
        advantage_floor: least standard deviation that advantages are divided by. Where rewards are rare most segments
            hold none, and their own spread would blow the value's errors up to the size of a success.
        normalize_reward: whether rewards are divided by the running spread of returns (`ReturnScale`): without it
            values of 100 make gradients of which clipping leaves the policy nothing.
        max_grad_norm: gradient norm that is clipped to.
        target_kl: divergence from the policy that collected the segment, estimated on each minibatch before its step,
            above which nothing more is learned from the segment; 0 is no bound. Where a task is solved, advantages are
            the value's errors and nothing else, and normalising makes them as large as any.
        tbptt: steps over which gradients flow back through a carried memory; 0 is the whole segment.
    """

    lr: float = 3e-3
    epochs: int = 2
    minibatches: int = 4
    clip_epsilon: float = 0.2
    gamma: float = 0.99
    life_gamma: float = 0.0
    gae_lambda: float = 0.95
    entropy_coef: float = 0.01
    value_coef: float = 0.5
    advantage_floor: float = 1e-6
    normalize_reward: Literal["on", "off"] = "on"
    max_grad_norm: float = 0.5
    tbptt: int = 0
    target_kl: float = 0.0

    def __post_init__(self) -> None:
        """Validate the ranges."""
        for name in ("lr", "epochs", "minibatches", "clip_epsilon", "advantage_floor", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive: {name}={getattr(self, name)}")
        for name in ("lr", "clip_epsilon", "advantage_floor", "entropy_coef", "value_coef", "target_kl"):
            if math.isinf(getattr(self, name)):
                raise ValueError(f"{name} must be finite: {name}={getattr(self, name)}")
        for name in ("gamma", "life_gamma", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1]: {name}={getattr(self, name)}")
        for name in ("entropy_coef", "value_coef", "tbptt", "target_kl"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative: {name}={getattr(self, name)}")
        if self.normalize_reward not in ("on", "off"):
            raise ValueError(f"normalize_reward must be on or off: normalize_reward={self.normalize_reward}")
