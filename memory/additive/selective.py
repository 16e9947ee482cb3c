r"""Base of selective state spaces: N states per channel with data-dependent write and read.

    h <- exp(decay_t) * h + u'_t k_t^T              elementwise; h_0 = 0
    y_t = h q_t + D u_t

u = SiLU(conv(W x)), N states behind each of E channels; k and q, of width N, are linear in u and the same for all
channels; u' and the decay of every state depend on k and on one rate per channel, of low rank in u. The reading goes
through an RMS norm, a SiLU gate and a linear map.

Shapes: B lives, T steps, D width, E channels, N states; state h [B, E, N] and the convolution's window.
Cost per step: 8 E N floating-point operations besides the projections; 4 E N bytes of state.
Source: the block of arXiv:2312.00752; the norm is ours, and q begins equal to k.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.kernels.linear_scan import linear_scan
from lifelong.kernels.short_conv import short_conv
from lifelong.memory.layer import RMSNorm
from lifelong.memory.memory import Memory

__all__ = ["Selective"]


class Selective(Memory):
    """Base of selective state spaces: a row of states per channel; subclasses define `transition`.

    Args:
        width: D, width of inputs and outputs.
        channels: E; None for twice the width.
        states: N.
        conv_size: width of the short convolution, in steps.

    Raises:
        ValueError: if a size is not positive.
    """

    def __init__(self, width: int, channels: int | None, states: int, conv_size: int) -> None:
        super().__init__(width)
        channels = 2 * width if channels is None else channels
        for name, size in (("channels", channels), ("states", states), ("conv_size", conv_size)):
            if size < 1:
                raise ValueError(f"{name} must be positive: {name}={size}")
        self.shape, self.conv_size, self.rank = (channels, states), conv_size, -(-width // 16)
        self.enter = nn.Linear(width, 2 * channels, bias=False)
        self.conv = nn.Parameter(torch.full((channels, conv_size), 1 / conv_size))
        self.select = nn.Linear(channels, self.rank + 2 * states, bias=False)
        self.select.weight.data[-states:] = self.select.weight.data[-2 * states : -states]  # q begins equal to k
        self.rate = nn.Linear(self.rank, channels)
        self.skip = nn.Parameter(torch.ones(channels))
        self.norm = RMSNorm(channels)
        self.leave = nn.Linear(channels, width, bias=False)

    def transition(self, u: Tensor, rate: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs to write along k [B, T, E], and the log decay of every state [B, T, E, N].

        Args:
            u: [B, T, E] inputs of the channels.
            rate: [B, T, E] a number of any sign per channel.
            k: [B, T, N] keys.
        """
        raise NotImplementedError(f"{type(self).__name__} must define transition(u, rate, k)")

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty states and an empty window."""
        window = self.zeros(batch, self.conv_size - 1, self.shape[0])
        return TensorDict({"h": self.zeros(batch, *self.shape), "window": window}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        N = self.shape[1]
        u, gate = self.enter(x).chunk(2, -1)
        u, window = short_conv(u, self.conv, state["window"], start)
        u = nn.functional.silu(u)
        low, k, q = self.select(u).split([self.rank, N, N], -1)
        written, decay = self.transition(u, self.rate(low), k)
        y, h = linear_scan(written, decay, state["h"], start, write=k, read=q)
        y = self.norm(y + self.skip * u, gate)
        return self.leave(y), TensorDict({"h": h, "window": window}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        E, N = self.shape
        return 2 * E * (3 * self.width + 2 * self.rank + 2 * N) + 8 * E * N
