r"""The delta rule with feedback, one step at a time.

    q, k, v, b = z_t + R tanh(y_{t-1})                              S, y <- 0 where a life starts
    S <- S + sigmoid(b) (v - S softmax(k)) softmax(k)^T
    y_t = S softmax(q)

Shapes: B lives, T steps, H heads, K key dim, V value dim, P = 2 K + V + 1.
Traffic per step and head: 2 V K numbers of state, P V of R, P + V of inputs and outputs.
Source: arXiv:2106.06295.
"""

import torch
from torch import Tensor

from lifelong.kernels.arguments import examine
from lifelong.kernels.fast_weight import fast_weight

__all__ = ["check", "recurrent_delta"]


def recurrent_delta(z: Tensor, feedback: Tensor, S: Tensor, y: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Correct and read the matrix at every step.

    Args:
        z: [B, T, H, P] inputs of query, key, value and rate.
        feedback: [H, P, V] R.
        S: [B, H, V, K] before the first step.
        y: [B, H, V] the reading before the first step.
        start: [B, T] bool, true where a step is the first of a life.

    Returns:
        ys: [B, T, H, V] readings.
        S: after the last step.
    """
    (V, K), ys = S.shape[-2:], []
    for t in range(z.shape[1]):
        heard = y.masked_fill(start[:, t, None, None], 0.0).tanh()
        now = z[:, t] + (feedback @ heard[..., None])[..., 0]
        q, k, v, b = now[:, None].split([K, K, V, 1], -1)  # [B, 1, H, ...]
        rate = b[..., 0].sigmoid()
        read, S = fast_weight(q.softmax(-1), k.softmax(-1), v, S, start[:, t, None], rate=rate)
        y = read[:, 0]
        ys.append(y)
    return torch.stack(ys, 1), S


def check(z: Tensor, feedback: Tensor, S: Tensor, y: Tensor, start: Tensor) -> None:
    """Validate shapes and dtypes; the arguments are those of `recurrent_delta`.

    Raises:
        ValueError: naming the argument, what it is and what is wanted.
    """
    if z.ndim != 4:
        raise ValueError(f"z must be [B, T, H, P], got {list(z.shape)}")
    (B, T, H, P), (V, K) = z.shape, S.shape[-2:]
    wanted = {
        "z": (z, [B, T, H, 2 * K + V + 1]),
        "feedback": (feedback, [H, P, V]),
        "S": (S, [B, H, V, K]),
        "y": (y, [B, H, V]),
        "start": (start, [B, T]),
    }
    for name, (tensor, shape) in wanted.items():
        if list(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {list(tensor.shape)}")
    if start.dtype != torch.bool:
        raise ValueError(f"start must be bool, got {start.dtype}")
    examine({name: tensor for name, (tensor, _) in wanted.items()}, states=("S", "y"))
