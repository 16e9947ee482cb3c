"""Online EWC: weights that mattered to earlier tasks are drawn to where they were when the task changed.

    L + λ/2 Σ_i F_i (θ_i - θ*_i)²
    at each boundary:   F ← γ F + F_new,    θ* ← θ
    F_new = E[(∂ log π(a_t) / ∂θ)²]

Before the first boundary F is 0. F_new is that of the policy alone, not of the value, whose map is free to
follow the rewards of the next task. It is estimated by the weights that acted, from the steps of the old task in the
segment in which the boundary begins: of B lives with T_b such steps

    F_new = Σ_b (∂/∂θ Σ_t log π(a_bt))² / Σ_b T_b

The gradient of log π(a_t) has mean 0 whatever came before step t, since the action was drawn from π. So products of the
gradients of two steps have mean 0 too, and the square of a life's sum is, in the mean, the sum of its steps' squares:
B backward passes in place of one for each step. The gradient reaches through the memory, as in learning.

It must be told when the task changes (`task_changes.py`), not which task it is.

Sources: Schwarz et al. 2018, "Progress & compress", arXiv 1805.06370 (online: one anchor, one F, γ). Kirkpatrick et al.
2017, "Overcoming catastrophic forgetting in neural networks", arXiv 1612.00796 (the penalty). Here F_new is not
normalised, and there is one network in place of a knowledge base and an active column.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lifelong.agents.saved_tensors import check_saved

__all__ = ["Consolidation"]


class Consolidation:
    """Penalty of online EWC.

    Args:
        parameters: by name.
        strength: λ.
        decay: γ.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], strength: float, decay: float) -> None:
        self.parameters, self.strength, self.decay = dict(parameters), strength, decay
        self.anchor = {name: x.detach().clone() for name, x in self.parameters.items()}
        """θ* by name."""
        self.fisher = {name: torch.zeros_like(x) for name, x in self.anchor.items()}
        """F by name."""

    def consolidate(self, fisher: Mapping[str, Tensor]) -> None:
        """Take the importance of the weights for the task that ends into account.

        Args:
            fisher: F_new by name.
        """
        for name, x in self.parameters.items():
            self.fisher[name] = self.decay * self.fisher[name] + fisher[name]
            self.anchor[name] = x.detach().clone()

    def add_gradients(self) -> None:
        """Add the gradient of the penalty, λ F (θ - θ*), to those of the loss."""
        for name, x in self.parameters.items():
            if x.grad is not None:
                x.grad.addcmul_(self.fisher[name], x.detach() - self.anchor[name], value=self.strength)

    def penalty(self) -> float:
        """Return λ/2 Σ F (θ - θ*)²."""
        parts = [(self.fisher[n] * (x.detach() - self.anchor[n]).square()).sum() for n, x in self.parameters.items()]
        return self.strength / 2 * float(torch.stack(parts).sum())

    def state_dict(self) -> dict[str, Tensor]:
        """Return F and θ*; tensors are replaced, not written over."""
        named = {"fisher": self.fisher, "anchor": self.anchor}
        return {f"{what}.{name}": x for what, of in named.items() for name, x in of.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load what `state_dict` returned.

        Raises:
            ValueError: if it is not finite, or of other names, dtypes or shapes, or an F is negative.
        """
        check_saved(state, self.state_dict())
        for name, x in self.parameters.items():
            found = state[f"fisher.{name}"]
            if found.numel() and found.min().item() < 0:
                raise ValueError(f"fisher.{name} must not be negative, got {found.min().item()}")
            self.fisher[name] = found.to(x.device, copy=True)
            self.anchor[name] = state[f"anchor.{name}"].to(x.device, copy=True)
