"""Interface of all memories: x, state, start -> y, state.

Shapes: B lives, T steps, D width in and out.
A state is a TensorDict of batch size [B] that holds everything time-like: matrices, normalisers, windows, counters.
It never grows, it is float32 (float64 in a float64 module), and gradients flow through it.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Memory"]


class Memory(nn.Module):
    """Base of memories, recurrences with a constant-size state.

    Subclasses define `initial_state`, and `step` or `forward` or both.

    Args:
        width: D, width of inputs and outputs.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width must be positive: width={width}")
        self.width = width

    def initial_state(self, batch: int) -> TensorDict:
        """Return the state at the start of a life.

        Args:
            batch: B, number of lives.

        Returns:
            A TensorDict of batch size [B].
        """
        raise NotImplementedError(f"{type(self).__name__} must define initial_state(batch)")

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Compute one step: write and read; by default a `forward` of one step.

        Args:
            x: [B, D] input of this step.
            state: [B] memory after the previous step; left as it is.
            start: [B] bool, true where this step is the first of a life: the state counts as initial there.

        Returns:
            y: [B, D] output.
            state: [B] memory after this step.
        """
        if type(self).forward is Memory.forward:
            raise NotImplementedError(f"{type(self).__name__} must define step(x, state, start)")
        y, state = self.forward(x[:, None], state, start[:, None])
        return y[:, 0], state

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Compute T steps; by default T calls of `step`.

        Args:
            x: [B, T, D] inputs.
            state: [B] memory before the first of them.
            start: [B, T] bool, true where a step is the first of a life.

        Returns:
            y: [B, T, D] outputs.
            state: [B] memory after the last step.
        """
        ys = []
        for t in range(x.shape[1]):
            y, state = self.step(x[:, t], state, start[:, t])
            ys.append(y)
        return torch.stack(ys, 1), state

    def restart(self, state: TensorDict, start: Tensor) -> TensorDict:
        """Return `state` with the lives where `start` is true reset to the initial state.

        Args:
            state: [B] any state.
            start: [B] bool.
        """
        return self.initial_state(start.shape[0]).where(start, state)

    def zeros(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Return zeros on the parameters' device: float32, or float64 in a float64 module, unless `dtype` is given."""
        anchor = next((p for p in self.parameters()), torch.empty(0))
        if dtype is None:
            dtype = torch.float64 if anchor.dtype == torch.float64 else torch.float32
        return torch.zeros(shape, dtype=dtype, device=anchor.device)

    @property
    def state_bytes(self) -> int:
        """Bytes of state per life."""
        return sum(leaf.numel() * leaf.element_size() for leaf in self.initial_state(1).values(True, True))

    @property
    def step_flops(self) -> int:
        """Floating-point operations of one step of one life, as torch counts them (matrix products).

        Memories whose step is mostly elementwise override this with the number from their docstring.
        """
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            x = self.zeros(1, self.width)
            self.step(x, self.initial_state(1), torch.zeros(1, dtype=torch.bool, device=x.device))
        return int(counter.get_total_flops())
