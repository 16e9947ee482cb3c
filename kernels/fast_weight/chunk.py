r"""The fast-weight recurrence, C steps at a time, in matrix form.

Notation, for one chunk and head (rows are steps):
    Q, K, R, E [C, K], V [C, V]   queries, keys, erase r, erase keys c (E = K unless given)
    G[t, s]                       decay left at t of a write at s <= t of the same life, else 0; G< without the diagonal
    e[t]                          decay left at t of the incoming S, 0 once a life has started
    f[s]                          decay left at the end of a write at s, 0 if a life starts after it
    U[t] = S r_t                  output of the matrix at r before the write at t

    (I + G< * (R E^T)) U = (G< * (R K^T)) V + (e * R) S^T        unit triangular, by forward substitution:
    Y = (G * (Q K^T)) V - (G * (Q E^T)) U + (e * Q) S^T          an explicit inverse loses all digits when keys repeat
    S <- e[C] S + V^T (f * K) - U^T (f * E)

All terms without S are computed for all chunks at once; only four products remain in the loop over chunks.
With a decay per key channel the factors G sit inside the products; they are formed pairwise, so that no exponent is
ever positive.
"""

import torch
from torch import Tensor

from lifelong.kernels.segments import decay_between, masked_exp, pad_time, visible

__all__ = ["fast_weight"]


def fast_weight(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor,
    start: Tensor,
    *,
    decay: Tensor | None = None,
    erase: Tensor | None = None,
    erase_key: Tensor | None = None,
    rate: Tensor | None = None,
    chunk: int = 32,
) -> tuple[Tensor, Tensor]:
    """Compute `reference.fast_weight`, `chunk` steps at a time; arguments as there."""
    if rate is not None:
        v, erase = rate[..., None] * v, rate[..., None] * k
    T = q.shape[1]
    per_channel = decay is not None and decay.ndim == 4
    chunk = min(chunk, 16 if per_channel else chunk, T)
    pairs, carried, kept = visible(pad_time(start, chunk)[:, None])  # masks [B, 1, N, C(, C)], the same for all heads

    def heads_first(x: Tensor) -> Tensor:
        """[B, T, H, ...] -> [B, H, N, C, ...]."""
        return pad_time(x, chunk).movedim(3, 1)

    Q, K, V = heads_first(q), heads_first(k), heads_first(v)
    if decay is None:
        total = Q.new_zeros((1, 1, 1, chunk))  # cumulative log decay
    else:
        total = heads_first(decay).cumsum(3)  # [B, H, N, C(, K)]
    if per_channel:
        left = masked_exp(total[..., :, None, :] - total[..., None, :, :], pairs[..., None])  # [B, H, N, C, C, K]
        e = masked_exp(total, carried[..., None])
        f = masked_exp(total[..., -1:, :] - total, kept[..., None])
    else:
        left = decay_between(total, pairs)
        e = masked_exp(total, carried)[..., None]
        f = masked_exp(total[..., -1:] - total, kept)[..., None]

    def score(rows: Tensor, columns: Tensor) -> Tensor:
        """Return G * (rows columns^T), [B, H, N, C, C]."""
        if per_channel:
            return torch.einsum("...tk,...sk,...tsk->...ts", rows, columns, left)
        return left * (rows @ columns.mT)

    Y = score(Q, K) @ V
    eQ, fK, end = e * Q, f * K, e[..., -1:, :]
    states, ys = state, []
    if erase is None:
        added = V.mT @ fK  # [B, H, N, V, K]
        for n in range(Q.shape[2]):
            ys.append(Y[:, :, n] + eQ[:, :, n] @ states.mT)
            states = end[:, :, n] * states + added[:, :, n]
    else:
        R = heads_first(erase)
        E = K if erase_key is None else heads_first(erase_key)
        fE = fK if erase_key is None else f * E
        system = score(R, E).tril(-1)
        known = torch.cat([score(R, K).tril(-1) @ V, e * R], -1)
        solved = torch.linalg.solve_triangular(system, known, upper=False, unitriangular=True)
        U_own, U_state = solved.split([V.shape[-1], R.shape[-1]], -1)  # U = U_own + U_state S^T
        QE = score(Q, E)
        Y = Y - QE @ U_own
        eQ = eQ - QE @ U_state
        added = V.mT @ fK - U_own.mT @ fE
        forget = U_state.mT @ fE  # [B, H, N, K, K]
        for n in range(Q.shape[2]):
            ys.append(Y[:, :, n] + eQ[:, :, n] @ states.mT)
            states = end[:, :, n] * states + added[:, :, n] - states @ forget[:, :, n]
    y = torch.stack(ys, 2).movedim(1, 3).flatten(1, 2)  # [B, N C, H, V]
    return y[:, :T], states
