r"""DeltaNet: correct the error at the key by a share that the input chooses; nothing fades.

    S <- S + beta_t (v_t - S k_t) k_t^T             S_0 = 0
    y_t = S q_t

`style="modern"`: q, k, v = SiLU(conv(W x)), q and k of unit length.
`style="2021"`: q and k are phi(conv) with phi(z) = (elu(z) + 1) / sum_j (elu(z_j) + 1), positive and of sum 1, so that
keys are shorter than 1, alike, and corrections smaller.
beta = sigmoid(W x), at first 1/2. What is not overwritten stays for ever: capacity is freed only by correction.

Shapes: B lives, T steps, D width, H heads, K key width, V value width; state S [B, H, V, K] and the convolution's
window.
Cost per step: 6 H V K floating-point operations besides the projections; 4 H V K bytes of state.
Source: modern, arXiv:2406.06484; 2021, arXiv:2102.11174, whose projections have no convolution and no SiLU. No
1/sqrt(K) on the query since a norm follows, and a gate after it, as for all matrix memories.
"""

from typing import Literal

from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.fast_weight import fast_weight
from lifelong.memory.layer import Output, Projection, count_heads
from lifelong.memory.memory import Memory

__all__ = ["DeltaNet"]


class DeltaNet(Memory):
    """A matrix per head, corrected towards the value at each key, without decay.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        style: `modern`, keys of unit length, or `2021`, positive keys of sum 1.
        key_dim: K; None for twice width / num_heads: wide keys leave each other alone.
        value_dim: V; None for width / num_heads.
        conv_size: steps the short convolution sees.

    Raises:
        ValueError: if `num_heads` does not divide `width`, or `style` is neither word.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        style: Literal["modern", "2021"] = "modern",
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
    ) -> None:
        super().__init__(width)
        num_heads = count_heads(width, num_heads)
        if style not in ("modern", "2021"):
            raise ValueError(f"style must be 'modern' or '2021', got {style!r}")
        K, V = key_dim or 2 * width // num_heads, value_dim or width // num_heads
        self.shape, self.style = (num_heads, V, K), style
        self.project = Projection(width, num_heads, K, V, conv_size, unit=style == "modern")
        self.gate = nn.Linear(width, num_heads)
        nn.init.zeros_(self.gate.bias)  # beta = 1/2
        self.output = Output(width, num_heads, V)

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty matrices and an empty window."""
        window = self.zeros(batch, self.project.conv_size - 1, self.project.channels)
        return TensorDict({"S": self.zeros(batch, *self.shape), "window": window}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        q, k, v, window = self.project(x, state["window"], start)
        if self.style == "2021":
            q, k = _positive(q), _positive(k)
        y, S = fast_weight(q, k, v, state["S"], start, rate=self.gate(x).sigmoid())
        return self.output(y, x), TensorDict({"S": S, "window": window}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        num_heads, V, K = self.shape
        projected = self.project.channels + num_heads + 2 * num_heads * V
        return 2 * self.width * projected + 6 * num_heads * V * K


def _positive(z: Tensor) -> Tensor:
    z = functional.elu(z) + 1
    return z / z.sum(-1, keepdim=True)  # SiLU is never below -0.3: the sum is positive
