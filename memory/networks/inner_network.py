r"""Base of test-time-trained memories: a network per head whose weights are the state.

    y_t = f(q_t; W_t),  W_t = A + what the steps of this life have changed          A: slow weights, learned by gradient

q, k, v = SiLU(conv(W x)), q and k of unit length; the recursion is that of `kernels/inner_loop`, each memory brings its
rates, its loss and its idea of keeping. The state holds offsets from A: zero at a start, and A learns from every step.
The reading goes through an RMS norm per head, a SiLU gate and a linear map.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim, C steps of a mini-batch, P weights of a head;
state frozen [B, H, P] at the start of the mini-batch, fast [B, H, P], momentum [B, H, P] where there is one,
phase [B, 1] int64, and the convolution's window.
Cost per step: 8 H P floating-point operations besides the projections, 2 H for every weight behind the first layer, and
what the memory adds; 8 H P bytes of state, 12 H P with momentum.
Source: the view of arXiv:2407.04620; what surrounds the network is ours, the same for all matrix memories.
"""

from itertools import pairwise
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.kernels.inner_loop import inner_loop, size
from lifelong.memory.layer import Output, Projection, count_heads
from lifelong.memory.memory import Memory

__all__ = ["InnerNetwork"]


class InnerNetwork(Memory):
    """Base of test-time-trained memories: a network per head; subclasses define `rules`.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        depth: L, layers of the network: 1 is a matrix.
        hidden: units of a hidden layer; None for twice the value dim.
        bias: whether the layers have one.
        key_dim: K; None for width / num_heads.
        value_dim: V; None for width / num_heads.
        batch: C, steps of a mini-batch.
        conv_size: width of the short convolution, in steps.
        momentum: whether there is one.

    Raises:
        ValueError: if `num_heads` does not divide `width`, or `depth`, `hidden` or `batch` is not positive.
    """

    extra: int
    """Operations per weight and step beyond reading, training and changing the network: decay, momentum, norms."""

    def __init__(
        self,
        width: int,
        num_heads: int | None,
        depth: int,
        hidden: int | None,
        bias: bool,
        key_dim: int | None,
        value_dim: int | None,
        batch: int,
        conv_size: int,
        momentum: bool,
    ) -> None:
        super().__init__(width)
        num_heads = count_heads(width, num_heads)
        K, V = key_dim or width // num_heads, value_dim or width // num_heads
        hidden = 2 * V if hidden is None else hidden
        for name, number in (("depth", depth), ("hidden", hidden), ("batch", batch)):
            if number < 1:
                raise ValueError(f"{name} must be positive: {name}={number}")
        self.shape, self.batch, self.momentum = (num_heads, V, K), batch, momentum
        widths = [K, *[hidden] * (depth - 1), V]
        self.layers = tuple((rows, columns + bias) for columns, rows in pairwise(widths))
        self.project = Projection(width, num_heads, K, V, conv_size)
        self.weights = nn.Parameter(self.first_weights(num_heads))
        self.output = Output(width, num_heads, V)

    def first_weights(self, num_heads: int) -> Tensor:
        """Return [H, P]: units of size about 1 for keys of length 1; the last layer, and so the output, is 0."""
        last = self.layers[-1]
        hidden = [
            torch.randn(num_heads, *shape) / (shape[1] ** 0.5 if n else 1) for n, shape in enumerate(self.layers[:-1])
        ]
        return torch.cat([layer.flatten(1) for layer in (*hidden, torch.zeros(num_heads, *last))], 1)

    def rules(self, x: Tensor) -> dict[str, Any]:
        """Return the memory's own arguments of `inner_loop`, with `rate` [B, T, H]."""
        raise NotImplementedError(f"{type(self).__name__} must define rules(x)")

    def targets(self, k: Tensor, v: Tensor) -> Tensor:
        """Return the targets [B, T, H, V] of the network at k."""
        return v

    def reading(self, q: Tensor, y: Tensor) -> Tensor:
        """Return the readings [B, T, H, V] from the network's output at q."""
        return y

    def initial_state(self, batch: int) -> TensorDict:
        """Return zero offsets from the slow weights, and an empty window."""
        num_heads, P = self.shape[0], size(self.layers)
        names = ("frozen", "fast", "momentum") if self.momentum else ("frozen", "fast")
        state = TensorDict({name: self.zeros(batch, num_heads, P) for name in names}, [batch])
        state["phase"] = torch.zeros(batch, 1, dtype=torch.int64, device=self.weights.device)
        state["window"] = self.zeros(batch, self.project.conv_size - 1, self.project.channels)
        return state

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        q, k, v, window = self.project(x, state["window"], start)
        momentum = state["momentum"] if self.momentum else None
        rules = self.rules(x)
        y, frozen, fast, momentum, phase = inner_loop(
            q, k, self.targets(k, v), rules.pop("rate"), self.weights, state["frozen"], state["fast"], momentum,
            state["phase"], start, self.layers, self.batch, **rules,
        )  # fmt: skip
        after = {"frozen": frozen, "fast": fast, "phase": phase, "window": window}
        if momentum is not None:
            after["momentum"] = momentum
        return self.output(self.reading(q, y), x), TensorDict(after, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        num_heads, V, _ = self.shape
        gates = sum(w.numel() for name, w in self.named_parameters() if "gates" in name and w.ndim == 2)
        projected = self.width * (self.project.channels + 2 * num_heads * V) + gates
        return 2 * projected + num_heads * ((8 + self.extra) * size(self.layers) + 2 * size(self.layers[1:]))
