r"""Base of attention over a cache of keys and values, with unit-length queries and keys.

    p_ts = softmax over what step t sees of  g q_t^T k_s + b[distance of t and s]
    y_t = sum_s p_ts v_s

q, k, v = SiLU(conv(W x)); the sharpness g and a bias b for every distance are learned per head. The reading leaves
through the same norm and gate as in the matrix memories. A slot of the cache counts by `count`, never by being zero: a
zero key would still get its share of the softmax.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim, N steps seen, the present among them; state
k [B, N - 1, H, K], v [B, N - 1, H, V], count [B, 1] int64 and the convolution's window.
Cost per step: 2 N H (K + V) floating-point operations besides the projections; 4 (N - 1) H (K + V) + 8 bytes of state.
Source: unit-length queries and keys, arXiv:2010.04245; a bias per distance, arXiv:1910.10683 (here one for each,
without buckets).
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.memory.layer import Output, Projection, count_heads, linear_flops
from lifelong.memory.memory import Memory

__all__ = ["SHARPNESS", "CachedAttention"]

SHARPNESS = 10.0
"""g at first."""


class CachedAttention(Memory):
    """Base of attention over a bounded cache of keys and values; subclasses define `forward`.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        key_dim: K; None for width / num_heads.
        value_dim: V; None for width / num_heads.
        conv_size: width of the short convolution, in steps.
        seen: N, steps that a step attends to, itself among them.
        distances: number of distances with a bias.

    Raises:
        ValueError: if `num_heads` does not divide `width`.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None,
        key_dim: int | None,
        value_dim: int | None,
        conv_size: int,
        *,
        seen: int,
        distances: int,
    ) -> None:
        super().__init__(width)
        H = count_heads(width, num_heads)
        K, V = key_dim or width // H, value_dim or width // H
        self.shape, self.seen = (H, V, K), seen
        self.state_bounds = {"count": (0, seen * (seen - 1) - 1)}
        self.project = Projection(width, H, K, V, conv_size)
        self.sharpness = nn.Parameter(torch.full((H,), SHARPNESS))
        self.bias = nn.Parameter(torch.zeros(H, distances))
        self.output = Output(width, H, V)

    def empty_cache(self, batch: int, slots: int) -> dict[str, Tensor]:
        """Return keys [B, slots, H, K], values [B, slots, H, V] and the convolution's window, all zero.

        Args:
            batch: B, number of lives.
            slots: of the cache.
        """
        H, V, K = self.shape
        k, v = self.zeros(batch, slots, H, K), self.zeros(batch, slots, H, V)
        return {"k": k, "v": v, "window": self.zeros(batch, *self.project.window_shape)}

    def initial_state(self, batch: int) -> TensorDict:
        """Return an empty cache and an empty window."""
        count = self.zeros(batch, 1, dtype=torch.int64)
        return TensorDict({**self.empty_cache(batch, self.seen - 1), "count": count}, [batch])

    @property
    def step_flops(self) -> int:
        """Projections, scores and reading of one step of one life."""
        H, V, K = self.shape
        return linear_flops(self) + 2 * self.seen * H * (K + V)
