"""A network that gathers what it should learn, and is written once a period of its life."""

from torch import Tensor

from lifelong.kernels.inner_loop.network import Layers

from .chunk import late_write as chunk
from .reference import Network, check, late_write as reference

__all__ = ["late_write"]


def late_write(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rate: Tensor,
    weights: Tensor,
    fast: Tensor,
    gathered: Tensor,
    momentum: Tensor | None,
    phase: Tensor,
    start: Tensor,
    layers: Layers,
    period: int,
    *,
    batch: int | None = None,
    network: Network = "mlp",
    keep: Tensor | None = None,
    stride: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor]:
    """Run the recurrence of `reference.py`, where the arguments are explained, in the faster form for this length.

    Raises:
        ValueError: if arguments do not fit each other, naming the one.
    """
    check(
        q, k, v, rate, weights, fast, gathered, momentum, phase, start, layers, period,
        batch, network, keep, stride,
    )  # fmt: skip
    # with momentum every step of the plain loop makes a push orthogonal
    form = reference if q.shape[1] == 1 and momentum is None else chunk
    return form(
        q, k, v, rate, weights, fast, gathered, momentum, phase, start, layers, period,
        batch=batch, network=network, keep=keep, stride=stride,
    )  # fmt: skip
