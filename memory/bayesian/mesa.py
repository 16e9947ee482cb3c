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

The system is solved by `iterations` of conjugate gradients from zero. In a pass they run for all queries at once: with
p_t for q_t, H_t p_t is what linear attention reads (`fast_weight` with values beta k), so an iteration is one call of
it. The gradient is that of the exact solution, by one more solve with the same operator (implicit differentiation).
Both are exact where the iterations suffice: K of them always do without rounding, far fewer if H is well conditioned.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim; state H [B, H, K, K], G [B, H, V, K] and the
convolution's window.
Cost per step: 5 H K^2 + 5 H V K + n H (2 K^2 + 16 K) floating-point operations besides the projections, n iterations;
4 H K (K + V) bytes of state.
Source: MesaNet, arXiv:2506.05233; its denominators + 1e-5 are bounded below by the smallest normal number instead, as
they would floor the error, its values have no convolution, and its log alpha is that of a sigmoid.
"""

from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.fast_weight import fast_weight
from lifelong.memory.layer import Output, Projection, count_heads, write_and_fade
from lifelong.memory.memory import Memory

__all__ = ["Mesa"]

RIDGE = 0.25  # least lambda


class Mesa(Memory):
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
        super().__init__(width)
        num_heads = count_heads(width, num_heads)
        if iterations < 1:
            raise ValueError(f"iterations must be positive: iterations={iterations}")
        K, V = key_dim or width // num_heads, value_dim or width // num_heads
        self.shape, self.iterations = (num_heads, V, K), iterations
        self.project = Projection(width, num_heads, K, V, conv_size)
        self.gates = write_and_fade(width, num_heads, horizons)
        self.ridge = nn.Parameter(torch.full((num_heads, K), 1 - RIDGE).expm1().log())  # lambda = 1
        self.output = Output(width, num_heads, V)

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty sums and an empty window."""
        num_heads, V, K = self.shape
        window = self.zeros(batch, self.project.conv_size - 1, self.project.channels)
        state = {"H": self.zeros(batch, num_heads, K, K), "G": self.zeros(batch, num_heads, V, K), "window": window}
        return TensorDict(state, [batch])

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Compute one step; see `Memory.step`."""
        q, k, v, beta, decay, window = self._inputs(x[:, None], state, start[:, None])
        _, H = fast_weight(q, k, beta * k, state["H"], start[:, None], decay=decay)

        def seen(p: Tensor) -> Tensor:
            return (H @ p[:, 0, :, :, None])[:, None, ..., 0]  # H is constant over the iterations

        r = self._solve(q, seen)
        y, G = fast_weight(r, k, beta * v, state["G"], start[:, None], decay=decay)
        return self.output(y, x[:, None])[:, 0], TensorDict({"H": H, "G": G, "window": window}, [x.shape[0]])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        q, k, v, beta, decay, window = self._inputs(x, state, start)

        def seen(p: Tensor) -> Tensor:
            return fast_weight(p, k, beta * k, state["H"], start, decay=decay)[0]

        r = self._solve(q, seen)
        _, H = fast_weight(q, k, beta * k, state["H"], start, decay=decay)
        y, G = fast_weight(r, k, beta * v, state["G"], start, decay=decay)
        return self.output(y, x), TensorDict({"H": H, "G": G, "window": window}, [x.shape[0]])

    def _inputs(
        self, x: Tensor, state: TensorDict, start: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        q, k, v, window = self.project(x, state["window"], start)
        beta, fade = self.gates(x).split(self.shape[0], -1)  # [B, T, H]
        return q, k, v, beta.sigmoid()[..., None], -functional.softplus(fade), window

    def _solve(self, q: Tensor, seen: Callable[[Tensor], Tensor]) -> Tensor:
        """Return r with H r + lambda r = q; `seen` is p -> H p for [B, T, H, K], each step with its own H."""
        ridge = RIDGE + functional.softplus(self.ridge)

        def solve(q: Tensor) -> Tensor:
            with torch.no_grad():
                return conjugate_gradients(lambda p: seen(p) + ridge * p, q, RIDGE, self.iterations)

        r = solve(q)
        if not torch.is_grad_enabled():
            return r
        exact: Tensor = Solved.apply(q - seen(r) - ridge * r, r, solve)  # type: ignore[no-untyped-call]
        return exact

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        num_heads, V, K = self.shape
        projected = self.project.channels + 2 * num_heads + 2 * num_heads * V
        solved = self.iterations * num_heads * (2 * K * K + 16 * K)
        return 2 * self.width * projected + 5 * num_heads * K * (K + V) + solved


class Solved(torch.autograd.Function):
    """Implicit differentiation of the root r of the residual q - A r: dr = A^-1 d(residual), A symmetric."""

    @staticmethod
    def forward(ctx: Any, residual: Tensor, r: Tensor, solve: Callable[[Tensor], Tensor]) -> Tensor:
        """Return r."""
        ctx.solve = solve
        return r.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the residual."""
        return ctx.solve(grads[0]), None, None


def conjugate_gradients(A: Callable[[Tensor], Tensor], q: Tensor, least: float, iterations: int) -> Tensor:
    """Solve A r = q by conjugate gradients.

    Args:
        A: linear map of [..., K], symmetric and positive along the last axis.
        q: [..., K] right-hand sides, each solved for itself.
        least: a lower bound of A's eigenvalues: rounding may not take p A p below `least` |p|^2.
        iterations: number of iterations; none has an effect once the residual is zero.
    """
    tiny = torch.finfo(q.dtype).tiny
    r, rest, direction = torch.zeros_like(q), q, q
    square = rest.square().sum(-1, keepdim=True)
    for _ in range(iterations):
        mapped = A(direction)
        curved = (direction * mapped).sum(-1, keepdim=True)
        size = square / torch.maximum(curved, least * direction.square().sum(-1, keepdim=True)).clamp(min=tiny)
        r, rest = r + size * direction, rest - size * mapped
        before, square = square, rest.square().sum(-1, keepdim=True)
        direction = rest + square / before.clamp(min=tiny) * direction
    return r
