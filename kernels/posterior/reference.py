r"""The posterior recurrence, one step at a time.

    M, J <- 0, 0 where a life starts
    M <- a_t M + w_t k_t^T                 evidence: precision times mean
    J <- a_t J + b_t (k_t * k_t)^T         importance gained beyond the prior
    y_t = (M / (J + I_p)) q_t              read the posterior mean

Entries written often become rigid; decay (a < 1) pulls them back to the prior, not to zero precision.
With b = 0 and I_p = 1 this is gated linear attention.

Shapes: B lives, T steps, H heads, K key dim, V value dim; M and J are [V, K]; a = exp(decay), one per head or one
per key channel.
Traffic per step and head: 4 V K numbers of state (two read, two written) and 2 K + 3 V of inputs and outputs.
Source: Palimpsa, arXiv:2602.09075, in its linear form.
"""

import torch
from torch import Tensor

from lifelong.kernels.arguments import examine

__all__ = ["check", "posterior"]


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
) -> tuple[Tensor, Tensor, Tensor]:
    """Write evidence and importance, and read the posterior mean, at every step.

    Args:
        q: [B, T, H, K] queries.
        k: [B, T, H, K] keys written at.
        w: [B, T, H, V] evidence written.
        b: [B, T, H, V] importance written, >= 0.
        evidence: [B, H, V, K] M before the first step.
        importance: [B, H, V, K] J before the first step, >= 0.
        start: [B, T] bool, true where a step is the first of a life.
        prior: [H] importance of the prior, > 0.
        decay: [B, T, H] or [B, T, H, K], log of the factor kept, <= 0; None keeps everything.

    Returns:
        y: [B, T, H, V] outputs.
        evidence: [B, H, V, K] M after the last step.
        importance: [B, H, V, K] J after the last step.
    """
    ys = []
    for t in range(q.shape[1]):
        fresh = start[:, t, None, None, None]
        evidence, importance = evidence.masked_fill(fresh, 0.0), importance.masked_fill(fresh, 0.0)
        if decay is not None:
            kept = decay[:, t].exp()  # [B, H] or [B, H, K]
            kept = kept[..., None, None] if decay.ndim == 3 else kept[..., None, :]
            evidence, importance = kept * evidence, kept * importance
        key = k[:, t, :, None, :]
        evidence = evidence + w[:, t, ..., None] * key
        importance = importance + b[:, t, ..., None] * (key * key)
        mean = evidence / (importance + prior[:, None, None])
        ys.append((mean @ q[:, t, ..., None])[..., 0])
    return torch.stack(ys, 1), evidence, importance


def check(
    q: Tensor,
    k: Tensor,
    w: Tensor,
    b: Tensor,
    evidence: Tensor,
    importance: Tensor,
    start: Tensor,
    prior: Tensor,
    decay: Tensor | None,
) -> None:
    """Validate shapes and dtypes.

    Raises:
        ValueError: naming the argument, its shape and the shape wanted.
    """
    if q.ndim != 4:
        raise ValueError(f"q must be [B, T, H, K], got {list(q.shape)}")
    B, T, H, K = q.shape
    V = w.shape[-1]
    for name, tensor, shapes in (
        ("k", k, ([B, T, H, K],)),
        ("w", w, ([B, T, H, V],)),
        ("b", b, ([B, T, H, V],)),
        ("evidence", evidence, ([B, H, V, K],)),
        ("importance", importance, ([B, H, V, K],)),
        ("start", start, ([B, T],)),
        ("prior", prior, ([H],)),
        ("decay", decay, ([B, T, H], [B, T, H, K])),
    ):
        if tensor is not None and list(tensor.shape) not in shapes:
            raise ValueError(f"{name} must be {' or '.join(map(str, shapes))}, got {list(tensor.shape)}")
    if start.dtype != torch.bool:
        raise ValueError(f"start must be bool, got {start.dtype}")
    examine(
        {"q": q, "k": k, "w": w, "b": b, "evidence": evidence, "importance": importance, "start": start,
         "prior": prior, "decay": decay},
        states=("evidence", "importance", "prior"),
    )  # fmt: skip
