r"""Memory caching: states of a memory at the ends of segments, kept and read beside the present one.

    every C steps of a life:   M_i <- the host's state, m_i <- the mean of the segment's inputs, in a ring of N
    y_t = sum_i g_ti M_i(x_t)                 i over the cached states and the present one, s
    g_t = softmax_i(u_t^T m_i),  u = W x      `mix="gated"`; m_s is the mean of the present segment so far
          the same over s and the k best      `mix="sparse"`
          1                                   `mix="residual"`

With no state cached yet, y is the host's. With `fresh` the host starts anew at every segment; without, the states are
checkpoints of one life. M_i(x_t) is the output of a step of the host from M_i: it sees x_t's own write, in a copy that
is dropped. So any memory can be a host.

Shapes: B lives, T steps, D width, N slots, C steps in a segment; the state holds the host's under `host`, the cached
ones, each leaf [B, N, ...], under `cached`, means [B, N, D], sum [B, D] (of the segment's inputs) and count [B, 1]
int64. A pass is a loop over its steps.
Cost per step: N + 1 steps of the host (k + 1 with `sparse`), 2 D^2 and 4 (N + 1) D operations; N + 1 times the host's
bytes of state, and 4 (N + 1) D + 8.
Source: arXiv:2602.24281, equations 7, 9, 10 and 17 and section 3.4. A variant: its states grow in number with the life,
ours are N and the oldest is dropped; it mixes readings M_i q, we mix outputs. Its soup of states is not here.
"""

from typing import Any, Literal

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.segments import nowhere
from lifelong.memory.hybrids.pair import inner_memory
from lifelong.memory.layer import require_positive
from lifelong.memory.memory import COUNTED, Memory, inner_bounds

__all__ = ["MemoryCaching"]

Mix = Literal["gated", "sparse", "residual"]


class MemoryCaching(Memory):
    """A memory that keeps its states at the ends of segments, and reads them beside the present one.

    Args:
        width: D, width of inputs and outputs.
        host: name of the memory, or a memory, with the parameters it has.
        slots: N, states that are kept.
        segment: C, steps between two of them.
        mix: `gated` weighs outputs by the likeness of input and segment, `sparse` only the best, `residual` adds.
        active: k, cached states that `sparse` reads.
        fresh: whether the host starts anew at every segment.
        **options: settings of the host, if it is named.

    Raises:
        ValueError: if the host has no state, a number is not positive, `active` above `slots`, or `mix` unknown.
    """

    def __init__(
        self, width: int, host: str | Memory = "gated_delta", slots: int = 8, segment: int = 16, mix: Mix = "gated",
        active: int = 2, fresh: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(width)
        host = inner_memory(width, host, options)
        require_positive(slots=slots, segment=segment, active=active)
        if mix not in ("gated", "sparse", "residual"):
            raise ValueError(f"mix must be 'gated', 'sparse' or 'residual', got {mix!r}")
        if mix == "sparse" and active > slots:
            raise ValueError(f"active must be within 1 .. slots: active={active}, slots={slots}")
        if not host.state_bytes:
            raise ValueError(f"host must have a state to cache, {type(host).__name__} has none")
        self.host, self.slots, self.segment, self.fresh = host, slots, segment, fresh
        self.state_bounds = {"count": (0, COUNTED)} | inner_bounds(host=host, cached=host)
        self.read = active if mix == "sparse" else slots
        self.gate = None if mix == "residual" else nn.Linear(width, width, bias=False).to(host.zeros())

    def initial_state(self, batch: int) -> TensorDict:
        """Return the host's initial state, also in every slot, and nothing cached yet."""
        host, N, D = self.host.initial_state(batch), self.slots, self.width
        cached = host.apply(lambda leaf: leaf[:, None].expand(batch, N, *leaf.shape[1:]).clone())
        state = {"host": host, "cached": cached, "count": self.zeros(batch, 1, dtype=torch.int64)}
        means = {} if self.gate is None else {"means": self.zeros(batch, N, D), "sum": self.zeros(batch, D)}
        return TensorDict({**state, **means}, [batch])

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Step the present state, and copies of the cached ones; see `Memory.step`."""
        B, N, C, k = x.shape[0], self.slots, self.segment, self.read + 1
        state = self.restart(state, start)
        count, slot, means, scores = state["count"], torch.arange(N, device=x.device), {}, x.new_zeros(B, N + 1)
        ends = (count % C == C - 1) & (count // C % N == slot)  # [B, N], where the present state goes
        host = self.host.restart(state["host"], count[:, 0] % C == 0) if self.fresh else state["host"]
        if self.gate is not None:
            total = state["sum"] + x
            seen = torch.cat([state["means"], (total / (count % C + 1))[:, None]], 1)
            scores = torch.einsum("bd,bnd->bn", self.gate(x), seen)
            means["means"] = torch.where(ends[..., None], seen[:, -1:], state["means"])
            means["sum"] = total.masked_fill(count % C == C - 1, 0.0)
        scores = scores.masked_fill(functional.pad(slot >= count // C, (0, 1), value=False), -torch.inf)
        cached = chosen = state["cached"]
        if k <= N:
            best = scores[:, :N].topk(k - 1).indices
            scores = torch.cat([scores.gather(1, best), scores[:, N:]], 1)  # [B, k + 1], the present state last
            chosen = cached.apply(lambda leaf: leaf.gather(1, _like(best, leaf).expand(-1, -1, *leaf.shape[2:])))
        weight = scores.exp() if self.gate is None else scores.softmax(1)
        states = host.apply(lambda z, kept: torch.cat([kept, z[:, None]], 1).flatten(0, 1), chosen, batch_size=[B * k])
        y, after = self.host.step(x.repeat_interleave(k, 0), states, start.new_zeros(B * k))
        host = after.apply(lambda leaf: leaf.unflatten(0, (B, k))[:, -1].clone(), batch_size=[B])
        if not nowhere(ends):
            cached = cached.apply(lambda old, new: torch.where(_like(ends, old), new[:, None], old), host)
        y = torch.einsum("bk,bkd->bd", weight, y.unflatten(0, (B, k)))
        return y, TensorDict({"host": host, "cached": cached, "count": count + 1, **means}, [B])

    @property
    def step_flops(self) -> int:
        """Steps of the host, the gate, and the sum of outputs."""
        D, gated = self.width, self.gate is not None
        return (self.read + 1) * (self.host.step_flops + 2 * D) + gated * 2 * D * (D + self.slots + 1)


def _like(x: Tensor, leaf: Tensor) -> Tensor:
    """Return x [B, N] with as many axes as a leaf [B, N, ...]."""
    return x.view(*x.shape, *[1] * (leaf.ndim - 2))
