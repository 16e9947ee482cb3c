r"""DeltaNet: the delta rule with a data-dependent write strength, without decay.

    S <- S + beta_t (v_t - S k_t) k_t^T             S_0 = 0
    y_t = S q_t

`style="modern"`: q, k, v = SiLU(conv(W x)), q and k of unit length.
`style="2021"`: q and k are phi(conv) with phi(z) = (elu(z) + 1) / sum_j (elu(z_j) + 1), positive and of sum 1, so that
keys are shorter than 1, alike, and corrections smaller.
beta = sigmoid(W x), at first 1/2. Capacity is freed only by overwriting.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim; state S [B, H, V, K] and the convolution's
window.
Cost per step: 6 H V K floating-point operations besides the projections; 4 H V K bytes of state.
Source: modern, arXiv:2406.06484; 2021, arXiv:2102.11174, whose projections have no convolution and no SiLU. No
1/sqrt(K) on the query since a norm follows, and a gate after it, as for all matrix memories.
"""

from typing import Literal

from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.memory.delta.base import DeltaRule
from lifelong.memory.delta.correction import Correction

__all__ = ["DeltaNet"]


class DeltaNet(DeltaRule):
    """DeltaNet: the delta rule without decay; see `DeltaRule` for the other arguments.

    Args:
        style: `modern`, keys of unit length, or `2021`, positive keys of sum 1.

    Raises:
        ValueError: if `num_heads` does not divide `width`, or `style` is neither word.
    """

    entry_flops = 6

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        style: Literal["modern", "2021"] = "modern",
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
    ) -> None:
        if style not in ("modern", "2021"):
            raise ValueError(f"style must be 'modern' or '2021', got {style!r}")
        super().__init__(width, num_heads, key_dim, value_dim, conv_size)
        self.style, self.project.unit = style, style == "modern"

    def add_gates(self, horizons: tuple[float, float]) -> None:
        """Add the write strength, at first 1/2."""
        self.gate = nn.Linear(self.width, self.num_heads)
        nn.init.zeros_(self.gate.bias)

    def correction(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, state: TensorDict, start: Tensor) -> Correction:
        """Return the inputs with a data-dependent write strength."""
        if self.style == "2021":
            q, k = _positive(q), _positive(k)
        return Correction(q, k, v, rate=self.gate(x).sigmoid())


def _positive(z: Tensor) -> Tensor:
    z = functional.elu(z) + 1
    return z / z.sum(-1, keepdim=True)  # SiLU is never below -0.3: the sum is positive
