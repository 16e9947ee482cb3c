r"""Longhorn: implicit online regression of every channel on the keys; the decay follows from the step.

    delta_t = beta_t / (1 + beta_t |k_t|^2)
    h <- (1 - delta_t (k_t * k_t)^T) * h + delta_t u_t k_t^T        elementwise; h_0 = 0
    y_t = h q_t + D u_t

u = SiLU(conv(W x)); k and q are linear in u, beta = sigmoid(W' W'' u + c) per channel. The step solves
min |h - h'|^2 + beta |h k - u|^2, of which only the diagonal of k k^T is kept; the factor left of h lies between 0 and
1 for every k, none need be of length 1. Where k is 0 nothing fades, however long it lasts.
The reading goes through an RMS norm, a SiLU gate and a linear map.

Shapes: B lives, T steps, D width, E channels, N states; state h [B, E, N] and the convolution's window.
Cost per step: 8 E N floating-point operations and E N logarithms besides the projections; 4 E N bytes of state.
Source: arXiv:2407.14207; beta begins at 1 / `horizons` instead of 1/2, which forgets in a dozen steps. The norm is
ours, the convolution has no bias, and q begins equal to k.
"""

from torch import Tensor

from lifelong.memory.additive.selective import Selective
from lifelong.memory.layer import fade_rates

__all__ = ["Longhorn"]


class Longhorn(Selective):
    """Longhorn: a state space by online regression of each channel on the keys.

    Args:
        width: D, width of inputs and outputs.
        channels: E; None for twice the width.
        states: N, states behind each channel.
        conv_size: width of the short convolution, in steps.
        horizons: initial writes with a key of 1 until a state has faded to 1/e, of the first and of the last channel.

    Raises:
        ValueError: if a size is not positive, or `horizons` do not rise from above 1.
    """

    def __init__(
        self,
        width: int,
        channels: int | None = None,
        states: int = 16,
        conv_size: int = 2,
        horizons: tuple[float, float] = (1e2, 1e4),
    ) -> None:
        super().__init__(width, channels, states, conv_size)
        if horizons[0] <= 1:
            raise ValueError(f"horizons must be above 1, beta is below: horizons={horizons}")
        self.rate.bias.data = fade_rates(self.shape[0], horizons).logit()

    def transition(self, u: Tensor, rate: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return writes and decays; see `Selective.transition`."""
        beta, squares = rate.sigmoid(), k.square()
        energy = squares.sum(-1, keepdim=True)
        others = (energy - squares).clamp(min=0.0)  # [B, T, N] it is positive but for rounding
        total = (beta * energy).log1p()
        decay = (beta[..., None] * others[..., None, :]).log1p() - total[..., None]  # log(1 - delta k^2), never of 0
        return beta / (1 + beta * energy) * u, decay
