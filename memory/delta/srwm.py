r"""Self-referential weight matrix (SRWM): a matrix per head that computes its own updates.

    W_t = W + F                                                     F_0 = 0, the offset from the slow weights W
    y_t, q, k, b = W_t phi(x_t)
    F <- F + beta * (W_t phi(q) - W_t phi(k)) phi(k)^T              beta = sigmoid(b), one for each of the four blocks

The output of W at k moves towards that at q: keys, queries and rates are outputs of the matrix that they change. phi is
the softmax, x is projected to every head; the reading goes through an RMS norm per head, a SiLU gate and a linear map.
An exception to the order of a step: y is read before the write, as in the paper, so that a write is first seen one step
later. A pass is a loop over steps (`kernels/self_referential`). The rates start near sigmoid(0) = 1/2. There is no
decay, and F is not bounded by itself: a row longer than `limit` is rescaled to that length; otherwise the rule is the
paper's.

Shapes: B lives, T steps, D width, H heads, N = D / H width of a head, R = 3 N + 4 rows; state F [B, H, R, N].
Cost per step: 11 H R N floating-point operations besides the projections; 4 H R N bytes of state.
Source: arXiv:2202.05780 in its form for reinforcement learning, initial values included; the projection, norm and gate
around it are ours, the same for all matrix memories, and so is the limit.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.kernels.self_referential import self_referential
from lifelong.memory.layer import Output, count_heads
from lifelong.memory.memory import Memory

__all__ = ["SRWM"]


class SRWM(Memory):
    """Self-referential weight matrix per head.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        limit: greatest length of a row of the offset.

    Raises:
        ValueError: if `num_heads` does not divide `width`, or `limit` is not positive.
    """

    def __init__(self, width: int, num_heads: int | None = None, limit: float = 100.0) -> None:
        super().__init__(width)
        num_heads = count_heads(width, num_heads)
        if not limit > 0:
            raise ValueError(f"limit must be positive: limit={limit}")
        N = width // num_heads
        self.limit = limit
        self.input = nn.Linear(width, width, bias=False)
        self.weight = nn.Parameter(torch.randn(num_heads, 3 * N + 4, N) / N**0.5)
        self.output = Output(width, num_heads, N)

    def initial_state(self, batch: int) -> TensorDict:
        """Return an offset of zero."""
        return TensorDict({"F": self.zeros(batch, *self.weight.shape)}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Read and write T times; see `Memory.forward`."""
        seen = self.input(x).unflatten(-1, (len(self.weight), -1)).softmax(-1)
        y, F = self_referential(seen, self.weight, state["F"], start, self.limit)
        return self.output(y, x), TensorDict({"F": F}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        num_heads, R, N = self.weight.shape
        return 2 * self.width * 3 * self.width + 11 * num_heads * R * N
