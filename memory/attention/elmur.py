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
inputs and readings [B, L, D] of the present segment, count [B, 1] int64. A pass is a loop over its steps.
Cost per step: 4 D^2 (4 + 2 L + M) operations and 8 D^2 for the mlp, since a write is computed at every step;
4 D (M + 2 L) + 8 bytes of state.
Source: arXiv:2510.07151. A variant: an mlp for the mixture of experts behind the write and none behind the reading,
learned slots at first instead of random ones, gradients through slots, where it cuts them between segments, and a
`blend` of 1/2, where its code begins with 1/20.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.memory.layer import count_heads, require_positive
from lifelong.memory.memory import COUNTED, Memory

__all__ = ["ELMUR"]


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
        self.slots, self.segment, self.blend = slots, segment, blend
        self.state_bounds = {"count": (0, COUNTED)}
        H = count_heads(width, num_heads)
        self.attend = nn.ModuleList(_Attention(width, H, n) for n in (segment, distances, distances))
        self.norm = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.first = nn.Parameter(0.02 * torch.randn(slots, width))
        self.output = nn.Linear(width, width, bias=False)

    def initial_state(self, batch: int) -> TensorDict:
        """Return the learned slots, and an empty segment."""
        slots, seen = self.zeros(batch, self.slots, self.width), self.zeros(batch, self.segment, self.width)
        count = self.zeros(batch, 1, dtype=torch.int64)
        return TensorDict({"slots": slots, "inputs": seen, "readings": seen.clone(), "count": count}, [batch])

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Read, and at the end of a segment write; see `Memory.step`."""
        M, L = self.slots, self.segment
        state = self.restart(state, start)
        count, place, slot = state["count"], torch.arange(L, device=x.device), torch.arange(M, device=x.device)
        phase, done = count % L, count // L  # steps of this segment, segments
        last = done - 1 - (done - 1 - slot) % M  # [B, M], the segment that wrote a slot; negative: none
        written = torch.where(last < 0, -1, last * L + L - 1)
        present, ends = (place == phase)[..., None], phase == L - 1
        inputs = torch.where(present, x[:, None], state["inputs"])
        h = self.norm[0](x + self.attend[0](x, inputs, phase - place))
        slots = self.first + state["slots"]
        r = self.norm[1](h + self.attend[1](h, slots, count - written))
        readings = torch.where(present, r[:, None], state["readings"])
        turn = done % M
        old, wrote = slots[torch.arange(x.shape[0], device=x.device), turn[:, 0]], written.gather(1, turn)
        u = self.norm[2](old + self.attend[2](old, readings, done * L + place - wrote))
        new = self.norm[3](u + self.mlp(u))
        new = torch.where(done < M, new, old + self.blend * (new - old))
        slots = torch.where(((slot == turn) & ends)[..., None], new[:, None] - self.first, state["slots"])
        inputs, readings = (z.masked_fill(ends[..., None], 0.0) for z in (inputs, readings))
        after = {"slots": slots, "inputs": inputs, "readings": readings, "count": count + 1}
        return self.output(r), TensorDict(after, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections, attention, mlp and output of one step of one life."""
        D, seen = self.width, 2 * self.segment + self.slots
        return 2 * D**2 * (6 + 2 * seen) + 4 * D * seen + 8 * D**2 + 2 * D**2


class _Attention(nn.Module):
    """Attention of one query to several entries, with a bias for every distance."""

    def __init__(self, width: int, num_heads: int, distances: int) -> None:
        super().__init__()
        self.num_heads, self.query, self.pair = num_heads, nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.bias, self.output = nn.Parameter(torch.zeros(num_heads, distances)), nn.Linear(width, width)

    def forward(self, x: Tensor, entries: Tensor, distance: Tensor) -> Tensor:
        """Return [B, D], for x [B, D], entries [B, N, D] and distances [B, N]; negative ones are not seen."""
        q = self.query(x).unflatten(-1, (self.num_heads, -1))
        k, v = self.pair(entries).unflatten(-1, (2, self.num_heads, -1)).unbind(2)
        bias = self.bias[:, distance.clamp(0, self.bias.shape[1] - 1)].transpose(0, 1)  # [B, H, N]
        scores = torch.einsum("bhk,bnhk->bhn", q, k) / q.shape[-1] ** 0.5 + bias
        weight = scores.masked_fill((distance < 0)[:, None], -torch.inf).softmax(-1)
        y: Tensor = self.output(torch.einsum("bhn,bnhv->bhv", weight, v).flatten(1))
        return y
