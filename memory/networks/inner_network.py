r"""Base of test-time-trained memories: a network per head whose weights are the state.

    y_t = f(q_t; W_t),  W_t = A + what the steps of this life have changed          A: slow weights, learned by gradient

q, k, v = SiLU(conv(W x)), q and k of unit length; the recursion is that of `kernels/inner_loop`, each memory brings its
rates, its loss and its idea of keeping. The state holds offsets from A: zero at a start, and A learns from every step.
The reading goes through an RMS norm per head, a SiLU gate and a linear map. The gradient is normalised, which the
published rules do not do, and raw with `bound="off"`: see `bound.py`.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim, C steps of a mini-batch, P weights of a head;
state frozen, at the start of the mini-batch, fast and momentum, if any, [B, H, P], phase [B, 1] int64, and the window.
Cost per step: 8 H P floating-point operations besides the projections, 2 H for every weight behind the first layer, and
what the memory adds; 8 H P bytes of state, 12 H P with momentum.
Source: the view of arXiv:2407.04620; what surrounds the network is ours, the same for all matrix memories.
"""

from itertools import pairwise

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.kernels.inner_loop import Rules, inner_loop, size
from lifelong.memory.layer import Output, Projection, count_heads, linear_flops, require_positive
from lifelong.memory.memory import Memory
from lifelong.memory.networks.bound import Bound, is_bound

__all__ = ["InnerNetwork"]

STATE = ("frozen", "fast", "momentum", "phase")


class InnerNetwork(Memory):
    """Base of test-time-trained memories: a network per head; subclasses define `rules`, gates and output.

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
        inputs: width of the network's input; None for K.
        bound: `on` for normalised gradients, `off` for raw ones.

    Raises:
        ValueError: if `num_heads` does not divide `width`, or `depth`, `hidden` or `batch` is not positive.
    """

    output: Output
    extra: int
    """Operations per weight and step beyond reading, training and changing the network: decay, momentum, norms."""
    recent: int = 1
    """Pairs in the window of every step."""
    residual: bool = False
    """Whether the network is added to its input: its target is v - k, and q is added to its output."""

    def __init__(
        self, width: int, num_heads: int | None, depth: int, hidden: int | None, bias: bool, key_dim: int | None,
        value_dim: int | None, batch: int, conv_size: int, momentum: bool, inputs: int | None = None,
        bound: Bound = "on",
    ) -> None:  # fmt: skip
        super().__init__(width)
        H = count_heads(width, num_heads)
        K, V = key_dim or width // H, value_dim or width // H
        hidden = 2 * V if hidden is None else hidden
        require_positive(depth=depth, hidden=hidden, batch=batch)
        self.shape, self.batch, self.momentum, self.bound = (H, V, K), batch, momentum, is_bound(bound)
        widths = [K if inputs is None else inputs, *[hidden] * (depth - 1), V]
        self.layers = tuple((rows, columns + bias) for columns, rows in pairwise(widths))
        self.state_bounds = {"phase": (0, batch - 1)}
        self.project = Projection(width, H, K, V, conv_size)
        self.weights = nn.Parameter(self.first_weights())

    def first_weights(self) -> Tensor:
        """Return [H, P]: units of size about 1 for keys of length 1; the last layer, and so the output, is 0."""
        H = self.shape[0]
        hidden = [torch.randn(H, *layer) / (layer[1] ** 0.5 if n else 1) for n, layer in enumerate(self.layers[:-1])]
        return torch.cat([layer.flatten(1) for layer in (*hidden, torch.zeros(H, *self.layers[-1]))], 1)

    def rules(self, x: Tensor) -> Rules:
        """Return the training rules of the steps x [B, T, D]."""
        raise NotImplementedError(f"{type(self).__name__} must define rules(x)")

    def initial_state(self, batch: int) -> TensorDict:
        """Return zero offsets from the slow weights, and an empty window."""
        state = {name: self.zeros(batch, *self.weights.shape) for name in STATE[: 2 + self.momentum]}
        state["phase"] = self.zeros(batch, 1, dtype=torch.int64)
        return TensorDict({**state, "window": self.zeros(batch, *self.project.window_shape)}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        q, k, v, window = self.project(x, state["window"], start)
        y, after = self.learn(q, k, v, self.rules(x), state, start)
        return self.output(y, x), TensorDict({**after, "window": window}, [x.shape[0]])

    def learn(
        self, q: Tensor, k: Tensor, v: Tensor, rules: Rules, state: TensorDict, start: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the readings [B, T, H, V], and the state but for the window."""
        target = v - k if self.residual else v
        before = state["frozen"], state["fast"], state.get("momentum", None), state["phase"]
        rules = rules._replace(bound=self.bound)
        y, *after = inner_loop(q, k, target, self.weights, *before, start, self.layers, self.batch, rules)
        kept = {name: z for name, z in zip(STATE, after, strict=True) if z is not None}
        return q + y if self.residual else y, kept

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        recurrence = (8 + self.extra) * size(self.layers) + 2 * self.recent * size(self.layers[1:])
        return linear_flops(self) + self.shape[0] * recurrence
