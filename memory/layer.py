"""What surrounds every fast-weight recurrence: projections and convolution before, norm, gate and projection after."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.short_conv import short_conv

__all__ = ["Output", "Projection", "decay_parameters", "unit"]


class Projection(nn.Module):
    """Queries, keys and values of all heads: one linear map, one short convolution, SiLU.

    Args:
        width: D, width of the input.
        sizes: channels of each output.
        taps: W, steps the convolution sees, the present among them; 1 is no convolution.
    """

    def __init__(self, width: int, sizes: tuple[int, ...], taps: int) -> None:
        super().__init__()
        if taps < 1:
            raise ValueError(f"taps must be positive: taps={taps}")
        self.sizes, self.taps = sizes, taps
        self.linear = nn.Linear(width, sum(sizes), bias=False)
        self.conv = nn.Parameter(torch.full((sum(sizes), taps), 1 / taps))
        if sizes[0] == sizes[1]:  # queries start as the keys' equals: what looks alike is recalled from the first step
            self.linear.weight.data[: sizes[0]] = self.linear.weight.data[sizes[0] : 2 * sizes[0]]

    def forward(self, x: Tensor, window: Tensor, start: Tensor) -> tuple[list[Tensor], Tensor]:
        """Project x.

        Args:
            x: [B, T, D] inputs.
            window: [B, W - 1, C] inputs of the convolution before the first step.
            start: [B, T] bool, true where a step is the first of a life.

        Returns:
            The outputs, [B, T, size] each, and the window after the last step.
        """
        mixed, window = short_conv(self.linear(x), self.conv, window, start)
        return list(functional.silu(mixed).split(self.sizes, -1)), window


class Output(nn.Module):
    """RMS norm of each head's reading, gated by SiLU of the input, projected back to the width.

    Args:
        width: D, width of the layer.
        heads: H.
        value_width: V, width of a head's reading.
    """

    def __init__(self, width: int, heads: int, value_width: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(value_width, eps=1e-5)
        self.gate = nn.Linear(width, heads * value_width, bias=False)
        self.linear = nn.Linear(heads * value_width, width, bias=False)

    def forward(self, reading: Tensor, x: Tensor) -> Tensor:
        """Return [..., D] from the reading [..., H, V] and the layer's input x [..., D]."""
        y: Tensor = self.linear(self.norm(reading).flatten(-2) * functional.silu(self.gate(x)))
        return y


def unit(x: Tensor) -> Tensor:
    """Return x with L2 norm 1 along the last axis; zero stays zero, and its gradient finite."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)


def decay_parameters(heads: int, horizons: tuple[float, float]) -> Tensor:
    """Return the initial bias [H] of a gate whose log decay is -softplus(bias).

    Args:
        heads: H.
        horizons: steps until a write has faded to 1/e, of the first and of the last head; log-spaced between.
    """
    first, last = horizons
    if not 0 < first <= last:
        raise ValueError(f"horizons must be positive and rising: horizons={horizons}")
    rate = torch.logspace(-torch.log10(torch.tensor(first)).item(), -torch.log10(torch.tensor(last)).item(), heads)
    return torch.log(torch.expm1(rate))
