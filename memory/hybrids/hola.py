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
acting and learning, whose last bits differ, almost always keep the same pairs. A pass cuts time into blocks; in a
block, a pair is kept at t if fewer than w beat it.

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
from lifelong.memory.delta.base import DeltaRule
from lifelong.memory.layer import RMSNorm, require_positive
from lifelong.memory.memory import COUNTED

__all__ = ["HOLA"]

BLOCK = 64
"""Steps whose pairs are compared with each other at once."""
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
        pairs, recalled = [state["k"], state["v"], state["score"]], []
        for now in zip(*(z.split(BLOCK, 1) for z in (q, k, v, score, start)), strict=True):
            seen, *pairs = self._recall(*now, *pairs)
            recalled.append(seen)
        y = y + self.share.sigmoid()[:, None] * torch.cat(recalled, 1)
        rest = dict(zip(("k", "v", "score"), pairs, strict=True))
        return self.output(y, x), TensorDict({"S": S, **rest, "window": window}, [x.shape[0]])

    def _recall(self, q: Tensor, k: Tensor, v: Tensor, score: Tensor, start: Tensor, *kept: Tensor) -> list[Tensor]:
        """Read and write the cache over a block of steps; return the readings [B, T, H, V] and the cache."""
        T, w = q.shape[1], self.cache
        k, v, score = (torch.cat(pair, 1) for pair in zip(kept, (k, v, score), strict=True))  # [B, n, H, ...]
        lives = torch.cat([torch.zeros_like(score[:, :w, 0]), start.cumsum(1)], 1)  # [B, n]
        places = torch.arange(w + T, device=q.device)
        s, now = score.transpose(1, 2), places[w:, None]
        beats = (s[..., None] > s[..., None, :]) | ((s[..., None] == s[..., None, :]) & (places[:, None] < places))
        beats = beats & (lives[:, None, :, None] == lives[:, None, None])  # [B, H, n, n]
        beaten = beats[:, :, :w].sum(2, keepdim=True) + beats[:, :, w:].cumsum(2)  # [B, H, T, n], by steps so far
        ours = (lives[:, w:, None] == lives[:, None]) & (places <= now)
        keep = (beaten < w) & ours[:, None] & (s >= 0)[..., None, :]
        scores = torch.einsum("bthk,bnhk->bhtn", self.norm_q(q), self.norm_k(k)) / self.key_dim**0.5
        scores = scores.masked_fill(~(keep | (places == now)), -torch.inf)
        sink = self.sink[:, None, None].expand(*scores.shape[:3], 1)
        weight = torch.cat([scores, sink], -1).softmax(-1)[..., :-1]
        y = torch.einsum("bhtn,bnhv->bthv", weight, v)
        last = keep[:, :, -1].transpose(1, 2)  # [B, n, H]
        order = last.long().argsort(dim=1, descending=True, stable=True)[:, :w]
        last, score = last.gather(1, order), score.gather(1, order)
        k, v = (z.gather(1, order[..., None].expand(-1, -1, -1, z.shape[-1])) for z in (k, v))
        k, v = (z.masked_fill(~last[..., None], 0.0) for z in (k, v))
        return [y, k, v, score.masked_fill(~last, -1)]


def _in_turn(a: Tensor, b: Tensor) -> Tensor:
    """Return [B, 2 T, ...]: a and b [B, T, ...] by turns."""
    return torch.stack([a, b], 2).flatten(1, 2)
