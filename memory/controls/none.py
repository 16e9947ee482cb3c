r"""Control without memory: a linear map of the present step.

    y_t = W x_t + b

Shapes: B lives, T steps, D width; the state is an empty TensorDict [B].
Cost per step: 2 D^2 floating-point operations; no state.
Source: the memoryless baseline of memory benchmarks, as in POPGym, arXiv:2303.01859.
"""

from collections.abc import Callable
from functools import partial

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.memory.memory import Memory

__all__ = ["NoMemory"]


class NoMemory(Memory):
    """Control without memory: a linear map of the present step.

    Args:
        width: D, width of inputs and outputs.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.linear = nn.Linear(width, width)

    def initial_state(self, batch: int) -> TensorDict:
        """Return an empty state of `batch` lives."""
        return TensorDict({}, [batch])

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Map one step; see `Memory.step`."""
        return self.linear(x), state

    def bind(self, x: Tensor, y: Tensor, state: TensorDict, start: Tensor) -> Callable[[], TensorDict]:
        """Bind a step; see `Memory.bind`."""
        if type(self).step is not NoMemory.step:
            return super().bind(x, y, state, start)
        product = partial(torch.addmm, self.linear.bias.detach(), x, self.linear.weight.detach().T, out=y)

        def run() -> TensorDict:
            product()
            return state

        return run

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Map T steps; see `Memory.forward`."""
        return self.linear(x), state
