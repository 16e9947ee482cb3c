r"""The posterior recurrence, C steps at a time.

M and J are plain decayed sums, so both are known at every step of a chunk from their value before it:

    M[t] = e[t] M + sum_s G[t, s] w_s k_s^T        (G, e as in `fast_weight/chunk.py`)

The division needs every step's matrix, but only temporarily: the matrices between chunks are kept, and the backward
pass recomputes those inside.
"""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lifelong.kernels.segments import decay_between, masked_exp, pad_time, visible

__all__ = ["posterior"]


def posterior(
    q: Tensor,
    k: Tensor,
    w: Tensor,
    b: Tensor,
    evidence: Tensor,
    importance: Tensor,
    start: Tensor,
    *,
    prior: Tensor,
    decay: Tensor | None = None,
    chunk: int = 8,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `reference.posterior`, `chunk` steps at a time; arguments as there."""
    T = q.shape[1]
    chunk = min(chunk, T)
    pairs, carried, _ = visible(pad_time(start, chunk)[:, None])

    def heads_first(x: Tensor) -> Tensor:
        """[B, T, H, ...] -> [B, H, N, C, ...]."""
        return pad_time(x, chunk).movedim(3, 1)

    total = q.new_zeros((1, 1, 1, chunk, 1)) if decay is None else heads_first(decay.view(*q.shape[:3], -1)).cumsum(3)
    total = total.movedim(4, 3)  # [B, H, N, 1 or K, C]
    parts = (
        *(heads_first(x) for x in (q, k, w, b)),
        decay_between(total, pairs[..., None, :, :]),
        masked_exp(total, carried[..., None, :]),
    )
    ys = []
    for n in range(parts[0].shape[2]):
        piece = (part[:, :, n] for part in parts)
        y, evidence, importance = checkpoint(
            _piece, *piece, evidence, importance, prior, use_reentrant=False, preserve_rng_state=False
        )
        ys.append(y)
    y = torch.stack(ys, 2).movedim(1, 3).flatten(1, 2)  # [B, N C, H, V]
    return y[:, :T], evidence, importance


def _piece(
    Q: Tensor, K: Tensor, w: Tensor, b: Tensor, G: Tensor, e: Tensor, M: Tensor, J: Tensor, prior: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one chunk.

    Args:
        Q: [B, H, C, K], as K.
        K: keys.
        w: [B, H, C, V], as b.
        b: importance written.
        G: [B, H, 1 or K, C, C] decay of a write.
        e: [B, H, 1 or K, C] decay of the incoming states.
        M: [B, H, V, K], as J.
        J: importance before the chunk.
        prior: [H].
    """

    def through(write: Tensor, key: Tensor, before: Tensor) -> Tensor:
        """Return the decayed sum at every step of the chunk, [B, H, C, V, K]."""
        writes = key.mT[..., None] * write[..., None, :, :]  # [B, H, K, C, V]
        sums: Tensor = G @ writes + e[..., None] * before.mT[..., None, :]
        return sums.movedim(-3, -1)

    Ms, Js = through(w, K, M), through(b, K * K, J)
    mean = Ms / (Js + prior[:, None, None, None])
    return (mean @ Q[..., None])[..., 0], Ms[..., -1, :, :], Js[..., -1, :, :]
