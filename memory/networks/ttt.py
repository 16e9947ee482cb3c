r"""Test-time training (TTT): a linear model or a small network per head, trained in mini-batches to map k to v.

    f(x; W) = x + LN(net(x; W))                                    net: a matrix, or two layers, with biases
    g_s = gradient at F of 1/2 |f(k_s; W) - v_s|^2                 F: W at the start of the mini-batch, W_0 = A, learned
    W_t = F - rho_i sum_{s <= t, same mini-batch} theta_s g_s      i: place of t in its mini-batch of C
    y_t = f(q_t; W_t)

q, k, v = SiLU(conv(W x)), q and k of unit length, theta = base sigmoid(W x + b) per head, rho_i = max(1/i + c_i, 0)
with c learned. Mini-batches begin with the life: the place i is part of the state. There is no forgetting, and the
layer norm does not see how large W is: the longer a life has been, the less a step turns it.
rho_i <= 1/i makes a mini-batch of equal steps one step, whatever they say; the gradient is normalised besides (see
`kernels/inner_loop/network.py`), so that theta = 1 corrects the error and no more: a normalised-LMS variant. With
`bound="off"` it is the raw gradient, and theta has the factor 1 / K.

Shapes: B lives, T steps, D width, H heads, K = V = D / H; P weights of a head, K (K + 1) of the matrix or
N (K + 1) + K (N + 1) with N hidden units; state frozen and fast [B, H, P] as offsets from A, phase [B, 1] int64, and
the convolution's window.
Cost per step: 11 H P floating-point operations, and 2 H K (N + 1) with two layers, besides the projections;
8 H P + 8 bytes of state.
Source: TTT-Linear and TTT-MLP, arXiv:2407.04620. Keys of length 1 and, unless `bound="off"`, a normalised gradient in
place of the rate's factor 1 / K; no rotary embedding within a mini-batch, the convolution sees the order; SiLU for
GELU; hidden layer twice as wide, not four times; the last layer of A begins at zero, not at random: what was never
written says nothing; our output layer.
"""

import torch
from torch import Tensor, nn

from lifelong.kernels.inner_loop import Rules
from lifelong.memory.layer import Output
from lifelong.memory.networks.bound import Bound
from lifelong.memory.networks.inner_network import InnerNetwork

__all__ = ["TTTMLP", "TTTLinear"]


class TTT(InnerNetwork):
    """Base of TTT-Linear and TTT-MLP: rates, layer norm and residual.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`, and be smaller. None for one in every 32 channels.
        depth: layers of the network.
        hidden: units of a hidden layer; None for twice the value dim.
        batch: C, steps of a mini-batch.
        base: the largest rate.
        conv_size: width of the short convolution, in steps.
        bound: `on` for normalised gradients, `off` for raw ones.

    Raises:
        ValueError: if `num_heads` does not divide `width`, a size is not positive, or `base` or `bound` is unfit.
    """

    extra = 3  # rho
    residual = True

    def __init__(
        self, width: int, num_heads: int | None, depth: int, hidden: int | None, batch: int, base: float,
        conv_size: int, bound: Bound,
    ) -> None:  # fmt: skip
        super().__init__(width, num_heads, depth, hidden, True, None, None, batch, conv_size, False, None, bound)
        if not 0 < base <= 2:
            raise ValueError(f"base must be in (0, 2], beyond which repeated steps diverge: base={base}")
        num_heads, V, K = self.shape
        self.base = base if self.bound else base / K
        self.output = Output(width, num_heads, V)
        self.gates = nn.Linear(width, num_heads)
        nn.init.constant_(self.gates.bias, 2.0)  # writes begin near their bound
        self.place = nn.Parameter(torch.zeros(num_heads, batch))
        self.norm_scale = nn.Parameter(torch.ones(num_heads, V))
        self.norm_offset = nn.Parameter(torch.zeros(num_heads, V))

    def rules(self, x: Tensor) -> Rules:
        """Return rates, the shares rho by place, and the layer norm."""
        mean = 1 / torch.arange(1, self.batch + 1, device=x.device, dtype=self.place.dtype)
        rate, rho = self.base * self.gates(x).sigmoid(), (mean + self.place).clamp(min=0.0)
        return Rules(rate, scale=rho, norm=(self.norm_scale, self.norm_offset))


class TTTLinear(TTT):
    """TTT-Linear: a linear model per head, with layer norm and residual; arguments as of `TTT`."""

    def __init__(
        self, width: int, num_heads: int | None = None, batch: int = 16, base: float = 1.0, conv_size: int = 2,
        bound: Bound = "on",
    ) -> None:  # fmt: skip
        super().__init__(width, num_heads, 1, None, batch, base, conv_size, bound)


class TTTMLP(TTT):
    """TTT-MLP: a two-layer network per head, with layer norm and residual; arguments as of `TTT`."""

    def __init__(
        self, width: int, num_heads: int | None = None, hidden: int | None = None, batch: int = 16, base: float = 1.0,
        conv_size: int = 2, bound: Bound = "on",
    ) -> None:  # fmt: skip
        super().__init__(width, num_heads, 2, hidden, batch, base, conv_size, bound)
