"""Keep weights plastic: L2 Init pulls them to their initial values, shrink and perturb mixes fresh ones into them.

    L2 Init              L + λ ‖θ - θ₀‖²
    shrink and perturb   θ ← (1 - s) θ + s φ    after every update

θ₀ are the weights before anything was learned. φ are those of each parameter in a random order: fresh ones of the same
mean and spread, whatever they were drawn from. Neither is told when a task changes.

Sources: Kumar, Marklund and Van Roy 2023, "Maintaining plasticity in continual learning via regenerative
regularization", arXiv 2308.11958. Ash and Adams 2020, "On warm-starting neural network training", arXiv 1910.08475,
shrink and perturb with normal noise whenever new data come; a little at a time, as here, Juliani and Ash 2024, "A study
of plasticity loss in on-policy deep reinforcement learning", arXiv 2405.19153.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lifelong.agents.saved_tensors import check_saved

__all__ = ["Regeneration"]


class Regeneration:
    """Regularise weights towards their initial values (L2 Init) and mix fresh ones into them (shrink and perturb).

    Args:
        parameters: by name, with their initial values.
        l2_init: λ.
        shrink_perturb: s, between 0 and 1.
        generator: of the random orders; None for torch's own.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        l2_init: float = 0.0,
        shrink_perturb: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        self.parameters = dict(parameters)
        self.l2_init, self.shrink_perturb, self.generator = l2_init, shrink_perturb, generator
        self.initial = {name: x.detach().clone() for name, x in self.parameters.items()}

    def add_gradients(self) -> None:
        """Add the gradient of L2 Init, 2 λ (θ - θ₀), to those of the loss."""
        if not self.l2_init:
            return
        for name, x in self.parameters.items():
            if x.grad is not None:
                x.grad.add_(x.detach() - self.initial[name], alpha=2 * self.l2_init)

    def mix(self) -> None:
        """Shrink the weights and perturb them by fresh ones."""
        if not self.shrink_perturb:
            return
        for name, x in self.parameters.items():
            x.data.lerp_(self.fresh(name), self.shrink_perturb)

    def reset(self) -> None:
        """Set all weights to their initial values."""
        for name, x in self.parameters.items():
            x.data.copy_(self.initial[name])

    def fresh(self, name: str) -> Tensor:
        """Draw fresh weights φ of a parameter: its initial ones in a random order."""
        initial = self.initial[name]
        order = torch.randperm(initial.numel(), generator=self.generator).to(initial.device)
        return initial.flatten()[order].view_as(initial)

    def distance(self) -> float:
        """Return ‖θ - θ₀‖."""
        apart: Sequence[Tensor] = [x.detach() - self.initial[name] for name, x in self.parameters.items()]
        return float(nn.utils.get_total_norm(apart))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the initial weights by name; they never change."""
        return self.initial

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load what `state_dict` returned.

        Raises:
            ValueError: if it is not finite, or of other names, dtypes or shapes.
        """
        check_saved(state, self.initial)
        self.initial = {name: x.to(self.initial[name].device, copy=True) for name, x in state.items()}
