r"""Linear attention: every step is added, nothing is ever taken away.

    S <- S + v_t phi(k_t)^T        z <- z + phi(k_t)         S_0 = 0, z_0 = 0
    y_t = S phi(q_t) / (z^T phi(q_t) + eps)

q, k, v = SiLU(conv(W x)), phi(x) = elu(x) + 1, positive. The normaliser z is one more row of S, its value always 1,
so that y is a weighted mean of the values seen. The mean of a long life moves little: after n steps a write weighs
1 / n, and float32 stops counting near 10^7 of them.

Shapes: B lives, T steps, D width, H heads, K key width, V value width; state S [B, H, V + 1, K] and the convolution's
window.
Cost per step: 4 H (V + 1) K floating-point operations besides the projections; 4 H (V + 1) K bytes of state.
Source: arXiv:2006.16236; the convolution, norm and gate around it are ours, the same for all matrix memories.
"""

from tensordict import TensorDict
from torch import Tensor
from torch.nn import functional

from lifelong.kernels.fast_weight import fast_weight
from lifelong.memory.layer import Output, Projection, count_heads
from lifelong.memory.memory import Memory

__all__ = ["LinearAttention"]

EPS = 1e-6


class LinearAttention(Memory):
    """A sum of outer products per head, read as a weighted mean.

    Args:
        width: D, width of inputs and outputs.
        heads: H; must divide `width`. None for one in every 32 channels.
        key_width: K; None for width / heads.
        value_width: V; None for width / heads.
        taps: steps the short convolution sees.

    Raises:
        ValueError: if `heads` does not divide `width`.
    """

    def __init__(
        self,
        width: int,
        heads: int | None = None,
        key_width: int | None = None,
        value_width: int | None = None,
        taps: int = 2,
    ) -> None:
        super().__init__(width)
        heads = count_heads(width, heads)
        K, V = key_width or width // heads, value_width or width // heads
        self.shape = (heads, V, K)
        self.project = Projection(width, heads, K, V, taps, unit=False)
        self.output = Output(width, heads, V)

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty sums and an empty window."""
        heads, V, K = self.shape
        window = self.zeros(batch, self.project.taps - 1, self.project.channels)
        return TensorDict({"S": self.zeros(batch, heads, V + 1, K), "window": window}, [batch])

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read once; see `Memory.step`."""
        y, state = self.forward(x[:, None], state, start[:, None])
        return y[:, 0], state

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        _, V, _ = self.shape
        q, k, v, window = self.project(x, state["window"], start)
        q, k = functional.elu(q) + 1, functional.elu(k) + 1
        v = functional.pad(v, (0, 1), value=1.0)  # [B, T, H, V + 1]
        sums, S = fast_weight(q, k, v, state["S"], start)
        y, weight = sums.split([V, 1], -1)
        return self.output(y / (weight + EPS), x), TensorDict({"S": S, "window": window}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        heads, V, K = self.shape
        return 2 * self.width * (self.project.channels + 2 * heads * V) + 4 * heads * (V + 1) * K
