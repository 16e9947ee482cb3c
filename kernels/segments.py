r"""Causal masks for chunks in which the recurrent state is reset.

Time is cut into chunks of C steps. Inside a chunk a step (row t) sees the steps s <= t of its own life only, and the
state that came into the chunk reaches it only if no life has started since.
Exponents are masked before `exp`; a start is never encoded as an infinite decay, since inf - inf is NaN.

Shapes: N chunks, C steps in a chunk, L[...] any leading sizes.
"""

import torch
from torch import Tensor
from torch.nn import functional

from lifelong.kernels.backends import transformed

__all__ = ["decay_between", "life_start_steps", "masked_exp", "nowhere", "pad_time", "visible"]


def nowhere(mask: Tensor) -> bool:
    """Return whether a mask is known to be false everywhere, without waiting for a GPU or breaking a traced graph.

    A state that nothing changes need not be copied.
    """
    known = mask.device.type == "cpu" and not torch.compiler.is_compiling() and not transformed()
    return known and not mask.any()


def pad_time(x: Tensor, chunk: int, value: float = 0.0) -> Tensor:
    """Pad the time axis at its end to a multiple of `chunk` and cut it: [B, T, ...] -> [B, N, C, ...]."""
    missing = -x.shape[1] % chunk
    if missing:
        x = functional.pad(x, (0, 0) * (x.ndim - 2) + (0, missing), value=value)
    cut: Tensor = x.unflatten(1, (-1, chunk))
    return cut


def life_start_steps(before: Tensor, start: Tensor) -> Tensor:
    """Return the life-start step of each step, [B, T]; negative if the life began before the pass.

    Args:
        before: [B, 1] int64, steps that the incoming life has lived.
        start: [B, T] bool, true where a step is the first of a life.
    """
    steps = torch.arange(start.shape[1], device=start.device)
    first = torch.where(start, steps, -before)
    return first if first.shape[1] == 1 else first.cummax(1).values  # ONNX has no cummax


def visible(start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the masks of a chunk.

    Args:
        start: [..., C] bool, true where a life starts.

    Returns:
        pairs: [..., C, C] bool, true where row t may see column s <= t.
        carried: [..., C] bool, true where the incoming state still counts.
        kept: [..., C] bool, true where a write survives to the end of the chunk.
    """
    life = start.cumsum(-1)
    steps = torch.arange(start.shape[-1], device=start.device)
    pairs = (life[..., :, None] == life[..., None, :]) & (steps[:, None] >= steps)
    return pairs, life == 0, life == life[..., -1:]


def masked_exp(exponent: Tensor, mask: Tensor) -> Tensor:
    """Return exp(exponent) where `mask`, else exactly 0, without overflow outside the mask."""
    return exponent.masked_fill(~mask, -torch.inf).exp()


def decay_between(total: Tensor, pairs: Tensor) -> Tensor:
    """Return the decay at t of a write at s.

    Args:
        total: [..., C] cumulative log decay up to and including each step.
        pairs: [..., C, C] bool, see `visible`.

    Returns:
        [..., C, C], exp(total_t - total_s) where visible, else 0.
    """
    return masked_exp(total[..., :, None] - total[..., None, :], pairs)
