"""Rules of test-time training: rates, decay, momentum, loss and parametrisation; validation of all arguments.

Shapes: B lives, T steps, H heads, K key dim, V value dim, C steps of a mini-batch, P weights of all layers, c pairs
of a window.
"""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from lifelong.kernels.arguments import examine

from .network import Layers, Loss, Norm, size
from .parametrisation import Parametrisation

__all__ = ["MomentumOf", "Rules", "check"]

MomentumOf = Literal["steps", "gradients", "directions"]


class Rules(NamedTuple):
    """Learning rate, and what differs from plain gradient descent."""

    rate: Tensor
    """[B, T, H] theta, >= 0."""
    decay: Tensor | None = None
    """[B, T, H] log of the factor kept, <= 0; None keeps everything."""
    drag: Tensor | None = None
    """[B, T, H] eta, 0 to 1; required if and only if there is momentum."""
    momentum_of: MomentumOf = "steps"
    """What the momentum adds up: `steps` (theta g), `gradients` (g), or gradients whose sum is made orthogonal, see
    `muon.py`, before it is added to the weights (`directions`)."""
    scale: Tensor | None = None
    """[H, C] rho, share of the mini-batch's changes that a step reads, by phase; the last share remains."""
    norm: Norm | None = None
    """Scale and offset [H, V] of a layer norm at the end of the network."""
    loss: Loss = "l2"
    """`l2`, `l3` or `huber`: see `network.py`."""
    limit: Tensor | None = None
    """[B, c - 1 + T, H] length beyond which the error of the loss `huber` is clipped, for each pair."""
    parametrisation: Parametrisation = "identity"
    """The weights as a function of the accumulated ones: see `parametrisation.py`."""
    trust: Tensor | None = None
    """[B, c - 1 + T, H] gamma: a step's gradient is the mean over the last c pairs, each times its gamma; see
    `window.py`. None trains a step on its own pair."""
    bound: bool = True
    """Whether the gradient is normalised, so that no step overshoots: see `network.py`."""


def check(
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
) -> None:
    """Validate shapes and dtypes; the arguments are those of `reference.inner_loop`.

    Raises:
        ValueError: naming the argument, what it is and what is wanted.
    """
    if q.ndim != 4:
        raise ValueError(f"q must be [B, T, H, K], got {list(q.shape)}")
    if batch < 1:
        raise ValueError(f"batch must be positive: batch={batch}")
    B, T, H, K = q.shape
    V, P, pairs = v.shape[-1], size(layers), T
    if rules.trust is not None:
        pairs = rules.trust.shape[1]
        if pairs < T:
            raise ValueError(f"trust must have a pair for every step: {T} steps, {pairs} pairs")
    wide = K
    for rows, columns in layers:
        if columns not in (wide, wide + 1):
            raise ValueError(f"layers must have {wide} columns, or {wide + 1} with a bias, got {columns}")
        wide = rows
    if wide != V:
        raise ValueError(f"layers must end in {V} rows, the width of v, got {wide}")
    norm = rules.norm
    wanted = {
        "k": (k, [B, pairs, H, K]),
        "v": (v, [B, pairs, H, V]),
        "weights": (weights, [H, P]),
        "frozen": (frozen, [B, H, P]),
        "fast": (fast, [B, H, P]),
        "momentum": (momentum, [B, H, P]),
        "phase": (phase, [B, 1]),
        "start": (start, [B, T]),
        "rate": (rules.rate, [B, T, H]),
        "decay": (rules.decay, [B, T, H]),
        "drag": (rules.drag, [B, T, H]),
        "scale": (rules.scale, [H, batch]),
        "norm's scale": (norm and norm[0], [H, V]),
        "norm's offset": (norm and norm[1], [H, V]),
        "limit": (rules.limit, [B, pairs, H]),
        "trust": (rules.trust, [B, pairs, H]),
    }
    for name, (tensor, shape) in wanted.items():
        if tensor is not None and list(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {list(tensor.shape)}")
    if start.dtype != torch.bool:
        raise ValueError(f"start must be bool, got {start.dtype}")
    if phase.dtype != torch.int64:
        raise ValueError(f"phase must be int64, got {phase.dtype}")
    for name, word, allowed in (
        ("loss", rules.loss, get_args(Loss)),
        ("parametrisation", rules.parametrisation, get_args(Parametrisation)),
        ("momentum_of", rules.momentum_of, get_args(MomentumOf)),
    ):
        if word not in allowed:
            raise ValueError(f"{name} must be {', '.join(map(repr, allowed[:-1]))} or {allowed[-1]!r}, got {word!r}")
    if (momentum is None) != (rules.drag is None):
        raise ValueError("momentum and drag need each other: a state, and how much of it is kept")
    if momentum is None and rules.momentum_of != "steps":
        raise ValueError(f"momentum_of={rules.momentum_of!r} needs a momentum")
    if (rules.loss == "huber") != (rules.limit is not None):
        raise ValueError(f"limit belongs to the loss 'huber' and to no other, got loss={rules.loss!r}")
    tensors = {name: tensor for name, (tensor, _) in wanted.items()}
    examine({"q": q, **tensors}, states=("weights", "frozen", "fast", "momentum"))
