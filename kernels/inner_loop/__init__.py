"""Test-time training of a small network per head, by gradient descent in mini-batches."""

from torch import Tensor

from lifelong.kernels.backends import pick, transformed

from .chunk import inner_loop as chunk
from .muon import orthogonal_flops
from .network import Layers, Loss, size
from .parametrisation import Parametrisation
from .reference import inner_loop as reference
from .rules import Rules, check
from .window import last_pairs

__all__ = ["Loss", "Parametrisation", "Rules", "inner_loop", "last_pairs", "orthogonal_flops", "size"]


def inner_loop(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weights: Tensor,
    frozen: Tensor,
    fast: Tensor,
    momentum: Tensor | None,
    phase: Tensor,
    start: Tensor,
    layers: Layers,
    batch: int,
    rules: Rules,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor]:
    """Compute `reference.inner_loop` by the faster back end for this length; arguments as there.

    Raises:
        ValueError: if arguments do not fit each other, naming the one.
    """
    check(q, k, v, weights, frozen, fast, momentum, phase, start, layers, batch, rules)
    given = (q, k, v, weights, frozen, fast, momentum, rules.rate, rules.decay, rules.drag, rules.scale, rules.limit)
    form = reference if q.shape[1] == 1 or batch == 1 or transformed() else chunk
    if rules.momentum_of != "directions" and pick("auto", *given, rules.trust, *(rules.norm or ())) == "cpu":
        from .cpu import inner_loop as form  # numba is imported at the first use
    return form(q, k, v, weights, frozen, fast, momentum, phase, start, layers, batch, rules)
