r"""Two memories in series: the second reads the input plus the output of the first.

    y_t = b(norm(x + a(x)))_t

A series of a neural memory and a window is Titans' memory as a layer.

Shapes: B lives, T steps, D width; the state holds those of the two under `a` and `b`.
Cost per step and bytes of state: those of the two.
Source: Titans, arXiv:2501.00663, which has no residual inside the series, and puts learned tokens before it (here in
`memory_as_context` only).
"""

from typing import Any

from tensordict import TensorDict
from torch import Tensor

from lifelong.memory.hybrids.pair import Pair, run
from lifelong.memory.layer import RMSNorm
from lifelong.memory.memory import Memory

__all__ = ["Series"]


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
