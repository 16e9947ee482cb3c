r"""SHM, stable Hadamard memory: a matrix whose every entry is weakened or strengthened by its own factor.

    C_t = 1 + tanh(theta_r(t) (W_c x)^T)            between 0 and 2, its mean about 1
    S <- S * C_t + eta_t v_t k_t^T                  elementwise product; S_0 = 0
    y_t = W_o S q_t

x is normed first; k, q = ReLU(W x) brought to a sum of 1; v = W x; eta = sigmoid(W x). theta_r(t) is one row of a
learned table. That it changes keeps the product of all C near 1: equal inputs would otherwise meet equal factors.
The row of a life's step n, from 0, is r = floor(R frac(n (sqrt(5) - 1) / 2)), which uses all rows alike, so that acting
and learning agree; n is state. The product is near 1 in the mean and not for every entry: with inputs that never change
some entries can still grow without end. They are held within 10^12.

Shapes: B lives, T steps, D width, N rows and columns, R rows of theta; state S [B, N, N], count [B, 1] int64.
Cost per step: 8 N N floating-point operations besides the projections, and N N tanh; 4 N N + 8 bytes of state.
Source: arXiv:2410.10132. Its row is drawn at random (by the published code, always the first). W x is added to the
reading there; the residual sum is the backbone's here. The bound is ours.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.kernels.hadamard import hadamard
from lifelong.kernels.segments import life_start_steps
from lifelong.memory.layer import linear_flops, require_positive
from lifelong.memory.memory import COUNTED, Memory

__all__ = ["SHM"]

GOLDEN = (5**0.5 - 1) / 2


class SHM(Memory):
    """Stable Hadamard memory: a matrix with a data-dependent factor for every entry.

    Args:
        width: D, width of inputs and outputs.
        size: N, rows and columns of the matrix; None for the width.
        rows: R, of the table that the factors are drawn from.

    Raises:
        ValueError: if `size` or `rows` is not positive.
    """

    def __init__(self, width: int, size: int | None = None, rows: int = 128) -> None:
        super().__init__(width)
        self.size, self.rows = width if size is None else size, rows
        require_positive(size=self.size, rows=rows)
        self.state_bounds = {"count": (0, COUNTED)}
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 4 * self.size + 1, bias=False)  # k, q, v, W_c x, eta
        self.theta = nn.Parameter(nn.init.xavier_uniform_(torch.empty(rows, self.size)))
        self.output = nn.Linear(self.size, width)

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty matrices."""
        S, count = self.zeros(batch, self.size, self.size), self.zeros(batch, 1, dtype=torch.int64)
        return TensorDict({"S": S, "count": count}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        N = self.size
        k, q, v, c, eta = self.project(self.norm(x)).split([N, N, N, N, 1], -1)
        k, q = (z.relu() / (1e-5 + z.relu().sum(-1, keepdim=True)) for z in (k, q))
        v = eta.sigmoid() * v
        steps = torch.arange(x.shape[1], device=x.device)
        lived = steps - life_start_steps(state["count"], start)  # [B, T], steps of the life before each
        row = (self.rows * (GOLDEN * lived.double()).frac()).long()
        y, S = hadamard(q, k, v, self.theta[row], c, state["S"], start)
        return self.output(y), TensorDict({"S": S, "count": lived[:, -1:] + 1}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        return linear_flops(self) + 8 * self.size**2
