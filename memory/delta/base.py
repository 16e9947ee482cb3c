r"""Base of delta-rule memories: a matrix per head, decayed, then corrected towards the value at each key.

    S <- S diag(a_t)                                                 S_0 = 0
    S <- S + (v_t - S e_t) k_t^T                     or, with a rate b_t, S + b_t (v_t - S k_t) k_t^T
    y_t = S q_t

q, k, v = SiLU(conv(W x)), q and k of unit length; the reading goes through an RMS norm per head, a SiLU gate and a
linear map. A subclass computes the inputs of all steps at once: see `Correction`.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim; state S [B, H, V, K], the convolution's window,
and whatever else a member keeps.
Cost per step: 7 H V K operations with a decay, 6 without, besides the projections; 4 H V K bytes of state.
Source: the form that arXiv:2406.06484 and arXiv:2412.06464 share; no 1/sqrt(K) since a norm follows; gates have biases.
"""

from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.fast_weight import fast_weight
from lifelong.memory.delta.correction import Correction
from lifelong.memory.layer import Output, Projection, count_heads, linear_flops, write_and_fade
from lifelong.memory.memory import Memory

__all__ = ["DeltaRule"]


class DeltaRule(Memory):
    """Base of delta-rule memories: a matrix per head; subclasses define `correction`.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        key_dim: K; None for twice width / num_heads: wide keys interfere less.
        value_dim: V; None for width / num_heads.
        conv_size: width of the short convolution, in steps.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last head.

    Raises:
        ValueError: if `num_heads` does not divide `width`.
    """

    sums_writes = True
    entry_flops: int = 7
    """Floating-point operations of a step for each entry of S."""
    key_flops: int = 0
    """Floating-point operations of a step for each key channel."""

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
        horizons: tuple[float, float] = (1e4, 1e5),
    ) -> None:
        super().__init__(width)
        H = count_heads(width, num_heads)
        self.num_heads, self.key_dim, self.value_dim = H, key_dim or 2 * width // H, value_dim or width // H
        self.shape = (self.num_heads, self.value_dim, self.key_dim)
        self.project = Projection(width, H, self.key_dim, self.value_channels, conv_size)
        self.add_gates(horizons)
        self.output = Output(width, H, self.value_dim)

    @property
    def value_channels(self) -> int:
        """Channels of a head's projection besides query and key."""
        return self.value_dim

    def add_gates(self, horizons: tuple[float, float]) -> None:
        """Add the parameters between the projection and the output: by default a write strength and a decay per head.

        Args:
            horizons: initial steps until a write has faded to 1/e, of the first and of the last head.
        """
        self.gates: nn.Linear = write_and_fade(self.width, self.num_heads, horizons)

    def strength_and_decay(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return beta = sigmoid and log alpha = -softplus of the gates, each [B, T, H].

        Args:
            x: [B, T, D] inputs.
        """
        beta, fade = self.gates(x).split(self.num_heads, -1)
        return beta.sigmoid(), -functional.softplus(fade)

    def correction(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, state: TensorDict, start: Tensor) -> Correction:
        """Return the inputs of the recurrence for T steps.

        Args:
            x: [B, T, D] inputs.
            q: [B, T, H, K] projected queries.
            k: [B, T, H, K] projected keys.
            v: [B, T, H, V] projected values.
            state: [B] memory before the first step; S must not be read.
            start: [B, T] bool, true where a step is the first of a life.
        """
        raise NotImplementedError(f"{type(self).__name__} must define correction(x, q, k, v, state, start)")

    def initial_rest(self, batch: int) -> dict[str, Tensor]:
        """Return the initial state of B = `batch` lives besides S and the window."""
        return {}

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty matrices, the rest, and an empty window."""
        S, window = self.zeros(batch, *self.shape), self.zeros(batch, *self.project.window_shape)
        return TensorDict({"S": S, **self.initial_rest(batch), "window": window}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        q, k, v, window = self.project(x, state["window"], start)
        c = self.correction(x, q, k, v, state, start)
        y, S = fast_weight(c.q, c.k, c.v, state["S"], start, decay=c.decay, rate=c.rate, erase=c.erase)
        return self.output(y, x), TensorDict({"S": S, **c.rest, "window": window}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        return linear_flops(self) + self.num_heads * self.key_dim * (self.entry_flops * self.value_dim + self.key_flops)
