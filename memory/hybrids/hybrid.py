r"""Combine two memories: in parallel, mixed by a gate per channel, or in series.

Hybrid:  y_t = g a(x)_t + (1 - g) b(x)_t        g = sigmoid(W x + c), per channel
         y_t = a(x)_t + b(x)_t                  with `mix="sum"`
Series:  y_t = b(norm(x + a(x)))_t

A hybrid of a neural memory with a window is Titans' memory as a gate, a series of the two its memory as a layer: the
window is exact and short, the other long and lossy. The two write independently of each other; in a series b stores
what a has read.

Shapes: B lives, T steps, D width; the state holds those of the two under `a` and `b`.
Cost per step: that of the two, and 2 D^2 floating-point operations for the gate; bytes of state: those of the two.
Source: Titans, arXiv:2501.00663, which multiplies the two normalised readings where the gate here weighs them, has no
residual inside the series, and puts learned tokens before either (here in `memory_as_context` only); parallel heads in
one layer, arXiv:2411.13676.
"""

from typing import Any, Literal

from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.memory.layer import RMSNorm
from lifelong.memory.memory import Memory
from lifelong.memory.registry import make_memory

__all__ = ["Hybrid", "Series", "inner_memory", "run"]


class Pair(Memory):
    """Base of `Hybrid` and `Series`: two memories and their states.

    Args:
        width: D, width of inputs and outputs.
        a: name of the first memory, or a memory.
        b: name of the second one, or a memory.
        a_options: settings of the first, if it is named.
        b_options: settings of the second, if it is named.

    Raises:
        ValueError: if a memory has another width.
    """

    def __init__(
        self,
        width: int,
        a: str | Memory,
        b: str | Memory,
        a_options: dict[str, Any] | None,
        b_options: dict[str, Any] | None,
    ) -> None:
        super().__init__(width)
        self.a, self.b = inner_memory(width, a, a_options), inner_memory(width, b, b_options)

    def initial_state(self, batch: int) -> TensorDict:
        """Return the initial states of both."""
        return TensorDict({"a": self.a.initial_state(batch), "b": self.b.initial_state(batch)}, [batch])

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Step both memories; see `Memory.step`."""
        return self._run(x, state, start, one_step=True)

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Run both memories over T steps; see `Memory.forward`."""
        return self._run(x, state, start, one_step=False)

    def _run(self, x: Tensor, state: TensorDict, start: Tensor, *, one_step: bool) -> tuple[Tensor, TensorDict]:
        """Run both, for x [B, D] or [B, T, D]."""
        raise NotImplementedError(f"{type(self).__name__} must define _run(x, state, start, one_step)")


class Hybrid(Pair):
    """Two memories in parallel.

    Args:
        width: D, width of inputs and outputs.
        a: name of the first memory, or a memory.
        b: name of the second one, or a memory.
        mix: `gate`, a learned choice per channel and step, or `sum`.
        a_options: settings of the first, if it is named.
        b_options: settings of the second, if it is named.

    Raises:
        ValueError: if `mix` is neither word, or a memory has another width.
    """

    def __init__(
        self,
        width: int,
        a: str | Memory = "gated_delta",
        b: str | Memory = "window",
        mix: Literal["gate", "sum"] = "gate",
        a_options: dict[str, Any] | None = None,
        b_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(width, a, b, a_options, b_options)
        if mix not in ("gate", "sum"):
            raise ValueError(f"mix must be 'gate' or 'sum', got {mix!r}")
        self.gate = nn.Linear(width, width) if mix == "gate" else None
        if self.gate is not None:
            nn.init.zeros_(self.gate.bias)  # half of each

    def _run(self, x: Tensor, state: TensorDict, start: Tensor, *, one_step: bool) -> tuple[Tensor, TensorDict]:
        y_a, state_a = run(self.a, x, state, "a", start, one_step=one_step)
        y_b, state_b = run(self.b, x, state, "b", start, one_step=one_step)
        y = y_a + y_b if self.gate is None else y_b + self.gate(x).sigmoid() * (y_a - y_b)
        return y, TensorDict({"a": state_a, "b": state_b}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Both memories and the gate."""
        return self.a.step_flops + self.b.step_flops + (0 if self.gate is None else 2 * self.width**2)


class Series(Pair):
    """Two memories in series; the second reads the input plus the first one's output.

    Args:
        width: D, width of inputs and outputs.
        a: name of the first memory, or a memory.
        b: name of the second one, or a memory.
        a_options: settings of the first, if it is named.
        b_options: settings of the second, if it is named.

    Raises:
        ValueError: if a memory has another width.
    """

    def __init__(
        self,
        width: int,
        a: str | Memory = "gated_delta",
        b: str | Memory = "window",
        a_options: dict[str, Any] | None = None,
        b_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(width, a, b, a_options, b_options)
        self.norm = RMSNorm(width)

    def _run(self, x: Tensor, state: TensorDict, start: Tensor, *, one_step: bool) -> tuple[Tensor, TensorDict]:
        read, state_a = run(self.a, x, state, "a", start, one_step=one_step)
        y, state_b = run(self.b, self.norm(x + read), state, "b", start, one_step=one_step)
        return y, TensorDict({"a": state_a, "b": state_b}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Both memories."""
        return self.a.step_flops + self.b.step_flops


def inner_memory(width: int, memory: str | Memory, options: dict[str, Any] | None) -> Memory:
    """Return a memory, made by name if needed.

    Raises:
        ValueError: if it is of another width, or options are given with a memory object.
    """
    if isinstance(memory, str):
        return make_memory(memory, width, **(options or {}))
    if options:
        raise ValueError(f"options go with a memory's name, got {options} for a {type(memory).__name__}")
    if memory.width != width:
        raise ValueError(f"memories must have one width: width={width}, {type(memory).__name__} has {memory.width}")
    return memory


def run(
    memory: Memory, x: Tensor, state: TensorDict, name: str, start: Tensor, *, one_step: bool
) -> tuple[Tensor, TensorDict]:
    """Run a memory on its part of the state, over one step x [B, D] or many [B, T, D]."""
    part = state.get(name, TensorDict({}, [x.shape[0]]))  # a saved state has no entry for a memory without one
    live = memory.step if one_step else memory
    y, part = live(x, part, start)
    return y, part
