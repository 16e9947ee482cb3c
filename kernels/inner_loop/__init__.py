"""Test-time training of a small network per head, by gradient descent in mini-batches."""

from torch import Tensor

from .chunk import inner_loop as chunk, products
from .muon import STEPS as MUON_STEPS, orthogonal
from .network import Layers, Loss, Norm, descent, read, size, split
from .parametrisation import Parametrisation
from .reference import check, inner_loop as reference
from .schedule import Schedule, schedule

__all__ = [
    "MUON_STEPS",
    "Schedule",
    "descent",
    "inner_loop",
    "orthogonal",
    "products",
    "read",
    "schedule",
    "size",
    "split",
]


def inner_loop(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rate: Tensor,
    weights: Tensor,
    frozen: Tensor,
    fast: Tensor,
    momentum: Tensor | None,
    phase: Tensor,
    start: Tensor,
    layers: Layers,
    batch: int,
    *,
    decay: Tensor | None = None,
    drag: Tensor | None = None,
    scale: Tensor | None = None,
    norm: Norm | None = None,
    loss: Loss = "l2",
    limit: Tensor | None = None,
    parametrisation: Parametrisation = "identity",
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor]:
    """Compute `reference.inner_loop` by the faster back end for this length; arguments as there.

    Raises:
        ValueError: if arguments do not fit each other, naming the one.
    """
    check(
        q, k, v, rate, weights, frozen, fast, momentum, phase, start, layers, batch,
        decay, drag, scale, norm, loss, limit, parametrisation,
    )  # fmt: skip
    form = reference if q.shape[1] == 1 or batch == 1 else chunk
    return form(
        q, k, v, rate, weights, frozen, fast, momentum, phase, start, layers, batch,
        decay=decay, drag=drag, scale=scale, norm=norm, loss=loss, limit=limit, parametrisation=parametrisation,
    )  # fmt: skip
