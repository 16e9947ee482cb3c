r"""MesaNet: ridge regression over the whole life, solved for every query.

    H <- alpha_t H + beta_t k_t k_t^T                     how often each direction was seen          H_0 = 0
    G <- alpha_t G + beta_t v_t k_t^T                     what was seen there                        G_0 = 0
    y_t = G (H + diag(lambda))^-1 q_t

y_t = W q_t for the W that minimises the faded sum of beta |v - W k|^2 plus the ridge: recursive least squares, the
best a linear memory can do, at the price of K^2 more numbers of state and a linear system per query. With lambda = I_p
in all channels it is Palimpsa's posterior mean with full covariance.

q, k, v = SiLU(conv(W x)), q and k of unit length, beta = sigmoid(W x), log alpha = -softplus(W x + b), lambda =
1/4 + softplus(l) per key channel, at first 1; the reading goes through an RMS norm per head, a SiLU gate and a linear
map.

The system is solved by `iterations` of conjugate gradients from zero, and so is its gradient: see
`kernels/conjugate_gradients.py` and `kernels/ridge_solve`.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim; state H [B, H, K, K], G [B, H, V, K] and the
convolution's window.
Cost per step: 5 H K^2 + 5 H V K + n H (2 K^2 + 16 K) floating-point operations besides the projections, n iterations;
4 H K (K + V) bytes of state.
Source: MesaNet, arXiv:2506.05233; its denominators + 1e-5 are bounded below by the smallest normal number instead, as
they would floor the error, its values have no convolution, and its log alpha is that of a sigmoid.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.fast_weight import fast_weight
from lifelong.kernels.ridge_solve import ridge_solve
from lifelong.memory.delta.base import DeltaRule
from lifelong.memory.layer import count_heads, linear_flops, require_positive

__all__ = ["Mesa"]

RIDGE = 0.25  # least lambda


class Mesa(DeltaRule):
    """MesaNet: a ridge regression per head.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        key_dim: K; None for width / num_heads.
        value_dim: V; None for width / num_heads.
        conv_size: width of the short convolution, in steps.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last head.
        iterations: n, of conjugate gradients per query.

    Raises:
        ValueError: if `num_heads` does not divide `width`, or `iterations` is not positive.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
        horizons: tuple[float, float] = (1e4, 1e5),
        iterations: int = 30,
    ) -> None:
        require_positive(iterations=iterations)
        K = key_dim or width // count_heads(width, num_heads)
        super().__init__(width, num_heads, K, value_dim, conv_size, horizons)
        self.iterations = iterations
        self.ridge = nn.Parameter(torch.full((self.num_heads, K), 1 - RIDGE).expm1().log())  # lambda = 1

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty sums and an empty window."""
        H, V, K = self.shape
        sums = {"H": self.zeros(batch, H, K, K), "G": self.zeros(batch, H, V, K)}
        return TensorDict({**sums, "window": self.zeros(batch, *self.project.window_shape)}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        q, k, v, window = self.project(x, state["window"], start)
        beta, decay = self.strength_and_decay(x)  # [B, T, H]
        beta = beta[..., None]
        ridge = RIDGE + functional.softplus(self.ridge)
        r = ridge_solve(q, k, beta * k, decay, state["H"], start, ridge, RIDGE, self.iterations)
        _, H = fast_weight(q, k, beta * k, state["H"], start, decay=decay)
        y, G = fast_weight(r, k, beta * v, state["G"], start, decay=decay)
        return self.output(y, x), TensorDict({"H": H, "G": G, "window": window}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        H, V, K = self.shape
        solved = self.iterations * H * (2 * K * K + 16 * K)
        return linear_flops(self) + 5 * H * K * (K + V) + solved
