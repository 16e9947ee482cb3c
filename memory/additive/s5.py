r"""S5: a linear state space that all inputs share, diagonal in complex modes, from HiPPO.

    h <- exp(dt L) * h + (exp(dt L) - 1) / L * (W_B x)               elementwise, complex; h_0 = 0
    y_t = 2 Re(W_C h) + d x

L < 0 in its real part, dt, W_B, W_C and d are learned. It is the continuous system h' = L h + W_B x, held constant over
dt. L begins as the eigenvalues of HiPPO's normal part, of every conjugate pair the one that turns forwards; W_B and W_C
begin as real maps seen in its eigenvectors. y goes through GELU and a gated linear map.
dt is initialised for lives: the modes' `horizons` are log-spaced in a random order.

Shapes: B lives, T steps, D width, N modes; state h [B, N, 2], real and imaginary parts. A pass forms it at every step.
Cost per step: 22 N floating-point operations besides W_B and W_C, D x 2 N each, and a D x 2 D map; 8 N bytes of state.
Source: arXiv:2208.04933, with resets as in arXiv:2303.03982; one block of HiPPO. With dt from .001 to .1, as
published, a mode fades to 1/e after 20 to 2,000 steps.
"""

import torch
from torch import Tensor, nn

from lifelong.memory.additive.diagonal import Diagonal, GatedReading
from lifelong.memory.layer import fade_rates

__all__ = ["S5"]


class S5(Diagonal):
    """S5: complex modes of one linear state space for all channels.

    Args:
        width: D, width of inputs and outputs.
        states: N, complex modes, half of the state space; None for the width.
        horizons: initial steps until a mode has faded to 1/e, of the fastest and of the slowest.

    Raises:
        ValueError: if `states` is not positive, or `horizons` do not rise.
    """

    def __init__(self, width: int, states: int | None = None, horizons: tuple[float, float] = (10, 1e5)) -> None:
        super().__init__(width, states)
        N = self.states
        real, imaginary, vectors = hippo_modes(N)
        self.log_decay = nn.Parameter((-real).log().to(torch.get_default_dtype()))
        self.frequency = nn.Parameter(imaginary.to(torch.get_default_dtype()))
        self.log_step = nn.Parameter((fade_rates(N, horizons)[torch.randperm(N)] / -real).log())  # dt
        B, C = (torch.randn(2 * N, width) / width**0.5, torch.randn(width, 2 * N) / (2 * N) ** 0.5)
        self.write.weight.data[:] = torch.view_as_real(vectors.mH @ B.to(vectors.dtype)).mT.flatten(0, 1)
        self.reading = GatedReading(width, N)
        read = 2 * torch.view_as_real((C.to(vectors.dtype) @ vectors).conj().resolve_conj())  # 2 Re C, -2 Im C
        self.reading.linear.weight.data[:] = read.flatten(1)

    def modes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return decays, angles and gains; see `Diagonal.modes`."""
        dt = self.log_step.exp()
        L = torch.complex(-self.log_decay.exp(), self.frequency)
        return dt * self.log_decay.exp(), dt * self.frequency, torch.view_as_real(torch.expm1(dt * L) / L)

    def read(self, h: Tensor, x: Tensor) -> Tensor:
        """Return the real part of the modes' mixture, gated; see `Diagonal.read`."""
        y: Tensor = self.reading(h, x)
        return y

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        return super().step_flops + 6 * self.states


def hippo_modes(states: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return half of the eigenvalues of HiPPO-LegS's normal part, and their eigenvectors.

    The normal part of size P = 2 `states` is -1/2 on the diagonal, and -+ sqrt((n + 1/2) (k + 1/2)) below and above it.

    Args:
        states: N.

    Returns:
        Real parts [N], imaginary parts [N] > 0, and eigenvectors [2 N, N], complex.
    """
    root = (torch.arange(2 * states, dtype=torch.float64) + 0.5).sqrt()
    below = -torch.outer(root, root).tril(-1)
    turn, vectors = torch.linalg.eigh(-1j * (below - below.mT))  # the skew part has eigenvalues i turn, rising
    half = vectors[:, states:].to(torch.complex64)
    return torch.full((states,), -0.5), turn[states:].float(), half
