r"""Log-linear attention: a hierarchy of states over 1, 1, 2, 4, 8, ... steps of the past.

    at step t > 0 of a life, with j the lowest set bit of t:            S_0, ..., S_{L-1} = 0
        S_{j+1} <- S_{j+1} + S_0 + ... + S_j,   S_0 = ... = S_j = 0
    S_i <- alpha_t S_i (1 - beta_t k_t k_t^T)    for every level i
    S_0 <- S_0 + beta_t v_t k_t^T
    y_t = sum_i lambda_t,i S_i q_t

So level i > 0 holds 2^(i-1) successive steps or none, and lambda weighs the parts of the past at each step. With all
lambda = 1 it is its host, the gated delta rule, or with `rule="additive"` gated linear attention (no k k^T). There are
L levels, and j + 1 beyond the last is the last: the top level never moves, takes in all that comes up, and is the
host's memory of everything before the present block of 2^(L-2) steps. q, k, v = SiLU(conv(W x)), q and k of unit
length, beta = sigmoid(W x), log alpha = -softplus(W x + b), lambda = softplus(W x + c), one at birth; the reading goes
through an RMS norm per head, a SiLU gate and a linear map.

All levels fade and are corrected alike, so a pass runs the host's recurrence once per chunk of C steps on more rows:
those of all levels, and one row for each step of the chunk, which is the key side of its write. Which level a write of
step s is in at step t is the highest bit in which t and s differ.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim, L levels, C steps in a chunk; state
S [B, H, L, V, K], count [B, 1] int64 (steps lived) and the convolution's window.
Cost per step: 10 H L V K floating-point operations besides the projections; 4 H L V K + 8 bytes of state.
Source: arXiv:2506.04761 with the hosts of arXiv:2412.06464 and arXiv:2405.21060; the number of levels is bounded, and
the learned scale of each level is the bias c.
"""

from typing import Literal

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.fast_weight import fast_weight
from lifelong.memory.attention.sliding_window import births
from lifelong.memory.layer import Output, Projection, count_heads, write_and_fade
from lifelong.memory.memory import Memory

__all__ = ["LogLinear"]

CHUNK = 64


