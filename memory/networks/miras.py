r"""Miras: networks trained at test time with other losses and retention (Moneta, Yaad, Memora).

    f(x; W) = x + LN(W_2 silu(W_1 x))
    g_t = gradient at F of the loss of f(k_t; W) against v_t          F: W at the start of the mini-batch
    A_t = A + alpha_t (A_{t-1} - A) - theta_t g_t                     A_0 = A, learned
    y_t = f(q_t; W_t)

              loss of the error e                               weights
    Moneta    sum |e|^3 / 3, linear beyond |e| = 1              W = A_t / |A|_4^2 of each layer, |A| at F
    Yaad      |e|^2 / 2, linear beyond |e| = delta_t            W = A_t
    Memora    |e|^2 / 2                                         W = n softmax(A_t) - 1 of each row of n weights

q, k, v = SiLU(conv(W x)), q and k of unit length; theta = sigmoid / C, delta = softplus, log alpha = -softplus of
linear maps of x, per head. The decay is initialised for lives, not sentences: `horizons` of many thousand environment
steps.
All gradients of a mini-batch of C steps are taken where it began; theta <= 1 / C and the normalised gradient (see
`kernels/inner_loop/network.py`) keep C equal observations in a row from overshooting; `bound="off"` has the raw one.
The last layer of A begins at zero: what was never written says nothing.
Moneta overlooks small errors, Yaad does not let one great error rewrite it, Memora's weights divide a fixed sum: to
grow one is to shrink the others of its row.

Shapes: B lives, T steps, D width, H heads, K = V = D / H, N hidden units; P = 2 K N weights of a head; state frozen and
fast [B, H, P] as offsets from A, phase [B, 1] int64, and the convolution's window.
Cost per step: 9 H P (Yaad), 14 H P (Moneta) or 17 H P (Memora) floating-point operations and 2 H K N besides the
projections; 8 H P + 8 bytes of state. A pass of Memora forms the weights of every step of a mini-batch.
Source: arXiv:2504.13173, from a transcription of its equations. A normalised-LMS variant; gates per head, not per
channel; Moneta's loss without its factor and linear for large errors, its norm held within a mini-batch and as a square
root with 1e-4 under it; what is kept fades to A, not to zero; Memora's weights are counted from their even share, a
difference that the norm hides in the last layer and that float32 needs; Huber's loss by the length of the error; our
convolution and output layer.
"""

from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.inner_loop import Loss, Parametrisation, Rules
from lifelong.memory.layer import Output, write_and_fade
from lifelong.memory.networks.bound import Bound
from lifelong.memory.networks.inner_network import InnerNetwork

__all__ = ["Memora", "Moneta", "Yaad"]


class Miras(InnerNetwork):
    """Base of Moneta, Yaad and Memora.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        hidden: N, units of the hidden layer; None for twice width / num_heads.
        batch: C, steps of a mini-batch.
        conv_size: width of the short convolution, in steps.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last head.
        bound: `on` for normalised gradients, `off` for raw ones.

    Raises:
        ValueError: if `num_heads` does not divide `width`, a size is not positive, or `bound` is unfit.
    """

    loss: Loss = "l2"
    parametrisation: Parametrisation = "identity"
    residual = True

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        hidden: int | None = None,
        batch: int = 8,
        conv_size: int = 2,
        horizons: tuple[float, float] = (1e4, 1e5),
        bound: Bound = "on",
    ) -> None:
        super().__init__(width, num_heads, 2, hidden, False, None, None, batch, conv_size, False, None, bound)
        num_heads, V, _ = self.shape
        self.output = Output(width, num_heads, V)
        # writes begin near their bound, delta = 1
        self.gates = write_and_fade(width, num_heads, horizons, write=2.0, others=[0.5] * (self.loss == "huber"))
        self.norm_scale = nn.Parameter(self.weights.new_ones(num_heads, V))
        self.norm_offset = nn.Parameter(self.weights.new_zeros(num_heads, V))

    def rules(self, x: Tensor) -> Rules:
        """Return rates, decays, the layer norm, loss and parametrisation."""
        rate, fade, *limit = self.gates(x).split(self.shape[0], -1)  # [B, T, H] each
        return Rules(
            rate.sigmoid() / self.batch,
            decay=-functional.softplus(fade),
            norm=(self.norm_scale, self.norm_offset),
            loss=self.loss,
            limit=functional.softplus(limit[0]) if limit else None,
            parametrisation=self.parametrisation,
        )


class Moneta(Miras):
    """Moneta: a cubic loss, and weights divided by their own norm; arguments as of `Miras`."""

    loss = "l3"
    parametrisation = "l4"
    extra = 6

    def first_weights(self) -> Tensor:
        """Return [H, P] with |A|_4 about 1 in the first layer: there W = A."""
        rows, columns = self.layers[0]
        weights: Tensor = super().first_weights() / (3 * rows * columns) ** 0.25  # |A|_4 of normal numbers
        return weights


class Yaad(Miras):
    """Yaad: Huber's loss with a data-dependent limit; arguments as of `Miras`."""

    loss = "huber"
    extra = 1


class Memora(Miras):
    """Memora: weights that are distributions, learned in their logarithms; arguments as of `Miras`."""

    parametrisation = "softmax"
    extra = 9
