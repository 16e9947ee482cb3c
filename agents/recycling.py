"""Recycle hidden units: draw the weights that come in anew, zero those that go out.

    w_in(u)  ← φ        fresh weights, as `Regeneration.fresh` draws them
    w_out(u) ← 0
    m, v     ← 0        the optimiser's moments of both

so that the network's output changes by no more than what the recycled units put out. Which units and when is the
business of a method: `Redo` takes those that are dormant, `ContinualBackprop` those that are of least use. Biases are
drawn anew like the other incoming weights. Adam's count of steps is one for a whole tensor and stays, so the first
steps of recycled weights are up to (1 - β₁) / sqrt(1 - β₂) = 3.2 times the learning rate.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lifelong.agents.dormant_units import HiddenLayer
from lifelong.agents.regeneration import Regeneration

__all__ = ["Recycling"]


class Recycling(ABC):
    """Method that recycles hidden units after updates.

    Args:
        layers: hidden layers.
        regeneration: has their weights by name, and draws fresh ones.
        optimizer: of these weights.
    """

    def __init__(
        self, layers: Sequence[HiddenLayer], regeneration: Regeneration, optimizer: torch.optim.Optimizer
    ) -> None:
        self.layers, self.regeneration, self.optimizer = layers, regeneration, optimizer
        self.recycled = 0
        """Units that were recycled; one that was so twice counts twice."""

    @abstractmethod
    def due(self) -> bool:
        """Count an update and return whether activities are wanted after it."""

    @abstractmethod
    def choose(self, activities: Sequence[Tensor]) -> list[Tensor]:
        """Return the numbers of the units of each layer that are to be recycled.

        Args:
            activities: [N] of the units of each layer.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps; nothing here is changed in place later."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load what `state_dict` returned.

        Raises:
            ValueError: if it is of other names, dtypes or shapes, or a value is out of range.
        """

    @torch.no_grad()
    def recycle(self, activities: Sequence[Tensor]) -> None:
        """Recycle the units that the method chooses.

        Args:
            activities: [N] of the units of each layer, in the segment that was just learned from, replayed by the
                weights of now.
        """
        found = self.choose(activities)
        chosen = [(layer, units) for layer, units in zip(self.layers, found, strict=True) if len(units)]
        for layer, units in chosen:
            self.recycled += len(units)
            for name in layer.incoming:
                fresh = self.regeneration.fresh(name)
                rows, *moments = (x.unflatten(0, (-1, layer.units)) for x in self._with_moments(name))
                rows[:, units] = fresh.unflatten(0, (-1, layer.units))[:, units]
                for moment in moments:
                    moment[:, units] = 0.0
        for layer, units in chosen:  # last: they may lead to units of the next layer that were drawn anew
            for x in self._with_moments(layer.outgoing):
                x.unflatten(1, (layer.units, -1))[:, units] = 0.0

    def _with_moments(self, name: str) -> list[Tensor]:
        """Return a parameter's values and the optimiser's moments, if it has made a step, to be changed in place."""
        parameter = self.regeneration.parameters[name]
        state = self.optimizer.state.get(parameter, {})
        return [parameter.data, *(x for entry, x in state.items() if entry != "step")]
