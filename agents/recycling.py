"""Recycle dormant units (ReDo): draw the weights that come in anew, zero those that go out.

After every N updates, for each unit u of a hidden layer with s_u <= τ (see `dormant_units.py`):

    w_in(u)  ← φ        fresh weights, as `Regeneration.fresh` draws them
    w_out(u) ← 0
    m, v     ← 0        Adam's moments of both

so that the network's output changes by no more than what dormant units put out. Activities are those of the segment
that was just learned from, replayed by the weights of now. It is not told when a task changes. Products of a gated MLP
have no upper bound: where a few units are far more active than the rest, even fresh ones lie below τ times the mean,
and are recycled again and again.

Source: Sokar et al. 2023, "The dormant neuron phenomenon in deep reinforcement learning", arXiv 2302.12902. Here biases
are drawn anew like the other incoming weights. Adam's count of steps is one for a whole tensor and stays, so the first
steps of recycled weights are up to (1 - β₁) / sqrt(1 - β₂) = 3.2 times the learning rate.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lifelong.agents.dormant_units import HiddenLayer, dormant
from lifelong.agents.regeneration import Regeneration
from lifelong.agents.saved_tensors import check_saved

__all__ = ["Recycling"]

_MOST = 2**53  # updates or units


class Recycling:
    """Recycles dormant units after every so many updates.

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
        self.layers, self.regeneration, self.optimizer = layers, regeneration, optimizer
        self.every, self.tau = every, tau
        self.updates, self.recycled = 0, 0
        """Updates so far, and units that were recycled; one that was so twice counts twice."""

    def due(self) -> bool:
        """Count an update and return whether units are to be recycled after it."""
        self.updates += 1
        return self.updates % self.every == 0

    @torch.no_grad()
    def recycle(self, activities: Sequence[Tensor]) -> None:
        """Recycle the units that are dormant.

        Args:
            activities: [N] of the units of each layer.
        """
        found = [dormant(active, self.tau).nonzero()[:, 0] for active in activities]
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
        """Return a parameter's values and Adam's moments, if it has made a step, to be changed in place."""
        parameter = self.regeneration.parameters[name]
        state = self.optimizer.state.get(parameter, {})
        return [parameter.data, *(state[entry] for entry in ("exp_avg", "exp_avg_sq") if entry in state)]

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
