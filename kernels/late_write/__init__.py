"""Test-time training of a small network per head that accumulates gradients and is updated once per period."""

from torch import Tensor

from lifelong.kernels.backends import loops_only, pick
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
    bound: bool = True,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor]:
    """Compute `reference.late_write` by the faster back end for this length; arguments as there.

    Raises:
        ValueError: if arguments do not fit each other, naming the one.
    """
    check(
        q, k, v, rate, weights, fast, gathered, momentum, phase, start, layers, period,
        batch, network, keep, stride,
    )  # fmt: skip
    # with momentum the plain loop runs Newton-Schulz at every step, `chunk` only where a period ends
    form = reference if (q.shape[1] == 1 and momentum is None) or loops_only() else chunk
    plain = network == "mlp" and momentum is None
    if plain and not loops_only() and pick("auto", q, k, v, rate, weights, fast, gathered) == "cpu":
        from .cpu import late_write as form  # numba is imported at the first use
    return form(
        q, k, v, rate, weights, fast, gathered, momentum, phase, start, layers, period,
        batch=batch, network=network, keep=keep, stride=stride, bound=bound,
    )  # fmt: skip
