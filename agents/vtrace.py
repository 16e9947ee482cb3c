"""Advantages by V-trace: what was collected by an earlier policy, seen by the present one.

    ρ_t = min(1, π(a_t) / μ(a_t))
    δ_t = ρ_t (r_t + γ_t V_{t+1} - V_t)
    A_t = δ_t + γ_t λ ρ_t A_{t+1}                 the target of V_t is V_t + A_t

μ is the policy that acted, π and V are those of now. Where a trace stops (an episode that was truncated, the end of the
segment) the value of then follows. While π = μ and V is as it was, that is GAE.

Source: Espeholt et al. 2018, "IMPALA", arXiv 1802.01561; with λ as in PufferLib (Suarez 2025, "PufferLib 2.0").
"""

import torch
from torch import Tensor

__all__ = ["following", "vtrace_advantages"]


def following(value: Tensor, then: Tensor, truncated: Tensor) -> Tensor:
    """Return the values V_{t+1} [B, T, ...] that follow steps.

    Args:
        value: [B, T, ...] V_t of now.
        then: [B, T, ...] V_{t+1} of then.
        truncated: [B, T, ...] after which steps an episode was truncated.
    """
    unknown = truncated.clone()
    unknown[:, -1] = True
    return torch.where(unknown, then, torch.cat([value[:, 1:], value[:, -1:]], 1))


def vtrace_advantages(
    log_ratio: Tensor,
    value: Tensor,
    follows: Tensor,
    reward: Tensor,
    rate: Tensor,
    done: Tensor,
    terminated: Tensor,
    gae_lambda: float,
) -> Tensor:
    """Return A [B, T]; no gradient should flow through what is given.

    Args:
        log_ratio: [B, T] log π(a) / μ(a).
        value: [B, T] V_t.
        follows: [B, T] V_{t+1}.
        reward: [B, T] r_t.
        rate: [B, T] γ_t.
        done: [B, T] after which steps the trace stops.
        terminated: [B, T] after which nothing follows.
        gae_lambda: λ.
    """
    rho = log_ratio.exp().clamp_max(1.0)
    delta = rho * (reward + rate * follows.masked_fill(terminated, 0.0) - value)
    decay = (rate * gae_lambda * rho).masked_fill(done, 0.0)
    advantage, after = torch.empty_like(delta), torch.zeros_like(delta[:, 0])
    for t in reversed(range(delta.shape[1])):
        after = delta[:, t] + decay[:, t] * after
        advantage[:, t] = after
    return advantage
