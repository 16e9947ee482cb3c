"""Hidden units of a policy: where their weights lie, how active they are in some steps, which are dormant.

    s_u = E |h_u| / mean_k E |h_k|,    dormant: s_u <= τ        k: the units of its layer

| layer | unit h_u | incoming weights | outgoing weights |
| --- | --- | --- | --- |
| gated MLP of encoder and backbone | SiLU(a_u) b_u, what the last map reads | rows u of A and of B | column u |
| convolution with ReLU | a channel | filter u | its part of the next layer's inputs |

A layer whose units are all silent is dormant as a whole. Memories have no units here: they have measures of their own.

Source: Sokar et al. 2023, "The dormant neuron phenomenon in deep reinforcement learning", arXiv 2302.12902.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lifelong.agents.actor_critic import ActorCritic
from lifelong.agents.backbone import GatedMLP
from lifelong.agents.image import Image

__all__ = ["TAU", "HiddenLayer", "activity", "dormant", "hidden_layers", "unit_activities"]

TAU = 0.025
"""Activity over that of its layer up to which a unit is dormant, as in the source."""


class HiddenLayer(NamedTuple):
    """Hidden layer of N units, and the names of their weights in the policy.

    Args:
        units: N.
        incoming: parameters of k N rows: row j is of unit j mod N.
        outgoing: weight [M, N s, ...]: columns j s to (j + 1) s are of unit j.
        module: of which they are the first input, [..., N]; with `channels` the output, [n, N, height, breadth].
        channels: whether a unit is a channel of an image.
    """

    units: int
    incoming: tuple[str, ...]
    outgoing: str
    module: nn.Module
    channels: bool = False


def activity(h: Tensor) -> Tensor:
    """Return the activity E|h_u| of each unit, [N], of a layer's outputs h [n, N] at n steps."""
    return h.abs().mean(0)


def dormant(active: Tensor, tau: float = TAU) -> Tensor:
    """Return which units of a layer are dormant, [N] bool.

    Args:
        active: [N] activity of each unit.
        tau: share of the layer's mean activity up to which a unit is dormant.
    """
    return active <= tau * active.mean()


def hidden_layers(policy: ActorCritic) -> list[HiddenLayer]:
    """Return the hidden layers of encoder and backbone."""
    found = []
    for name, module in policy.named_modules():
        if isinstance(module, GatedMLP):
            rows, columns = f"{name}.factors", f"{name}.product.weight"
            units = module.product.in_features
            found.append(HiddenLayer(units, (f"{rows}.weight", f"{rows}.bias"), columns, module.product))
        if isinstance(module, Image):
            for conv, relu, after in (("conv.0", "conv.1", "conv.2"), ("conv.2", "conv.3", "linear")):
                rows, columns = f"{name}.{conv}", f"{name}.{after}.weight"
                units = len(policy.get_parameter(f"{rows}.bias"))
                made_by = module.get_submodule(relu)
                found.append(HiddenLayer(units, (f"{rows}.weight", f"{rows}.bias"), columns, made_by, channels=True))
    return found


@contextmanager
def unit_activities(policy: ActorCritic) -> Iterator[list[Tensor]]:
    """Collect the activity [N] of each of `hidden_layers` over all steps that the policy is run on inside the block.

    The list is filled when the block ends; layers that were not run are left out.
    """
    found: list[Tensor] = []
    layers = hidden_layers(policy)
    parts: list[list[tuple[Tensor, int]]] = [[] for _ in layers]

    def add(number: int, _: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        h = output.movedim(1, -1) if layers[number].channels else inputs[0]
        h = h.flatten(0, -2)
        parts[number].append((activity(h), len(h)))

    handles = [layer.module.register_forward_hook(partial(add, number)) for number, layer in enumerate(layers)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
        for of_layer in filter(None, parts):
            steps = sum(n for _, n in of_layer)
            found.append(torch.stack([active * (n / steps) for active, n in of_layer]).sum(0))
