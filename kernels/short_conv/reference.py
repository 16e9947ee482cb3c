r"""A causal depth-wise convolution, one step at a time.

    window <- 0 where a life starts, else window
    y_t = sum_{i<W} weight[:, W-1-i] x_{t-i}          the last weight is the present step's
    window <- the last W-1 inputs

The window is part of the state: without its reset, a width of 4 would leak three steps of the previous life.

Shapes: B lives, T steps, D channels, W conv size.
"""

import torch
from torch import Tensor

from lifelong.kernels.arguments import examine

__all__ = ["check", "short_conv"]


def short_conv(x: Tensor, weight: Tensor, state: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Convolve each channel over its last steps.

    Args:
        x: [B, T, D] inputs.
        weight: [D, W], oldest step first.
        state: [B, W - 1, D] inputs before the first step, oldest first.
        start: [B, T] bool, true where a step is the first of a life.

    Returns:
        y: [B, T, D] outputs.
        state: [B, W - 1, D] the last inputs.
    """
    ys = []
    for t in range(x.shape[1]):
        state = state.masked_fill(start[:, t, None, None], 0.0)
        window = torch.cat([state, x[:, t, None]], 1)  # [B, W, D]
        ys.append((window * weight.mT).sum(1))
        state = window[:, 1:]
    return torch.stack(ys, 1), state


def check(x: Tensor, weight: Tensor, state: Tensor, start: Tensor) -> None:
    """Validate shapes and dtypes.

    Raises:
        ValueError: naming the argument, its shape and the shape wanted.
    """
    if x.ndim != 3 or weight.ndim != 2:
        raise ValueError(f"x must be [B, T, D] and weight [D, W], got {list(x.shape)} and {list(weight.shape)}")
    B, T, D = x.shape
    for name, tensor, shape in (
        ("weight", weight, [D, weight.shape[1]]),
        ("state", state, [B, weight.shape[1] - 1, D]),
        ("start", start, [B, T]),
    ):
        if list(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {list(tensor.shape)}")
    if start.dtype != torch.bool:
        raise ValueError(f"start must be bool, got {start.dtype}")
    examine({"x": x, "weight": weight, "state": state, "start": start})
