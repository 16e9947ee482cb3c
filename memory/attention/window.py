r"""Softmax attention over the last steps of the present life.

    seen_t = the last W steps of this life, t among them
    p_ts = softmax over s in seen_t of  g q_t^T k_s + b[t - s]
    y_t = sum_s p_ts v_s

q, k, v = SiLU(conv(W x)), q and k of unit length; the sharpness g and a bias b for every age are learned per head:
positions are relative, and a life of any length looks the same. The reading leaves through the same norm and gate as in
the matrix memories.
The cache is a ring, of which a step writes one row (see `kernels/ring_attention`). A row counts by `count`, never by
being zero: a zero key would still get its share of the softmax.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim, W cache; state k [B, W - 1, H, K],
v [B, W - 1, H, V], count [B, 1] int64 (rows in use, at most W - 1 since the present step is the W-th, plus W times the
row that is written next) and the convolution's window.
A pass cuts time into N blocks of C = min(T, W) steps, each of which sees itself and the W - 1 steps before it.
Cost per step: 2 W H (K + V) floating-point operations besides the projections, up to twice that in a pass;
4 (W - 1) H (K + V) + 8 bytes of state.
Source: sliding windows, arXiv:2004.05150; unit-length queries and keys, arXiv:2010.04245; a bias per distance,
arXiv:1910.10683 (here one for each, without buckets).
"""

import torch
from tensordict import TensorDict
from torch import Tensor

from lifelong.kernels.ring_attention import ring_attention
from lifelong.memory.attention.cached import CachedAttention

__all__ = ["Window"]


class Window(CachedAttention):
    """Attention over a bounded cache of keys and values.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        cache: W, steps it sees, the present among them.
        key_dim: K; None for width / num_heads.
        value_dim: V; None for width / num_heads.
        conv_size: width of the short convolution, in steps.

    Raises:
        ValueError: if `num_heads` does not divide `width`, or `cache` is below 2.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        cache: int = 32,
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
    ) -> None:
        if cache < 2:
            raise ValueError(f"cache must be at least 2, the present and one step before it: cache={cache}")
        super().__init__(width, num_heads, key_dim, value_dim, conv_size, seen=cache, distances=cache)
        self.cache = cache

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        return self.attend(x, state, start)

    def attend(
        self, x: Tensor, state: TensorDict, start: Tensor, others: tuple[Tensor, Tensor, Tensor] | None = None
    ) -> tuple[Tensor, TensorDict]:
        """Compute `forward` with further keys and values for each step.

        Args:
            x: [B, T, D] inputs.
            state: [B] memory before the first of them.
            start: [B, T] bool, true where a step is the first of a life.
            others: E keys [B, T, E, H, K], their values [B, T, E, H, V] and biases [H, E].

        Returns:
            y: [B, T, D] outputs.
            state: [B] memory after the last step, without `others`.
        """
        q, k, v, window = self.project(x, state["window"], start)
        q, entries = self.sharpness[:, None] * q, None
        if others is not None:
            keys, values, bias = others
            entries = torch.einsum("bthk,btehk->bthe", q, keys) + bias, values
        before = state["k"], state["v"], state["count"]
        y, *cache = ring_attention(q, k, v, self.bias, *before, start, entries)
        after = TensorDict({**dict(zip(("k", "v", "count"), cache, strict=True)), "window": window}, [x.shape[0]])
        return self.output(y, x), after
