r"""GTrXL: Transformer-XL behind a norm and a gate that begins nearly closed.

    u = norm(x),   a_t = W_o attention(u_t; the last M of u, and u_t)          as in `transformer_xl`
    r = sigmoid(W_r a + U_r x),  z = sigmoid(W_z a + U_z x - b)                a after ReLU, b = 2 at first
    y_t = (1 - z) x + z tanh(W_h a + U_h (r x))

A new memory passes x on, so that an agent can act on what it sees before its memory is trained.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim, M cached steps; state x [B, M, D], normed inputs,
and count [B, 1] int64 (valid rows, the last ones).
Cost per step: that of `transformer_xl` without its gate, and 12 D D floating-point operations; 4 M D + 8 bytes of
state.
Source: arXiv:1910.06764, its GRU-type gate around the attention; the feed-forward layer behind it is the block's, which
`residual=gated` gates as well. There M is 512, and the cache holds inputs before the norm: that is the same until the
weights of the norm are learned. Gradients reach the cache, as in `transformer_xl`.
"""

from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.memory.attention.transformer_xl import TransformerXL
from lifelong.memory.layer import ResidualGate, linear_flops

__all__ = ["GTrXL"]


class Heads(nn.Module):
    """Output of attention: a linear map of all heads' readings.

    Args:
        width: D, width of the layer.
        channels: H V, of all readings.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, width, bias=False)

    def forward(self, reading: Tensor, x: Tensor) -> Tensor:
        """Return [..., D] from the reading [..., H, V]; the layer's input x is not used."""
        y: Tensor = self.linear(reading.flatten(-2))
        return y


class GTrXL(TransformerXL):
    """Gated Transformer-XL: attention over the layer's own last inputs, joined to the present one by a GRU gate.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        mem_len: M, steps it sees before the present one.
        key_dim: K; None for width / num_heads.
        value_dim: V; None for width / num_heads.
        gate_bias: b, how far towards keeping x the gate begins.

    Raises:
        ValueError: if `num_heads` does not divide `width`, or `mem_len` is below 1.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        mem_len: int = 32,
        key_dim: int | None = None,
        value_dim: int | None = None,
        gate_bias: float = 2.0,
    ) -> None:
        super().__init__(width, num_heads, mem_len, key_dim, value_dim)
        heads, V, _ = self.shape
        self.norm = nn.LayerNorm(width)
        self.output = Heads(width, heads * V)
        self.gate = ResidualGate(width, gate_bias)

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        y, state = super().forward(self.norm(x), state, start)
        return self.gate(x, y), state

    @property
    def step_flops(self) -> int:
        """Attention and gate of one step of one life."""
        heads, V, _ = self.shape
        return super().step_flops - 2 * self.width * heads * V + linear_flops(self.gate)
