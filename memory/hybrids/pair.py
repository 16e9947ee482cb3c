"""Base of memories made of two others; making and running a memory inside another.

Shapes: B lives, T steps, D width; the state of a pair holds those of the two under `a` and `b`.
Source: Titans, arXiv:2501.00663, which puts its memory beside attention, before it, or into its context.
"""

from typing import Any

from tensordict import TensorDict
from torch import Tensor

from lifelong.memory.memory import Memory, inner_bounds
from lifelong.memory.registry import make_memory

__all__ = ["Pair", "inner_memory", "run"]


class Pair(Memory):
    """Base of `Hybrid` and `Series`: two memories and their states; subclasses define `_run`.

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
        self.state_bounds = inner_bounds(a=self.a, b=self.b)

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
