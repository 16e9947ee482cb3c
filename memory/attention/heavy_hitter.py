r"""Heavy hitters (H2O): a bounded cache that drops the least attended entries, never the last few steps.

    where the cache is full, drop the slot of the least score a_s among those older than the last R steps
    write (k_t, v_t) there, a_t = 0
    p_ts = softmax over the slots of  g q_t^T k_s + b[min(t - s, R)]
    a_s <- a_s + p_ts
    y_t = sum_s p_ts v_s

Every head has a cache of its own. q, k, v = SiLU(conv(W x)), q and k of unit length; the sharpness g and the biases b,
one for each of the last R ages and one for all that is older, are learned per head. The reading leaves through the same
norm and gate as in the matrix memories. Gradients flow through the attention, not through the eviction. So the score is
an integer, p in 4096ths: it needs no gradient, a long life stays exact, and acting and learning, whose last bits
differ, almost always drop the same slot. Scores sum over a slot's whole life: entries attended for long stay long.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim, W cache; state k [B, W, H, K], v [B, W, H, V],
score [B, W, H] int64, age [B, W, H] int64 (steps since it was written, at most R; -1: empty) and the convolution's
window. A pass is a loop over its steps (`kernels/heavy_hitter`).
Cost per step: 2 W H (K + V) floating-point operations besides the projections; 4 W H (K + V + 4) bytes of state.
Source: H2O, arXiv:2306.14048 with W / 2 recent steps; it drops after reading what we drop before the next write, and
keeps the positions of the language model where we learn biases.
"""

import torch
from tensordict import TensorDict
from torch import Tensor

from lifelong.kernels.heavy_hitter import heavy_hitter
from lifelong.memory.attention.cached import CachedAttention
from lifelong.memory.memory import COUNTED

__all__ = ["HeavyHitter"]


class HeavyHitter(CachedAttention):
    """Attention over a bounded cache that keeps the most attended entries.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        cache: W, steps it sees, the present among them.
        recent: R, last steps that are never dropped; None for half the cache.
        key_dim: K; None for width / num_heads.
        value_dim: V; None for width / num_heads.
        conv_size: width of the short convolution, in steps.

    Raises:
        ValueError: if `num_heads` does not divide `width`, `cache` is below 2, or `recent` is outside 1 .. cache - 1.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        cache: int = 32,
        recent: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
    ) -> None:
        if cache < 2:
            raise ValueError(f"cache must be at least 2, the present and one step before it: cache={cache}")
        recent = cache // 2 if recent is None else recent
        if not 1 <= recent < cache:
            raise ValueError(f"recent must be within 1 .. cache - 1: recent={recent}, cache={cache}")
        super().__init__(width, num_heads, key_dim, value_dim, conv_size, seen=cache, distances=recent + 1)
        self.cache, self.recent = cache, recent
        self.state_bounds = {"score": (0, COUNTED), "age": (-1, recent)}

    def initial_state(self, batch: int) -> TensorDict:
        """Return an empty cache and an empty window."""
        score = self.zeros(batch, self.cache, self.shape[0], dtype=torch.int64)
        return TensorDict({**self.empty_cache(batch, self.cache), "score": score, "age": score - 1}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        q, k, v, window = self.project(x, state["window"], start)
        q = self.sharpness[:, None] * q
        before = state["k"], state["v"], state["score"], state["age"]
        y, *cache = heavy_hitter(q, k, v, self.bias, *before, start)
        after = dict(zip(("k", "v", "score", "age"), cache, strict=True)) | {"window": window}
        return self.output(y, x), TensorDict(after, [x.shape[0]])
