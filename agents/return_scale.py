"""Running scale of returns, by which rewards are divided before anything is learned from them.

    R_t = γ_t R_{t-1} + r_t,    r̂_t = r_t / sqrt(Var R + ε)

R is the discounted return so far of each life, γ_t the discount of the step before: `gamma` within an episode,
`life_gamma` over an episode's end that the memory survives, 0 over a truncation or where the memory ends. Policy and
value share one trunk and one gradient norm, so values of 100 would leave the policy nothing of a clipped step.

Source: Engstrom et al. 2020, "Implementation matters in deep policy gradients", arXiv 2005.12729 (reward scaling);
variances are merged as in Chan, Golub and LeVeque 1983.
"""

import torch
from tensordict import TensorDict
from torch import Tensor

from lifelong.agents.saved_tensors import check_saved

__all__ = ["ReturnScale"]

_EPSILON = 1e-8


class ReturnScale:
    """Divisor of rewards, the standard deviation of all discounted returns so far.

    Args:
        gamma: discount of the next step of the same episode.
        life_gamma: discount of the next episode of the same life.
    """

    def __init__(self, gamma: float, life_gamma: float) -> None:
        self.gamma, self.life_gamma = gamma, life_gamma
        self.returned = torch.zeros(0, dtype=torch.float64)
        """[B] R of each life after its last step, with the discount of the next one already on it."""
        self.moments = torch.zeros(3, dtype=torch.float64)
        """Count, mean, and sum of squared deviations of all R so far."""

    @property
    def divisor(self) -> float:
        """Square root of the variance of R; 1 before there is any."""
        count, _, deviations = self.moments.tolist()
        variance = deviations / count if count else 0.0
        return (variance + _EPSILON) ** 0.5 if variance > 0.0 else 1.0

    def update(self, steps: TensorDict) -> float:
        """Take a segment's rewards into account and return the divisor.

        Args:
            steps: [B, T] as in `Segment`; another B than before begins new lives.

        Raises:
            FloatingPointError: if a reward is not finite; nothing is taken into account then.
        """
        after = steps["next"]
        reward, end, truncated, crossing = (
            after[name][..., 0].cpu() for name in ("reward", "end", "truncated", "episode_end")
        )
        reward = reward.double()
        if not torch.isfinite(reward).all():
            wrong = reward[~torch.isfinite(reward)][0].item()
            raise FloatingPointError(f"rewards must be finite, got {wrong}")
        discount = torch.where(end | truncated, 0.0, torch.where(crossing, self.life_gamma, self.gamma)).double()
        R = self.returned if self.returned.shape == reward.shape[:1] else torch.zeros_like(reward[:, 0])
        returns = torch.empty_like(reward)
        for t in range(reward.shape[1]):
            returns[:, t] = R + reward[:, t]
            R = discount[:, t] * returns[:, t]
        self.returned = R
        self._merge(returns.flatten())
        return self.divisor

    def _merge(self, returns: Tensor) -> None:
        count, mean, deviations = self.moments.tolist()
        n, new = returns.numel(), returns.mean().item()
        total, apart = count + n, new - mean
        deviations += ((returns - new) ** 2).sum().item() + apart**2 * count * n / total
        self.moments = torch.tensor([total, mean + apart * n / total, deviations], dtype=torch.float64)

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a resumed run needs."""
        return {"returned": self.returned, "moments": self.moments}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Load what `state_dict` returned.

        Raises:
            ValueError: if it is not finite, has another dtype or shape, or counts or squares below 0.
        """
        check_saved(
            state, self.state_dict() | {"returned": torch.zeros(state["returned"].numel(), dtype=torch.float64)}
        )
        if state["moments"][[0, 2]].min() < 0:
            raise ValueError(f"moments must count, and sum squares, from 0 on: {state['moments'].tolist()}")
        self.returned, self.moments = state["returned"].clone(), state["moments"].clone()
