r"""HOLA, a hippocampus for linear attention: the gated delta rule, and as they are the pairs it had to learn most from.

    S <- alpha_t S,   e_t = v_t - S k_t,   S <- S + beta_t e_t k_t^T       S_0 = 0
    keep (k_t, v_t) with the score beta_t |e_t|: the w pairs of the largest scores in this life so far
    p_ts = softmax over these, t itself, and a sink of value 0 and score d  of  norm(q_t)^T norm(k_s) / sqrt(K)
    y_t = S q_t + sigmoid(c) sum_s p_ts v_s

The score is how much a write changed S: what S could not predict, and was told to learn. Of equal scores the earlier
is kept. Every head has a cache of its own. For S, queries and keys have unit length; the cache reads them through RMS
norms of its own, with learned weights, so that its softmax is sharp. q, k, v = SiLU(conv(W x)), beta = sigmoid(W x),
log alpha = -softplus(W x + b); the reading goes through an RMS norm per head, a SiLU gate and a linear map.

Gradients flow through pairs that are kept and read, not through the choice. So the score is an integer, in 4096ths, and
acting and learning, whose last bits differ, almost always keep the same pairs (see `kernels/largest_writes`).

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim, w cache, n = w + T; state S [B, H, V, K],
k [B, w, H, K], v [B, w, H, V], score [B, w, H] int64 (-1: empty) and the convolution's window.
Cost per step: 14 H V K operations for S, which is read twice, and w H (6 K + 2 V) for the cache, besides the
projections; 4 H V K + 4 w H (K + V + 2) bytes of state.
Source: arXiv:2607.02303, equations 1, 3, 6 and 7 with the gated delta rule of its section 3.5, its block of steps that
are seen besides the cache being the present one. Our convolution, decay and horizons, as in `gated_delta`.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.kernels.fast_weight import fast_weight
from lifelong.kernels.largest_writes import largest_writes
from lifelong.memory.delta.base import DeltaRule
from lifelong.memory.layer import RMSNorm, require_positive
from lifelong.memory.memory import COUNTED

__all__ = ["HOLA"]

CACHE = ("k", "v", "score")
UNIT = 4096
"""Score of a change of S by 1."""


class HOLA(DeltaRule):
    """Gated delta rule with an exact cache of its largest writes; see `DeltaRule` for the other arguments.

    Args:
        cache: w, pairs that are kept.

    Raises:
        ValueError: if `num_heads` does not divide `width`, or `cache` is not positive.
    """

    entry_flops = 14
    sums_writes = False  # the cache is read besides

    def __init__(
        self, width: int, num_heads: int | None = None, cache: int = 32, key_dim: int | None = None,
        value_dim: int | None = None, conv_size: int = 2, horizons: tuple[float, float] = (1e4, 1e5),
    ) -> None:  # fmt: skip
        require_positive(cache=cache)
        super().__init__(width, num_heads, key_dim, value_dim, conv_size, horizons)
        self.cache, self.key_flops = cache, 6 * cache + 2 * cache * self.value_dim // self.key_dim
        self.norm_q, self.norm_k = RMSNorm(self.key_dim), RMSNorm(self.key_dim)
        self.state_bounds = {"score": (-1, COUNTED)}
        self.sink = nn.Parameter(torch.zeros(self.num_heads))  # d
        self.share = nn.Parameter(torch.full((self.num_heads,), -4.0))  # c

    def initial_rest(self, batch: int) -> dict[str, Tensor]:
        """Return an empty cache."""
        (H, V, K), w = self.shape, self.cache
        score = self.zeros(batch, w, H, dtype=torch.int64) - 1
        return {"k": self.zeros(batch, w, H, K), "v": self.zeros(batch, w, H, V), "score": score}

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        q, k, v, window = self.project(x, state["window"], start)
        beta, fade = self.strength_and_decay(x)
        # a step is two of the kernel: decay and read at the key; correct and read at the query
        first = torch.stack([start, torch.zeros_like(start)], 2).flatten(1, 2)
        decay, rate = _in_turn(fade, torch.zeros_like(fade)), _in_turn(torch.zeros_like(beta), beta)
        twice = _in_turn(k, q), _in_turn(k, k), _in_turn(v, v)
        y, S = fast_weight(*twice, state["S"], first, decay=decay, rate=rate)
        said, y = y.unflatten(1, (-1, 2)).unbind(2)
        score = (UNIT * beta * (v - said).square().sum(-1).sqrt()).detach().round().long()
        sharp = self.norm_k.weight * self.norm_q(q) / self.key_dim**0.5
        before = state["k"], state["v"], state["score"]
        recalled, *pairs = largest_writes(sharp, k, v, score, self.sink, *before, start)
        y = y + self.share.sigmoid()[:, None] * recalled
        rest = dict(zip(CACHE, pairs, strict=True))
        return self.output(y, x), TensorDict({"S": S, **rest, "window": window}, [x.shape[0]])


def _in_turn(a: Tensor, b: Tensor) -> Tensor:
    """Return [B, 2 T, ...]: a and b [B, T, ...] by turns."""
    return torch.stack([a, b], 2).flatten(1, 2)
