r"""Metaplasticity for any additive memory: an importance for every fast weight, by which its reading is divided.

    M <- M diag(a_t) + g_t v_t k_t^T                the host's own recurrence      M_0 = 0
    J <- J diag(a_t) + g_t b_t (k_t * k_t)^T        importance beyond the prior    J_0 = 0
    y_t = read((M / (J + I_p)) q_t)

Queries, keys, values, gate g, decay a and `read` are the host's; b = sigmoid(W' W x) softplus(s) per value channel, W
of low rank. The gate stands in both sums exactly once. Frequently written entries become rigid; decay pulls the
importance back to I_p = 1. With b = 0 this is the host, to the last bit where both recurrences run as the plain loop;
so a trained host can be wrapped and trained on. Its parameters are found under `host`; its state, J added, goes on.

`importance` is the initial b. A fast weight is read as 1 / (1 + J) of the host's, and J is about n b k^2 after n
writes, at most b k^2 / (1 - a). A share e of a reading is kept from changing while n b < e K, with unit keys of width
K: 0.001, the default, leaves a host of K = 64 within 5 % over 3000 writes.

The row of a normaliser has b = 0: it goes on counting what was written. What was a weighted mean (linear attention) is
then one of values that are each divided by their own importance, and smaller where much is known.
mLSTM's sums are in units of exp(m), its stabiliser: so is J, and the prior is I_p exp(m) in raw units. An importance
counts relative to the heaviest write so far, and b need not follow the exponential gate through e^15.

A host must be `Additive`. The write of a delta rule reads the state, so that M would no longer be a sum of evidence.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim, R = V or V + 1 rows; state that of the host, S
being M, and J [B, H, R, K].
Cost per step: the host's, and 5 H R K floating-point operations, and 2 N (D + H V) for b of rank N; 4 H R K bytes of
state more.
Source: arXiv:2602.09075; its Palimpsa on Mamba-2 is `metaplastic` of `Mamba2`. Other hosts, linear attention among
them, are not in its repository.
"""

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.posterior import posterior
from lifelong.memory.additive.base import Additive
from lifelong.memory.memory import Memory
from lifelong.memory.registry import make_memory

__all__ = ["Metaplastic", "make_metaplastic", "metaplastic"]


class Metaplastic(Memory):
    """Wrapper of an additive memory with an importance for every fast weight.

    Args:
        host: the memory, with the parameters it has; it becomes a part of this one.
        importance: initial b, > 0.

    Raises:
        TypeError: if the host is not `Additive`.
        ValueError: if `importance` is not positive.
    """

    sums_writes = True

    def __init__(self, host: Memory, importance: float = 1e-3) -> None:
        if not isinstance(host, Additive):
            raise TypeError(
                f"host must be an Additive memory, whose write does not read its state, got {type(host).__name__}; "
                "a delta rule with an importance is kalman_delta"
            )
        if not importance > 0:
            raise ValueError(f"importance must be positive: importance={importance}")
        super().__init__(host.width)
        num_heads, rows, _ = host.shape
        self.state_bounds = dict(host.state_bounds)
        values = rows - host.normaliser
        self.host, self.rank = host, -(-host.width // 16)
        down, up = nn.Linear(host.width, self.rank, bias=False), nn.Linear(self.rank, num_heads * values, bias=False)
        like = host.zeros()
        self.importance = nn.Sequential(down, up).to(like)
        scale = torch.tensor(2 * importance).expm1().log()  # the sigmoid begins around 1/2
        self.importance_scale = nn.Parameter(scale.repeat(num_heads * values).to(like))
        self.prior: Tensor
        self.register_buffer("prior", torch.ones(num_heads).to(like))

    def initial_state(self, batch: int) -> TensorDict:
        """Return the host's initial state, and no importance beyond the prior."""
        state = self.host.initial_state(batch)
        state["J"] = self.host.zeros(batch, *self.host.shape)
        return state

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        parts = self.host.parts(x, state, start)
        b = self.importance(x).sigmoid() * functional.softplus(self.importance_scale)
        b = b.unflatten(-1, (self.host.shape[0], -1))  # [B, T, H, V]
        if parts.gate is not None:
            b = parts.gate[..., None] * b
        if self.host.normaliser:
            b = functional.pad(b, (0, 1))
        w, prior = self.host.written(parts), self.prior
        y, M, J = posterior(parts.q, parts.k, w, b, state["S"], state["J"], start, prior=prior, decay=parts.decay)
        return parts.read(y), TensorDict({"S": M, **parts.rest, "J": J}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Operations of the host's step and of the importance."""
        num_heads, rows, K = self.host.shape
        channels = num_heads * (rows - self.host.normaliser)
        return self.host.step_flops + 2 * self.rank * (self.width + channels) + 5 * num_heads * rows * K


def metaplastic(memory: Memory, importance: float = 1e-3) -> Metaplastic:
    """Wrap a memory with an importance for every fast weight.

    Args:
        memory: an additive memory, trained or new; it becomes a part of the result.
        importance: what is added to the importance at first by a write along a key channel of 1. The default leaves a
            trained memory's readings nearly as they were.

    Raises:
        TypeError: if the memory is not `Additive`.
        ValueError: if `importance` is not positive.
    """
    return Metaplastic(memory, importance)


def make_metaplastic(width: int, host: str = "mamba2", importance: float = 0.5, **options: Any) -> Metaplastic:
    """Return a new memory with an importance for every fast weight.

    Args:
        width: D, width of inputs and outputs.
        host: name of an additive memory, as for `make_memory`.
        importance: what is added to the importance at first by a write along a key channel of 1.
        **options: passed to the host's constructor.

    Raises:
        TypeError: if the host is not `Additive`, or does not take these options.
    """
    return Metaplastic(make_memory(host, width, **options), importance)
