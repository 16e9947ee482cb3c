"""Continual backprop: after every update, recycle a small share of the hidden units that are of least use.

For each unit u of a layer, after every update:

    y_u ← η y_u + (1 - η) E|h_u| Σ_k |w_out(k, u)|        utility
    a_u ← a_u + 1                                         age, in updates

    mature: a_u > m;    c ← c + ρ · (number of mature units)
    while c >= 1: the mature unit of least y_u / (1 - η^a_u) is recycled, y_u = a_u = 0, c ← c - 1

η = .99. It is not told when a task changes, and unlike ReDo it needs no threshold of activity.

Source: Dohare et al. 2024, "Loss of plasticity in deep continual learning", Nature 632, arXiv 2306.13812: there after
every step of the optimiser, here after every update, which is many of them. The mean output of a recycled unit is not
added to the next layer's biases.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lifelong.agents.dormant_units import HiddenLayer
from lifelong.agents.recycling import Recycling
from lifelong.agents.regeneration import Regeneration
from lifelong.agents.saved_tensors import check_saved

__all__ = ["ContinualBackprop"]

_ETA = 0.99  # share of a unit's utility that stays in an update
_MOST = 2**53  # updates or units


class ContinualBackprop(Recycling):
    """Recycle the mature units of least use after every update.

    Args:
        layers: hidden layers.
        regeneration: has their weights by name, and draws fresh ones.
        optimizer: Adam, of these weights.
        rate: ρ, share of the mature units that is recycled in an update.
        maturity: m, updates before a unit may be.
    """

    def __init__(
        self,
        layers: Sequence[HiddenLayer],
        regeneration: Regeneration,
        optimizer: torch.optim.Optimizer,
        rate: float,
        maturity: int,
    ) -> None:
        super().__init__(layers, regeneration, optimizer)
        self.rate, self.maturity = rate, maturity
        parameters = regeneration.parameters
        device = next(iter(parameters.values())).device
        self.utility = [torch.zeros(layer.units, device=device) for layer in layers]
        self.age = [torch.zeros(layer.units, dtype=torch.long, device=device) for layer in layers]
        self.owed = [0.0] * len(layers)
        """c of each layer: units to be recycled, whole ones and a rest."""

    def due(self) -> bool:
        """Return that activities are wanted after every update."""
        return True

    @torch.no_grad()
    def choose(self, activities: Sequence[Tensor]) -> list[Tensor]:
        """Count an update and return the numbers of the least useful mature units of each layer, as many as are due."""
        found = []
        for number, (layer, active) in enumerate(zip(self.layers, activities, strict=True)):
            leading = self.regeneration.parameters[layer.outgoing].unflatten(1, (layer.units, -1))
            out = leading.abs().transpose(0, 1).flatten(1).sum(1)
            self.utility[number] = self.utility[number] * _ETA + active * out * (1 - _ETA)
            self.age[number] = self.age[number] + 1
            mature = self.age[number] > self.maturity
            self.owed[number] += self.rate * int(mature.sum())
            count = min(int(self.owed[number]), int(mature.sum()))
            self.owed[number] -= count
            corrected = self.utility[number] / (1 - _ETA ** self.age[number])
            units = torch.where(mature, corrected, torch.inf).argsort(stable=True)[:count]
            self.utility[number][units], self.age[number][units] = 0.0, 0
            found.append(units)
        return found

    def state_dict(self) -> dict[str, Tensor]:
        """Return utilities, ages and rests of all layers, and the count of recycled units."""
        return {
            "utility": torch.cat(self.utility),
            "age": torch.cat(self.age),
            "owed": torch.tensor(self.owed, dtype=torch.float64),
            "recycled": torch.tensor(self.recycled),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load what `state_dict` returned.

        Raises:
            ValueError: if it is of other names, dtypes or shapes, not finite, or a value is negative.
        """
        own = self.state_dict()
        check_saved(state, own, dict.fromkeys(own, (0, _MOST)))
        sizes = [layer.units for layer in self.layers]
        device = self.utility[0].device
        self.utility = list(state["utility"].to(device, copy=True).split(sizes))
        self.age = list(state["age"].to(device, copy=True).split(sizes))
        self.owed, self.recycled = state["owed"].tolist(), int(state["recycled"])
