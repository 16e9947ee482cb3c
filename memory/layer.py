"""Layer parts around a fast-weight recurrence: projections and convolution before, norm, gate and projection after."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lifelong.kernels.fused import bind_norm, gated_norm, qkv

__all__ = [
    "Output",
    "Projection",
    "RMSNorm",
    "ResidualGate",
    "count_heads",
    "decay_parameters",
    "fade_rates",
    "linear_flops",
    "require_positive",
    "write_and_fade",
]


def count_heads(width: int, num_heads: int | None) -> int:
    """Return H: `num_heads`, or for None the number that divides the width into parts of about 32.

    Args:
        width: D, width of the layer.
        num_heads: the setting.

    Raises:
        ValueError: if `width` is not positive, or `num_heads` does not divide it.
    """
    if width < 1:
        raise ValueError(f"width must be positive: width={width}")
    if num_heads is None:
        return max(n for n in range(1, max(1, width // 32) + 1) if width % n == 0)
    if num_heads < 1 or width % num_heads:
        raise ValueError(f"num_heads must divide width: width={width}, num_heads={num_heads}")
    return num_heads


def linear_flops(module: nn.Module) -> int:
    """Return the floating-point operations of one step in all linear maps of a module."""
    return 2 * sum(layer.weight.numel() for layer in module.modules() if isinstance(layer, nn.Linear))


def require_positive(**numbers: float) -> None:
    """Validate that all numbers are positive.

    Raises:
        ValueError: naming the first that is not.
    """
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name} must be positive: {name}={number}")


class Projection(nn.Module):
    """Projection to queries, keys and values of all heads: linear map, short convolution, SiLU.

    Args:
        width: D, width of the input.
        num_heads: H.
        key_dim: K.
        value_dim: V.
        conv_size: W, width of the convolution, with the present step; 1 is no convolution.
        unit: whether queries and keys get L2 norm 1.
    """

    def __init__(
        self, width: int, num_heads: int, key_dim: int, value_dim: int, conv_size: int, *, unit: bool = True
    ) -> None:
        super().__init__()
        require_positive(conv_size=conv_size)
        self.num_heads, self.key_dim, self.conv_size, self.unit = num_heads, key_dim, conv_size, unit
        self.channels, keys = num_heads * (2 * key_dim + value_dim), num_heads * key_dim
        self.window_shape = (conv_size - 1, self.channels)  # of what the convolution keeps of a life
        self.linear = nn.Linear(width, self.channels, bias=False)
        self.conv = nn.Parameter(torch.full((self.channels, conv_size), 1 / conv_size))
        self.linear.weight.data[:keys] = self.linear.weight.data[keys : 2 * keys]
        # queries start equal to the keys, so that similar inputs are recalled from the first step

    def forward(self, x: Tensor, window: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Project x.

        Args:
            x: [B, T, D] inputs.
            window: [B, W - 1, C] inputs of the convolution before the first step.
            start: [B, T] bool, true where a step is the first of a life.

        Returns:
            q [B, T, H, K], k [B, T, H, K], v [B, T, H, V], and the window after the last step.
        """
        return qkv(self.linear(x), self.conv, window, start, self.num_heads, self.key_dim, self.unit)


class RMSNorm(nn.Module):
    """RMS norm with a weight per channel.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """Return [..., D] from x [..., D], times SiLU of the gate [..., D] if there is one."""
        return gated_norm(x, self.weight, gate)

    def bind(self, x: Tensor, y: Tensor) -> Callable[[], None]:
        """Return a call that writes the norm of x [B, D], as it then is, into y; float32 on the CPU, no gradients."""
        return bind_norm(x, self.weight, y)


class Output(nn.Module):
    """Output of a layer: RMS norm per head, SiLU gate of the input, projection to the width.

    Args:
        width: D, width of the layer.
        num_heads: H.
        value_dim: V, width of a head's reading.
    """

    def __init__(self, width: int, num_heads: int, value_dim: int) -> None:
        super().__init__()
        self.norm = RMSNorm(value_dim)
        self.gate = nn.Linear(width, num_heads * value_dim, bias=False)
        self.linear = nn.Linear(num_heads * value_dim, width, bias=False)

    def forward(self, reading: Tensor, x: Tensor) -> Tensor:
        """Return [..., D] from the reading [..., H, V] and the layer's input x [..., D]."""
        y: Tensor = self.linear(self.norm(reading, self.gate(x).view(reading.shape)).flatten(-2))
        return y


class ResidualGate(nn.Module):
    """GTrXL gate in place of a residual sum: a GRU cell with state x and the block's output as input.

    Args:
        width: D, width of x.
        bias: how far towards keeping x the gate begins.
    """

    def __init__(self, width: int, bias: float = 2.0) -> None:
        super().__init__()
        self.input = nn.Linear(width, 3 * width, bias=False)  # W_r, W_z, W_h
        self.gates = nn.Linear(width, 2 * width, bias=False)  # U_r, U_z
        self.candidate = nn.Linear(width, width, bias=False)  # U_h
        self.bias = nn.Parameter(torch.full((width,), float(bias)))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the gated sum [..., D] of the residual stream x [..., D] and the block's output y [..., D]."""
        r, z, h = self.input(y.relu()).chunk(3, -1)
        r_x, z_x = self.gates(x).chunk(2, -1)
        z = (z + z_x - self.bias).sigmoid()
        h = (h + self.candidate((r + r_x).sigmoid() * x)).tanh()
        joined: Tensor = x + z * (h - x)
        return joined


def write_and_fade(
    width: int, num_heads: int, horizons: tuple[float, float], write: float = 0.0, others: Sequence[float] = ()
) -> nn.Linear:
    """Return a map to gates per head: H writes, sigmoids, then H log decays, -softplus, then whatever else there is.

    Write gates begin at 1/2 on average and depend on the input; decays begin near their horizons.

    Args:
        width: D, width of the input.
        num_heads: H.
        horizons: steps until a write has faded to 1/e, of the first and of the last head; log-spaced between.
        write: initial bias of the writes.
        others: initial bias of each further gate.
    """
    gates = nn.Linear(width, (2 + len(others)) * num_heads)
    gates.weight.data[num_heads : 2 * num_heads] *= 0.1
    gates.bias.data[:num_heads] = write
    gates.bias.data[num_heads : 2 * num_heads] = decay_parameters(num_heads, horizons)
    gates.bias.data[2 * num_heads :] = torch.tensor(others).repeat_interleave(num_heads)
    return gates


def fade_rates(num_heads: int, horizons: tuple[float, float]) -> Tensor:
    """Return the decay rates [H]: a step keeps exp(-rate).

    Args:
        num_heads: H.
        horizons: steps until a write has faded to 1/e, of the first and of the last head; log-spaced between.

    Raises:
        ValueError: if `horizons` are not positive and rising.
    """
    first, last = horizons
    if not 0 < first <= last:
        raise ValueError(f"horizons must be positive and rising: horizons={horizons}")
    slow, fast = (torch.tensor(end, device="cpu").log10().item() for end in (last, first))  # meta tensors have no item
    return torch.logspace(-fast, -slow, num_heads)


def decay_parameters(num_heads: int, horizons: tuple[float, float]) -> Tensor:
    """Return the initial bias [H] of a gate whose log decay is -softplus(bias).

    Args:
        num_heads: H.
        horizons: steps until a write has faded to 1/e, of the first and of the last head; log-spaced between.

    Raises:
        ValueError: if `horizons` are not positive and rising.
    """
    return fade_rates(num_heads, horizons).expm1().log()
