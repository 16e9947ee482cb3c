"""Recycle dormant units (ReDo): after every N updates all hidden units u with s_u <= τ (see `dormant_units.py`).

It is not told when a task changes. The paper's τ = .025 is of ReLU units, which fall silent. Products of a gated MLP do
not: after a million steps of rooms the least active unit has .09 to .23 of its layer's mean, and 1 to 6 % of them have
at most .2. They have no upper bound either: where a few units are far more active than the rest, even fresh ones lie
below τ times the mean, and are recycled again and again.

Source: Sokar et al. 2023, "The dormant neuron phenomenon in deep reinforcement learning", arXiv 2302.12902.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lifelong.agents.dormant_units import HiddenLayer, dormant
from lifelong.agents.recycling import Recycling
from lifelong.agents.regeneration import Regeneration
from lifelong.agents.saved_tensors import check_saved

__all__ = ["Redo"]

_MOST = 2**53  # updates or units


class Redo(Recycling):
    """Recycle dormant units after every so many updates.

    Args:
        layers: hidden layers.
        regeneration: has their weights by name, and draws fresh ones.
        optimizer: Adam, of these weights.
        every: N, updates from one time to the next.
        tau: τ.
    """

    def __init__(
        self,
        layers: Sequence[HiddenLayer],
        regeneration: Regeneration,
        optimizer: torch.optim.Optimizer,
        every: int,
        tau: float,
    ) -> None:
        super().__init__(layers, regeneration, optimizer)
        self.every, self.tau, self.updates = every, tau, 0
        self.least = math.nan
        """Least activity of a unit over its layer's mean when units were chosen last."""

    def due(self) -> bool:
        """Count an update and return whether units are to be recycled after it."""
        self.updates += 1
        return self.updates % self.every == 0

    def choose(self, activities: Sequence[Tensor]) -> list[Tensor]:
        """Return the numbers of the dormant units of each layer."""
        self.least = min(float(active.min() / active.mean()) for active in activities)
        return [dormant(active, self.tau).nonzero()[:, 0] for active in activities]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the counts of updates and of recycled units."""
        return {"updates": torch.tensor(self.updates), "recycled": torch.tensor(self.recycled)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load what `state_dict` returned.

        Raises:
            ValueError: if it is of other names, dtypes or shapes, or a count is negative.
        """
        own = self.state_dict()
        check_saved(state, own, dict.fromkeys(own, (0, _MOST)))
        self.updates, self.recycled = int(state["updates"]), int(state["recycled"])
