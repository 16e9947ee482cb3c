r"""Sliding window with attention sinks: the last steps of the life, and its first few, which are never overwritten.

    seen_t = the last W steps of this life, t among them, and its first N
    p_ts = softmax over s in seen_t of  g q_t^T k_s + b[distance of t and s in the cache]
    y_t = sum_s p_ts v_s

Positions are places in the cache, not in the life: once the window has left the sinks behind, they stand where they
would if nothing lay between, so that sink s is N + W - 1 - s steps away for ever.
q, k, v = SiLU(conv(W x)), q and k of unit length; the sharpness g and a bias b for every distance are learned per head,
and the reading leaves through the same norm and gate as in the matrix memories.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim, N sinks, W cache; state k [B, N + W - 1, H, K],
v [B, N + W - 1, H, V] (sinks first), count [B, 1] int64 (steps lived, at most N + W) and the convolution's window.
Cost per step: 2 (N + W) H (K + V) floating-point operations besides the projections, in a pass up to twice that for the
window; 4 (N + W - 1) H (K + V) + 8 bytes of state.
Source: StreamingLLM, arXiv:2309.17453, which turns keys by their place in the cache where we learn a bias for each;
unit-length queries and keys, arXiv:2010.04245.
"""

import torch
from tensordict import TensorDict
from torch import Tensor

from lifelong.kernels.segments import life_start_steps
from lifelong.kernels.sliding_window import Band
from lifelong.memory.attention.cached import CachedAttention

__all__ = ["SinkWindow"]


class SinkWindow(CachedAttention):
    """Attention over a life's first and last steps.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        sinks: N, first steps of a life that stay.
        cache: W, last steps it sees, the present among them.
        key_dim: K; None for width / num_heads.
        value_dim: V; None for width / num_heads.
        conv_size: width of the short convolution, in steps.

    Raises:
        ValueError: if `num_heads` does not divide `width`, `sinks` is below 1, or `cache` below 2.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        sinks: int = 4,
        cache: int = 32,
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
    ) -> None:
        if sinks < 1:
            raise ValueError(f"sinks must be at least 1, without any it is the window: sinks={sinks}")
        if cache < 2:
            raise ValueError(f"cache must be at least 2, the present and one step before it: cache={cache}")
        seen = sinks + cache
        super().__init__(width, num_heads, key_dim, value_dim, conv_size, seen=seen, distances=seen)
        self.sinks, self.cache = sinks, cache
        self.state_bounds = {"count": (0, seen)}

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        B, T = start.shape
        N, W = self.sinks, self.cache
        band = Band(state["count"].clamp(max=W - 1), start, W)
        q, k, v, window = self.project(x, state["window"], start)
        q = self.sharpness[:, None] * q
        k, v = torch.cat([state["k"], k], 1), torch.cat([state["v"], v], 1)  # [B, N + W - 1 + T, H, K or V]

        born = life_start_steps(state["count"], start)
        steps, sink = torch.arange(T, device=x.device), torch.arange(N, device=x.device)
        first = born[..., None] + sink  # [B, T, N] the steps that are the life's sinks
        # a sink older than the pass is one of the first N rows
        place = torch.where(first < 0, sink, (N + W - 1 + first).clamp(max=N + W - 2 + T))
        lives = torch.arange(B, device=x.device)[:, None, None]
        distance = steps[:, None] - first  # [B, T, N]
        bias = self.bias[:, torch.minimum(distance, N + W - 1 - sink).clamp(min=0)]  # [H, B, T, N]
        scores = torch.einsum("bthk,btnhk->bthn", q, k[lives, place]) + bias.permute(1, 2, 0, 3)
        left = (distance >= W)[:, :, None]  # in the window itself until then
        sinks = scores.masked_fill(~left, -torch.inf), v[lives, place]

        recent = band.scores(q, k[:, N:]) + self.bias[:, band.age.clamp(0, W - 1)]
        y = band.mix(recent, v[:, N:], sinks)

        after = {"count": (T - born[:, -1:]).clamp(max=N + W), "window": window}
        lived = (first[:, -1] < T)[..., None, None]  # [B, N, 1, 1]
        for name, z in (("k", k), ("v", v)):
            kept = torch.where(lived, z[lives[:, 0], place[:, -1]], 0.0)
            after[name] = torch.cat([kept, band.keep(z[:, N:])], 1)
        return self.output(y, x), TensorDict(after, [B])
