"""Normal distribution squashed by tanh into bounds.

    a = m + h tanh(x),    x ~ N(μ, σ²),    m = (high + low) / 2,    h = (high - low) / 2
    log p(a) = Σ [ log N(x; μ, σ²) - log h - 2 (log 2 - |x| - softplus(-2 |x|)) ],    x = artanh((a - m) / h)

The last term, log(1 - tanh² x), is the same for x and -x. Without the bars it would be the difference of two numbers as
large as x where x is negative, rounded accordingly.

TorchRL's `TanhNormal` is the reference that the tests compare with. It is made of transforms that are built and checked
anew for every step, which takes longer than the environment's step. As there, tanh stays 1e-6 away from ±1, so that
every action has a finite x.

Source: Haarnoja et al. 2018, "Soft actor-critic", arXiv 1801.01290, appendix C.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn import functional

__all__ = ["SquashedNormal"]

_LOG_ROOT = math.log(2 * math.pi) / 2


class SquashedNormal(Distribution):
    """Distribution over rows of independent numbers within bounds, [..., A].

    Args:
        loc: [..., A] μ.
        scale: [..., A] σ.
        low: [A], or one number for all.
        high: [A], or one number for all; above `low`.
    """

    has_rsample = True

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """None: nothing is checked."""
        return {}

    def __init__(self, loc: Tensor, scale: Tensor, low: Tensor | float, high: Tensor | float) -> None:
        self.loc, self.scale = loc, scale
        self.low, self.high = (torch.as_tensor(edge, dtype=loc.dtype, device=loc.device) for edge in (low, high))
        self._middle, self._half = (self.high + self.low) / 2, (self.high - self.low) / 2
        self._edge = 1 - torch.finfo(loc.dtype).resolution
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    @property
    def deterministic_sample(self) -> Tensor:
        """Action [..., A] of the mean of x."""
        return self._squashed(self.loc)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return drawn actions [*sample_shape, ..., A]; no gradients."""
        shape = self._extended_shape(torch.Size(sample_shape))
        with torch.no_grad():
            return self._squashed(torch.normal(self.loc.expand(shape), self.scale.expand(shape)))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Return drawn actions [*sample_shape, ..., A] whose gradients flow back to μ and σ."""
        return self.rsample_and_log_prob(sample_shape)[0]

    def rsample_and_log_prob(self, sample_shape: Any = ()) -> tuple[Tensor, Tensor]:
        """Return drawn actions and their log-probabilities, those of the x that was drawn, with its gradients."""
        shape = self._extended_shape(torch.Size(sample_shape))
        x = self.loc + self.scale * torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        return self._squashed(x), self._log_prob(x)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probabilities [...] of actions [..., A]."""
        inside = ((value - self._middle) / self._half).clamp(-self._edge, self._edge)
        return self._log_prob(inside.atanh())

    def _squashed(self, x: Tensor) -> Tensor:
        return self._middle + self._half * x.tanh().clamp(-self._edge, self._edge)

    def _log_prob(self, x: Tensor) -> Tensor:
        z = (x - self.loc) / self.scale
        log_normal = -z.square() / 2 - self.scale.log() - _LOG_ROOT
        size = x.abs()
        log_slope = self._half.log() + 2 * (math.log(2) - size - functional.softplus(-2 * size))
        return (log_normal - log_slope).sum(-1)
