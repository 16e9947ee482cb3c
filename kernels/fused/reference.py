r"""Operations around a recurrence in plain torch: little arithmetic, but a pass through memory for each.

    qkv           silu(conv(x)), cut into q, k and v of H heads, q and k at length 1
    gated_norm    x / rms(x) * weight * silu(gate)
    gated_linear  silu(left half of z) * right half of z

Shapes: B lives, T steps, H heads, K key dim, V value dim, C = H (2 K + V) channels, W conv size.
"""

from torch import Tensor
from torch.nn import functional

from lifelong.kernels.short_conv import short_conv
from lifelong.kernels.unit_length import unit_length

__all__ = ["EPS", "check_qkv", "gated_linear", "gated_norm", "qkv"]

EPS = 1e-5


def qkv(
    x: Tensor, weight: Tensor, state: Tensor, start: Tensor, num_heads: int, key_dim: int, unit: bool = True
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return queries, keys and values of all heads.

    Args:
        x: [B, T, C] inputs of the convolution: queries of all heads, then keys, then values.
        weight: [C, W] of the convolution, oldest step first.
        state: [B, W - 1, C] inputs before the first step, oldest first.
        start: [B, T] bool, true where a step is the first of a life.
        num_heads: H.
        key_dim: K.
        unit: whether queries and keys get L2 norm 1; zero stays zero.

    Returns:
        q: [B, T, H, K].
        k: [B, T, H, K].
        v: [B, T, H, V].
        state: [B, W - 1, C] the last inputs.
    """
    mixed, state = short_conv(x, weight, state, start, backend="reference" if x.shape[1] == 1 else "chunk")
    keys = num_heads * key_dim
    q, k, v = functional.silu(mixed).split([keys, keys, x.shape[-1] - 2 * keys], -1)
    q, k, v = (z.unflatten(-1, (num_heads, -1)) for z in (q, k, v))
    if unit:
        q, k = unit_length(q), unit_length(k)
    return q, k, v, state


def gated_norm(x: Tensor, weight: Tensor, gate: Tensor | None = None) -> Tensor:
    """Return x divided by its root mean square, scaled, and gated.

    Args:
        x: [..., V].
        weight: [V].
        gate: [..., V] goes through SiLU; None is no gate.

    Returns:
        [..., V].
    """
    y = functional.rms_norm(x, weight.shape, weight, EPS)
    return y if gate is None else y * functional.silu(gate)


def gated_linear(z: Tensor) -> Tensor:
    """Return [..., N], the product of the two halves of z [..., 2 N], the left one through SiLU."""
    left, right = z.chunk(2, -1)
    return functional.silu(left) * right


def check_qkv(x: Tensor, num_heads: int, key_dim: int) -> None:
    """Validate the number of channels.

    Raises:
        ValueError: naming the sizes.
    """
    values = x.shape[-1] - 2 * num_heads * key_dim
    if num_heads < 1 or key_dim < 1 or values < 1 or values % num_heads:
        raise ValueError(
            f"x must have H (2 K + V) channels with H = {num_heads}, K = {key_dim} and V > 0, got {x.shape[-1]}"
        )
