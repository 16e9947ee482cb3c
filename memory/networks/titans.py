r"""Titans' neural memory: a network per head trained at test time, with momentum and weight decay.

    g_t = gradient at F of 1/2 |f(k_t; W) - v_t|^2                   surprise; F: W at the start of the mini-batch
    M_t = eta_t M_{t-1} - (1 - eta_t) theta_t g_t                    M_0 = 0
    W_t = A + alpha_t (W_{t-1} - A) + M_t                            W_0 = A, learned
    y_t = f(q_t; W_t)                                                f: a matrix, or layers with SiLU between them

q, k, v = SiLU(conv(W x)), q and k of unit length; theta = sigmoid / C, eta = sigmoid, log alpha = -softplus of linear
maps of x, per head. The decay is initialised for lives, not sentences: `horizons` of many thousand environment steps.
All gradients of a mini-batch of C steps are taken where it began, so that C equal observations in a row, as an agent
meets that stands still, are one step of C times the rate: hence theta <= 1 / C, the gradient normalised (see
`kernels/inner_loop/network.py`), and 1 - eta: together they correct the error and no more. That is a normalised-LMS
variant; `bound="off"` has the raw gradient, at the same rates.
The last layer of A begins at zero: what was never written says nothing.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim, N hidden units; P weights of a head, V K or
N (K + V); state frozen, fast (offsets from A) and momentum [B, H, P], phase [B, 1] int64, and the convolution's window.
Cost per step: 11 H P floating-point operations, and 2 H V N with two layers, besides the projections;
12 H P + 8 bytes of state.
Source: arXiv:2501.00663, the memory alone, without attention beside it. The loss has its factor 1/2, the rate its
bounds; weights fade to A, not to zero, where a network learns no more; hidden layer twice as wide, not four times,
without residual; our convolution and output layer.
"""

from torch import Tensor
from torch.nn import functional

from lifelong.kernels.inner_loop import Rules
from lifelong.memory.layer import Output, write_and_fade
from lifelong.memory.networks.bound import Bound
from lifelong.memory.networks.inner_network import InnerNetwork

__all__ = ["Titans"]


class Titans(InnerNetwork):
    """Titans' neural memory: a network per head trained on its prediction error ("surprise").

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        depth: layers of the network; 1 is a matrix.
        hidden: N, units of a hidden layer; None for twice the value dim.
        key_dim: K; None for width / num_heads.
        value_dim: V; None for width / num_heads.
        batch: C, steps of a mini-batch.
        momentum: whether the gradients have momentum.
        conv_size: width of the short convolution, in steps.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last head.
        bound: `on` for normalised gradients, `off` for raw ones.

    Raises:
        ValueError: if `num_heads` does not divide `width`, a size is not positive, or `bound` is unfit.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        depth: int = 2,
        hidden: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        batch: int = 8,
        momentum: bool = True,
        conv_size: int = 2,
        horizons: tuple[float, float] = (1e4, 1e5),
        bound: Bound = "on",
    ) -> None:
        sizes = key_dim, value_dim, batch, conv_size
        super().__init__(width, num_heads, depth, hidden, False, *sizes, momentum, None, bound)
        num_heads, V, _ = self.shape
        self.extra = 3 if momentum else 1
        self.output = Output(width, num_heads, V)
        # writes begin near their bound, eta = 1/2
        self.gates = write_and_fade(width, num_heads, horizons, write=2.0, others=[0.0] * momentum)

    def rules(self, x: Tensor) -> Rules:
        """Return rates, decays and, with momentum, its drag."""
        rate, fade, *drag = self.gates(x).split(self.shape[0], -1)  # [B, T, H] each
        rules = Rules(rate.sigmoid() / self.batch, decay=-functional.softplus(fade))
        return rules._replace(drag=drag[0].sigmoid()) if self.momentum else rules
