r"""Exact dictionary with integer keys read from the input: a control with perfect addressing.

    key_t = round(x_t[:K] / quantum)                   integers, clamped to +- 2^20
    store x_t[K:] under key_{t-1}                      in its slot if it has one, else in the slot written first
    y_t = W [value under the key nearest to key_t, 1 if that is key_t itself else 0]

The value of a step belongs to the key of the previous step, as in the convolutions of the matrix memories. The last
value of a key wins. Beyond N keys the oldest one is dropped; an empty table reads 0. It is an upper bound for memories
of N items if addressing is solved: one write suffices, without interference and decay. That requires that the first K
channels of x identify the query, and the others hold the answer. A learned encoder need not do so, and gets no gradient
for the keys: gradients flow through the values only.

Shapes: B lives, T steps, D width, K key dim, V = D - K value dim, N slots; state key [B, N, K] int64,
value [B, N, V], last [B, K] int64 (the key before), lived [B, 1] int64 (1 if there was a step before), known [B, 1]
int64 (keys ever given a slot). A pass is a loop over its steps (`kernels/dictionary`).
Cost per step: 6 N K integer operations and 2 (V + 1) D floating-point operations; 8 N K + 4 N V + 8 K + 16 bytes of
state.
Source: ours; a nearest neighbour with a buffer of keys and values as in model-free episodic control, arXiv:1606.04460,
with one neighbour, no returns and first-in-first-out.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.kernels.dictionary import dictionary
from lifelong.memory.memory import COUNTED, Memory

__all__ = ["Table"]

FAR = 2**20
"""Keys are clamped to this, so that squared distances are exact."""


class Table(Memory):
    """Exact dictionary: values under integer keys, both read from the input.

    Args:
        width: D, width of inputs and outputs; at least 2.
        key_dim: K, first channels of x that form the key; None for half of them.
        slots: N, keys it can hold; at least 2.
        quantum: two keys are the same if they round to the same multiple of this in every channel.

    Raises:
        ValueError: if `key_dim` is not within 1 .. width - 1, `slots` is below 2, or `quantum` not positive.
    """

    def __init__(self, width: int, key_dim: int | None = None, slots: int = 64, quantum: float = 0.1) -> None:
        super().__init__(width)
        key_dim = width // 2 if key_dim is None else key_dim
        if not 1 <= key_dim < width:
            raise ValueError(f"key_dim must be within 1 .. width - 1: width={width}, key_dim={key_dim}")
        if slots < 2:
            raise ValueError(f"slots must be at least 2, one is overwritten before it is read: slots={slots}")
        if not quantum > 0:
            raise ValueError(f"quantum must be positive: quantum={quantum}")
        self.key_dim, self.slots, self.quantum = key_dim, slots, quantum
        self.state_bounds = {"key": (-FAR, FAR), "last": (-FAR, FAR), "lived": (0, 1), "known": (0, COUNTED)}
        self.output = nn.Linear(width - key_dim + 1, width, bias=False)

    def initial_state(self, batch: int) -> TensorDict:
        """Return an empty table."""
        value = self.zeros(batch, self.slots, self.width - self.key_dim)
        key = torch.zeros(batch, self.slots, self.key_dim, dtype=torch.int64, device=value.device)
        last, lived, known = (key.new_zeros(batch, n) for n in (self.key_dim, 1, 1))
        return TensorDict({"key": key, "value": value, "last": last, "lived": lived, "known": known}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        K = self.key_dim
        asked = (x[..., :K].detach() / self.quantum).round().clamp(-FAR, FAR).long()  # [B, T, K]
        last = torch.cat([state["last"][:, None], asked[:, :-1]], 1)
        lived = torch.cat([state["lived"], torch.ones_like(asked[:, 1:, 0])], 1).masked_fill(start, 0)  # [B, T]
        table = state["key"], state["value"], state["known"]
        y, key, value, known = dictionary(last, x[..., K:], lived, asked, *table, start)
        after = {"key": key, "value": value, "last": asked[:, -1], "lived": torch.ones_like(known), "known": known}
        return self.output(y), TensorDict(after, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Two searches and the linear map of one step of one life."""
        return 6 * self.slots * self.key_dim + 2 * (self.width - self.key_dim + 1) * self.width
