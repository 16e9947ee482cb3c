r"""MoM, a mixture of memories: every step is written to a few of several matrices, chosen by a router.

    g = softmax(W_r x) over M memories, 0 but for the k largest, brought to a sum of 1
    S_m <- alpha_m S_m,   S_m <- S_m + beta_m (v_m - S_m k_m) k_m^T       for m = 0 and the chosen;  S_m = 0 at first
    y_t = S_0 q_t + sum_m g_m S_m q_t

What is written to one memory cannot interfere with what is in another, and a memory that is not chosen does not fade.
Memory 0 is shared: it sees every step. Each memory has its own keys, values and gates, all have one query.
q, k_m, v_m = SiLU(conv(W x)), q and k_m of unit length, beta = sigmoid(W x), log alpha = -softplus(W x + c); the
reading goes through an RMS norm per head, a SiLU gate and a linear map.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim, M memories and the shared one; state S
[B, (M + 1) H, V, K] and the convolution's window.
Cost per step: 7 (M + 1) H V K floating-point operations besides the projections, since all memories are computed and
those not chosen with beta = 0 and alpha = 1; 4 (M + 1) H V K bytes of state.
Source: arXiv:2502.13685 with the gated delta rule in every memory. Its convolution runs over the steps of one memory,
ours over all. Its router is trained with an auxiliary loss that balances the memories; here it is not. No 1/sqrt(K).
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.fast_weight import fast_weight
from lifelong.kernels.unit_length import unit_length
from lifelong.memory.delta.base import DeltaRule
from lifelong.memory.layer import decay_parameters

__all__ = ["MixtureOfMemories"]


class MixtureOfMemories(DeltaRule):
    """Mixture of memories: a router says which matrices are written; see `DeltaRule` for the other arguments.

    Args:
        memories: M, besides the shared one.
        active: k, memories that a step is written to and read from, besides the shared one.

    Raises:
        ValueError: if `num_heads` does not divide `width`, or `active` is not within 1 .. `memories`.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        memories: int = 4,
        active: int = 2,
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
        horizons: tuple[float, float] = (1e4, 1e5),
    ) -> None:
        if not 1 <= active <= memories:
            raise ValueError(f"active must be within 1 .. memories: active={active}, memories={memories}")
        self.memories, self.active = memories, active  # the layers' sizes depend on it
        self.entry_flops = 7 * (memories + 1)
        super().__init__(width, num_heads, key_dim, value_dim, conv_size, horizons)
        self.shape = ((memories + 1) * self.num_heads, self.value_dim, self.key_dim)

    @property
    def value_channels(self) -> int:
        """Channels of the values, and of the keys of all memories but the shared one."""
        return self.value_dim + self.memories * (self.key_dim + self.value_dim)

    def add_gates(self, horizons: tuple[float, float]) -> None:
        """Add the router, and a write strength and a decay per memory and head."""
        gates = (self.memories + 1) * self.num_heads
        self.router = nn.Linear(self.width, self.memories, bias=False)
        self.gates = nn.Linear(self.width, 2 * gates)
        self.gates.weight.data[gates:] *= 0.1  # decays begin near their horizons
        self.gates.bias.data[:gates] = 0.0
        self.gates.bias.data[gates:] = decay_parameters(self.num_heads, horizons).repeat(self.memories + 1)

    def route(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights of all memories and 1 where they are chosen, else 0, each [B, T, M + 1].

        Args:
            x: [B, T, D] inputs.
        """
        weights, chosen = self.router(x).softmax(-1).topk(self.active, -1)
        none = torch.zeros(*x.shape[:2], self.memories, dtype=x.dtype, device=x.device)
        weights = none.scatter(-1, chosen, weights / weights.sum(-1, keepdim=True))
        mask = none.scatter(-1, chosen, 1.0)
        return functional.pad(weights, (1, 0), value=1.0), functional.pad(mask, (1, 0), value=1.0)

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        H, K, V, M = self.num_heads, self.key_dim, self.value_dim, self.memories
        q, k, v, window = self.project(x, state["window"], start)
        v, keys, values = v.split([V, M * K, M * V], -1)
        keys = torch.cat([k[..., None, :], unit_length(keys.unflatten(-1, (M, K)))], 3)  # [B, T, H, M + 1, K]
        values = torch.cat([v[..., None, :], values.unflatten(-1, (M, V))], 3)
        weights, mask = self.route(x)
        beta, fade = self.gates(x).unflatten(-1, (2, M + 1, H)).unbind(2)  # [B, T, M + 1, H]
        y, S = fast_weight(
            q.repeat(1, 1, M + 1, 1),
            keys.transpose(2, 3).flatten(2, 3),
            values.transpose(2, 3).flatten(2, 3),
            state["S"],
            start,
            decay=(-functional.softplus(fade) * mask[..., None]).flatten(2),
            rate=(beta.sigmoid() * mask[..., None]).flatten(2),
        )
        y = (weights[..., None, None] * y.unflatten(2, (M + 1, H))).sum(2)
        return self.output(y, x), TensorDict({"S": S, "window": window}, [x.shape[0]])
