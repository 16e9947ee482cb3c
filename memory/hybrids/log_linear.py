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

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim, L levels; state S [B, H, L, V, K],
count [B, 1] int64 (steps lived) and the convolution's window.
Cost per step: 10 H L V K floating-point operations besides the projections; 4 H L V K + 8 bytes of state.
Source: arXiv:2506.04761 with the hosts of arXiv:2412.06464 and arXiv:2405.21060; the number of levels is bounded, and
the learned scale of each level is the bias c.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.log_linear import Rule, log_linear
from lifelong.memory.layer import Output, Projection, count_heads, linear_flops, write_and_fade
from lifelong.memory.memory import COUNTED, Memory

__all__ = ["LogLinear"]


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
        rule: Rule = "delta",
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
        self.shape = (num_heads, levels, V, K)
        self.state_bounds = {"count": (0, COUNTED)}
        self.rule: Rule = rule
        self.project = Projection(width, num_heads, K, V, conv_size)
        self.gates = write_and_fade(width, num_heads, horizons)
        self.scales = nn.Linear(width, num_heads * levels)
        self.scales.weight.data *= 0.1
        self.scales.bias.data.fill_(torch.tensor(1.0).expm1().log())  # lambda = 1
        self.output = Output(width, num_heads, V)

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty matrices and an empty window."""
        S = self.zeros(batch, *self.shape)
        count = self.zeros(batch, 1, dtype=torch.int64)
        return TensorDict({"S": S, "count": count, "window": self.zeros(batch, *self.project.window_shape)}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        num_heads, levels = self.shape[:2]
        q, k, v, window = self.project(x, state["window"], start)
        beta, fade = self.gates(x).split(num_heads, -1)  # [B, T, H]
        gates = beta.sigmoid(), -functional.softplus(fade)
        scale = functional.softplus(self.scales(x)).unflatten(-1, (num_heads, levels))
        y, S, count = log_linear(q, k, v, *gates, scale, state["S"], state["count"], start, rule=self.rule)
        return self.output(y, x), TensorDict({"S": S, "count": count, "window": window}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        num_heads, levels, V, K = self.shape
        return linear_flops(self) + 10 * num_heads * levels * V * K
