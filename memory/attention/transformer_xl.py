r"""Transformer-XL: attention over cached inputs with relative positions.

    seen_t = the last M steps of this life before t, and t
    k_s = W_k x_s,  v_s = W_v x_s,  q_t = W_q x_t                  for s in seen_t: the cache holds x, not k and v
    p_ts = softmax over s in seen_t of  ((q_t + u)^T k_s + (q_t + w)^T W_R R_{t-s}) / sqrt(K)
    y_t = sum_s p_ts v_s

R_d is the sinusoidal code of the distance d; u and w are learned per head: what a head looks for, and how far back it
looks, whatever the step asks. Keys and values follow the present weights, not those the cache was filled under.
The reading leaves through the same norm and gate as in the matrix memories.
Gradients flow into the cache and through it within a pass. The published code cuts them at the borders of its segments,
so that its gradients depend on where these fall; here a cut is what the learner makes it, by detaching the state.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim, M cached steps; state x [B, M, D] and
count [B, 1] int64 (valid rows, the last ones).
Cost per step: 2 (M + 1) H (2 K + V) floating-point operations, and 2 (M + 1) D H (2 K + V) to make keys, values and
W_R R anew, besides the projections; a pass makes them once. 4 M D + 8 bytes of state.
Source: arXiv:1901.02860; norm and gate on the way out are ours, the residual and the feed-forward layer are the block's
(arXiv:1910.06764 gates them).
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.kernels.sliding_window import Band
from lifelong.memory.layer import Output, count_heads
from lifelong.memory.memory import Memory, constants_device

__all__ = ["TransformerXL"]

BASE = 10_000.0
"""Of the sinusoids' wavelengths, in units of 2 pi steps."""


class TransformerXL(Memory):
    """Attention over the layer's own last inputs.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        mem_len: M, steps it sees before the present one.
        key_dim: K; None for width / num_heads.
        value_dim: V; None for width / num_heads.

    Raises:
        ValueError: if `num_heads` does not divide `width`, or `mem_len` is below 1.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        mem_len: int = 32,
        key_dim: int | None = None,
        value_dim: int | None = None,
    ) -> None:
        super().__init__(width)
        num_heads = count_heads(width, num_heads)
        if mem_len < 1:
            raise ValueError(f"mem_len must be positive: mem_len={mem_len}")
        K, V = key_dim or width // num_heads, value_dim or width // num_heads
        self.shape, self.mem_len = (num_heads, V, K), mem_len
        self.state_bounds = {"count": (0, mem_len)}
        self.query = nn.Linear(width, num_heads * K, bias=False)
        self.keys_values = nn.Linear(width, num_heads * (K + V), bias=False)
        self.distance = nn.Linear(width, num_heads * K, bias=False)  # W_R
        self.content_bias = nn.Parameter(torch.zeros(num_heads, K))  # u
        self.distance_bias = nn.Parameter(torch.zeros(num_heads, K))  # w
        self.codes: Tensor
        self.register_buffer("codes", sinusoids(mem_len + 1, width), persistent=False)  # [M + 1, D] R
        self.output: nn.Module = Output(width, num_heads, V)

    def initial_state(self, batch: int) -> TensorDict:
        """Return an empty cache."""
        x = self.zeros(batch, self.mem_len, self.width)
        return TensorDict({"x": x, "count": torch.zeros(batch, 1, dtype=torch.int64, device=x.device)}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        num_heads, V, K = self.shape
        band = Band(state["count"], start, self.mem_len + 1)
        cached = torch.cat([state["x"], x], 1)  # [B, M + T, D]
        k, v = self.keys_values(cached).unflatten(-1, (num_heads, K + V)).split([K, V], -1)
        q = self.query(x).unflatten(-1, (num_heads, K)) * K**-0.5
        # both biases are added to the scaled query: K^-1/2 is theirs, too
        content = band.scores(q + self.content_bias * K**-0.5, k)
        codes = self.distance(self.codes).unflatten(-1, (num_heads, K))  # [M + 1, H, K]
        by_distance = torch.einsum("bnchk,dhk->bnhcd", band.rows(q + self.distance_bias * K**-0.5), codes)
        age = band.age.clamp(0, self.mem_len).expand(*by_distance.shape[:3], -1, -1)
        y = band.mix(content + by_distance.gather(-1, age), v)
        after = {"x": band.keep(cached), "count": band.kept.sum(1, keepdim=True)}
        return self.output(y, x), TensorDict(after, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections of the present step and of the cache, codes, scores and reading of one step of one life."""
        num_heads, V, K = self.shape
        seen = self.mem_len + 1
        projected = K + 2 * V + seen * (K + V) + seen * K  # q, gate and output; keys and values; codes
        return 2 * self.width * num_heads * projected + 2 * seen * num_heads * (2 * K + V)


def sinusoids(distances: int, width: int) -> Tensor:
    """Return the codes [distances, width] of 0, 1, 2, ...: sines of falling frequency, then as many cosines."""
    half, device = -(-width // 2), constants_device()
    frequency = BASE ** (-torch.arange(half, device=device) / half)
    angle = torch.arange(distances, device=device)[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], 1)[:, :width]
