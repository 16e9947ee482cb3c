r"""Base of gated additive memories: a decayed sum of outer products; writing does not read the state.

    S <- S diag(a_t) + g_t v_t k_t^T                S_0 = 0
    y_t = read(S q_t)

A subclass computes queries, keys, values, gates g and decays a of all steps at once, and the output from the readings;
the recurrence is shared. With `normaliser` a value that is always 1 is written along with the others, g_t k_t^T, as one
more row of S: by it a reading can be divided. Because the write does not depend on S, an importance can be kept beside
it: `lifelong.memory.metaplastic` wraps any member.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim, R = V or V + 1 rows; state S [B, H, R, K], and
whatever else a member keeps.
Cost per step: 5 H R K floating-point operations with a decay, 4 without, besides the projections; 4 H R K bytes of
state.
Source: the form that arXiv:2312.06635 gives to the whole family; gate and normaliser are told apart from the value.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from tensordict import TensorDict
from torch import Tensor
from torch.nn import functional

from lifelong.kernels.fast_weight import fast_weight
from lifelong.memory.memory import Memory

__all__ = ["Additive", "Parts"]


class Parts(NamedTuple):
    """Keys, values, queries and decays of T steps."""

    q: Tensor
    """[B, T, H, K] queries."""
    k: Tensor
    """[B, T, H, K] keys."""
    v: Tensor
    """[B, T, H, V] values, without their gate."""
    read: Callable[[Tensor], Tensor]
    """Maps the readings [B, T, H, R] to the output [B, T, D]."""
    gate: Tensor | None = None
    """[B, T, H] factor of the write; None is 1."""
    decay: Tensor | None = None
    """[B, T, H], or [B, T, H, K] per key channel: log of the factor kept, <= 0; None keeps everything."""
    rest: Mapping[str, Tensor] = {}
    """The state besides S after the last step, as of `initial_rest`."""


class Additive(Memory):
    """Base of additive memories: a matrix per head; subclasses define `parts`, and `initial_rest` for other state.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H.
        key_dim: K, as it is written: after a feature map.
        value_dim: V.
        normaliser: whether the sum of the gated keys is kept as one more row.
    """

    sums_writes = True

    def __init__(self, width: int, num_heads: int, key_dim: int, value_dim: int, *, normaliser: bool = False) -> None:
        super().__init__(width)
        self.shape, self.normaliser = (num_heads, value_dim + normaliser, key_dim), normaliser

    def parts(self, x: Tensor, state: TensorDict, start: Tensor) -> Parts:
        """Return queries, keys, values, gates and decays of T steps.

        Args:
            x: [B, T, D] inputs.
            state: [B] memory before the first of them; S must not be read.
            start: [B, T] bool, true where a step is the first of a life.
        """
        raise NotImplementedError(f"{type(self).__name__} must define parts(x, state, start)")

    def initial_rest(self, batch: int) -> dict[str, Tensor]:
        """Return the initial state besides S: windows, counters, stabilisers.

        Args:
            batch: B, number of lives.
        """
        return {}

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty matrices, and the rest."""
        return TensorDict({"S": self.zeros(batch, *self.shape), **self.initial_rest(batch)}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        parts = self.parts(x, state, start)
        y, S = fast_weight(parts.q, parts.k, self.written(parts), state["S"], start, decay=parts.decay)
        return parts.read(y), TensorDict({"S": S, **parts.rest}, [x.shape[0]])

    def written(self, parts: Parts) -> Tensor:
        """Return the rows to write along the keys, [B, T, H, R]: gated values, and the gate for the normaliser."""
        w = functional.pad(parts.v, (0, 1), value=1.0) if self.normaliser else parts.v
        return w if parts.gate is None else parts.gate[..., None] * w
