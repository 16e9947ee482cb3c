r"""Two memories in parallel, mixed by a gate per channel.

    y_t = g a(x)_t + (1 - g) b(x)_t         g = sigmoid(W x + c), per channel
    y_t = a(x)_t + b(x)_t                   with `mix="sum"`

A hybrid of a neural memory with a window is Titans' memory as a gate: the window is exact and short, the other long and
lossy. The two write independently of each other.

Shapes: B lives, T steps, D width; the state holds those of the two under `a` and `b`.
Cost per step: that of the two, and 2 D^2 floating-point operations for the gate; bytes of state: those of the two.
Source: Titans, arXiv:2501.00663, which multiplies the two normalised readings where the gate here weighs them, and puts
learned tokens before them (here in `memory_as_context` only); parallel heads in one layer, arXiv:2411.13676.
"""

from typing import Any, Literal

from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.memory.hybrids.pair import Pair, run
from lifelong.memory.memory import Memory

__all__ = ["Hybrid"]


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