class LogLinear(Memory):
    """Log-linear attention: a matrix per head and level; each level holds twice the steps of the one below.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        levels: L; the top one holds all from before the present block of 2^(L - 2) steps.
        rule: the host: `delta`, corrected at the key, or `additive`.
        key_dim: K; None for width / num_heads.
        value_dim: V; None for width / num_heads.
        conv_size: width of the short convolution, in steps.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last head.

    Raises:
        ValueError: if `num_heads` does not divide `width`, `levels` is not within 1 .. 40, or `rule` is neither word.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        levels: int = 12,
        rule: Literal["delta", "additive"] = "delta",
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
        horizons: tuple[float, float] = (1e4, 1e5),
    ) -> None:
        super().__init__(width)
        num_heads = count_heads(width, num_heads)
        if not 1 <= levels <= 40:
            raise ValueError(f"levels must be within 1 .. 40: levels={levels}")
        if rule not in ("delta", "additive"):
            raise ValueError(f"rule must be 'delta' or 'additive', got {rule!r}")
        K, V = key_dim or width // num_heads, value_dim or width // num_heads
        self.shape, self.rule = (num_heads, levels, V, K), rule
        self.project = Projection(width, num_heads, K, V, conv_size)
        self.gates = write_and_fade(width, num_heads, horizons)
        self.scales = nn.Linear(width, num_heads * levels)
        self.scales.weight.data *= 0.1
        self.scales.bias.data.fill_(torch.tensor(1.0).expm1().log())  # lambda = 1
        self.output = Output(width, num_heads, V)

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty matrices and an empty window."""
        S = self.zeros(batch, *self.shape)
        window = self.zeros(batch, self.project.conv_size - 1, self.project.channels)
        count = torch.zeros(batch, 1, dtype=torch.int64, device=S.device)
        return TensorDict({"S": S, "count": count, "window": window}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        B, T = start.shape
        num_heads, levels = self.shape[:2]
        q, k, v, window = self.project(x, state["window"], start)
        beta, fade = self.gates(x).split(num_heads, -1)  # [B, T, H]
        rate, decay = beta.sigmoid(), -functional.softplus(fade)
        scale = functional.softplus(self.scales(x)).unflatten(-1, (num_heads, levels))
        now = torch.arange(T, device=x.device) - births(state["count"], start)  # [B, T] steps since birth
        S, ys = state["S"], []
        for given in zip(*(z.split(CHUNK, 1) for z in (q, k, v, decay, rate, scale, now, start)), strict=True):
            y, S = self._chunk(S, *given)
            ys.append(y)
        after = TensorDict({"S": S, "count": now[:, -1:] + 1, "window": window}, [B])
        return self.output(torch.cat(ys, 1), x), after

    def _chunk(
        self,
        S: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        decay: Tensor,
        rate: Tensor,
        scale: Tensor,
        now: Tensor,
        start: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Run one chunk of C steps: earlier levels move as wholes, writes of the chunk step by step."""
        num_heads, levels, V, K = self.shape
        B, C = now.shape
        if self.rule == "additive":
            v = rate[..., None] * v
        ones = torch.eye(C, dtype=S.dtype, device=S.device)[:, None].expand(B, C, num_heads, C)
        values = torch.cat([ones.new_zeros(B, C, num_heads, levels * V), ones], -1)
        rows = torch.cat([S.flatten(2, 3), S.new_zeros(B, num_heads, C, K)], 2)
        read, rows = fast_weight(q, k, values, rows, start, decay=decay, rate=rate if self.rule == "delta" else None)
        old, weight = read.split([levels * V, C], -1)  # weight [B, C, H, C] of v_s in the reading at t

        top = levels - 1
        level = highest_bit(now[:, :, None] ^ now[:, None]).clamp(max=top)  # [B, C, C] where s is at t
        moved = moved_levels(levels, (now[:, :1] - 1).clamp(min=0), now)  # [B, C, L] where a whole level is at t
        per_step, per_level = (scale.gather(-1, z[:, :, None].expand(-1, -1, num_heads, -1)) for z in (level, moved))
        y = torch.einsum("bchs,bshv->bchv", per_step * weight, v)
        y = y + torch.einsum("bchl,bchlv->bchv", per_level, old.unflatten(-1, (levels, V)))

        kept, keys = rows.split([levels * V, C], 2)
        kept = kept.unflatten(2, (levels, V))
        place = moved[:, -1, None, :, None, None].expand_as(kept)
        written = functional.one_hot(level[:, -1], levels).to(S.dtype)  # [B, C, L]
        S = torch.einsum("bsl,bshv,bhsk->bhlvk", written, v, keys).scatter_add(2, place, kept)
        return y, S

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        num_heads, levels, V, K = self.shape
        projected = self.project.channels + 2 * num_heads + num_heads * levels + 2 * num_heads * V
        return 2 * self.width * projected + 10 * num_heads * levels * V * K


def highest_bit(n: Tensor) -> Tensor:
    """Return the bit length of n >= 0."""
    return torch.frexp(n.double()).exponent.long()


def moved_levels(levels: int, before: Tensor, now: Tensor) -> Tensor:
    """Return the level at the steps `now` of each level's content at step `before`, in the same life.

    It moves first at the next multiple of 2^level, and then together with the step just before that one.

    Args:
        levels: L.
        before: [B, 1] the last step of which the content is.
        now: [B, C] later steps.

    Returns:
        [B, C, L] int64.
    """
    level = torch.arange(levels, device=now.device)
    block = before[..., None] >> level  # [B, 1, L]
    last = ((block + 1) << level) - 1
    moved = torch.where(now[..., None] >> level == block, level, highest_bit((now[..., None] ^ last).abs()))
    return torch.where(level == levels - 1, level, moved.clamp(max=levels - 1))
