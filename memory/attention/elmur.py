r"""ELMUR, an external layer memory: slots that a segment reads as a whole and rewrites one of, the least recent.

    h_t = norm(x_t + attend_1(x_t; the segment's inputs up to t))        a segment is L steps of a life
    r_t = norm(h_t + attend_2(h_t; m_1 .. m_M)),   y_t = W r_t
    at the end of a segment, with j the slot that was written longest ago:
        u = norm(m_j + attend_3(m_j; the segment's r)),   n = norm(u + mlp(u))
        m_j <- n where slot j was never written, else blend n + (1 - blend) m_j

attend is attention of several heads with a learned bias for every distance in time: of steps (1), of a step and the
last write of a slot (2, 3), up to `distances`; a slot that was never written counts as written one step before the
life. One write per segment and none between: what is not rewritten stays as it is, and the slots are written in turn.

Shapes: B lives, T steps, D width, M slots, L steps in a segment; state slots [B, M, D], as offsets from learned ones,
inputs and readings [B, L, D] of the present segment, count [B, 1] int64.
Cost per step: 4 D^2 (6 + 2 L + M) operations, since acting computes a write at every step; 4 D (M + 2 L) + 8 bytes.
Source: arXiv:2510.07151. A variant: an mlp for the mixture of experts behind the write and none behind the reading,
learned slots at first instead of random ones, gradients through slots, where it cuts them between segments, and a
`blend` of 1/2, where its code begins with 1/20.
"""

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.kernels.backends import loops_only
from lifelong.kernels.inner_loop.schedule import schedule
from lifelong.memory.attention.entries import EntryAttention
from lifelong.memory.layer import count_heads, require_positive
from lifelong.memory.memory import COUNTED, Memory

__all__ = ["ELMUR"]

PARTS = ("slots", "inputs", "readings")


class ELMUR(Memory):
    """Attention over a segment and over slots, of which every segment rewrites one.

    Args:
        width: D, width of inputs and outputs.
        num_heads: heads of attention; must divide `width`. None for one in every 32 channels.
        slots: M.
        segment: L, steps between two writes.
        blend: share of a rewritten slot that is new.
        distances: distances in time with a bias of their own; longer ones have that of the last.

    Raises:
        ValueError: if `num_heads` does not divide `width`, a number is not positive, or `blend` is above 1.
    """

    def __init__(
        self, width: int, num_heads: int | None = None, slots: int = 16, segment: int = 16, blend: float = 0.5,
        distances: int = 256,
    ) -> None:  # fmt: skip
        super().__init__(width)
        require_positive(slots=slots, segment=segment, blend=blend, distances=distances)
        if blend > 1:
            raise ValueError(f"blend must be at most 1: blend={blend}")
        self.slots, self.segment, self.blend, self.state_bounds = slots, segment, blend, {"count": (0, COUNTED)}
        H = count_heads(width, num_heads)
        self.attend = nn.ModuleList(EntryAttention(width, H, n) for n in (segment, distances, distances))
        self.norm = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.first = nn.Parameter(0.02 * torch.randn(slots, width))
        self.output = nn.Linear(width, width, bias=False)

    def initial_state(self, batch: int) -> TensorDict:
        """Return the learned slots, and an empty segment."""
        slots, seen = self.zeros(batch, self.slots, self.width), self.zeros(batch, self.segment, self.width)
        state = {"slots": slots, "inputs": seen, "readings": seen.clone()}
        return TensorDict({**state, "count": self.zeros(batch, 1, dtype=torch.int64)}, [batch])

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Read, and at the end of a segment write; see `Memory.step`."""
        state = self.restart(state, start)
        count = state["count"]
        phase, done = count % self.segment, count // self.segment  # steps of this segment, segments
        there, ends = torch.arange(self.segment, device=x.device) == phase, phase == self.segment - 1
        y, after = self._segment(x[:, None], phase, there, done, ends, [state[name] for name in PARTS])
        return y[:, 0], TensorDict({**dict(zip(PARTS, after, strict=True)), "count": count + 1}, [x.shape[0]])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Compute T steps, a segment of every life at a time; see `Memory.forward`."""
        if x.shape[1] <= 1 or loops_only():
            return super().forward(x, state, start)
        plan = schedule(state["count"], start, self.segment)
        steps, there, at = plan.lay_out(x), plan.there, torch.arange(self.segment, device=x.device)[None]
        done = plan.lay_out(plan.age - 1).amax(2, keepdim=True) // self.segment  # [B, N, 1]

        def segment(n: int, parts: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
            y, after = self._segment(steps[:, n], at, there[:, n], done[:, n], plan.full[:, n, None], parts)
            return y[:, None], after

        y, parts = plan.run(segment, [state[name] for name in PARTS])
        return y[:, :, 0], TensorDict({**dict(zip(PARTS, parts, strict=True)), "count": plan.age[:, -1:]}, [len(x)])

    def _segment(self, x: Tensor, at: Tensor, there: Tensor, done: Tensor, ends: Tensor, parts: list[Tensor]) -> Any:
        """Return outputs of steps x [B, Q, D] at places [B, Q] of a segment, filling `there` [B, L], and the parts."""
        (slots, inputs, readings), M, L = parts, self.slots, self.segment
        place, slot = torch.arange(L, device=x.device), torch.arange(M, device=x.device)
        last = done - 1 - (done - 1 - slot) % M  # [B, M], the segment that wrote a slot; negative: none
        written, full = torch.where(last < 0, -1, last * L + L - 1), self.first + slots
        inputs = torch.where(there[..., None], x, inputs)
        h = self.norm[0](x + self.attend[0](x, inputs, at[..., None] - place))
        r = self.norm[1](h + self.attend[1](h, full, (done * L + at)[..., None] - written[:, None]))
        readings, turn = torch.where(there[..., None], r, readings), done % M
        old, wrote = full[torch.arange(x.shape[0], device=x.device), turn[:, 0], None], written.gather(1, turn)
        u = self.norm[2](old + self.attend[2](old, readings, (done * L + place - wrote)[:, None]))
        new = self.norm[3](u + self.mlp(u))  # [B, 1, D]
        new = torch.where((done < M)[..., None], new, old + self.blend * (new - old))
        slots = torch.where(((slot == turn) & ends)[..., None], new - self.first, slots)
        return self.output(r), [slots, *(z.masked_fill(ends[..., None], 0.0) for z in (inputs, readings))]

    @property
    def step_flops(self) -> int:
        """Projections, attention, mlp and output of one step of one life."""
        D, seen = self.width, 2 * self.segment + self.slots
        return 2 * D**2 * (6 + 2 * seen) + 4 * D * seen + 8 * D**2 + 2 * D**2
