r"""Hope: a self-modifying matrix, then a chain of networks with ever longer update periods.

    M stands for (M_k; M_v; M_eta; M_alpha; M_memory), one above the other; F: M at the start of the mini-batch
    k_t = unit(F_k x_t),  v_t = short(F_v z_t)
    eta_t = sigmoid(F_eta x_t + b) / C,  log alpha_t = -softplus(F_alpha x_t + c)
    w_t = short(F v_t) - F k_t                                      each part's own target, and its error
    M <- A + alpha_t (M - A)                                        M_0 = A, learned
    M <- M - eta_t (M k_t) k_t^T + eta_t w_t k_t^T
    o_0 = M_memory q_t
    o_l = o_{l-1} + f_l(unit(o_{l-1}))      l = 1 ... L             f_l: two layers, SiLU between them
    f_l learns v_t - o_{l-1} by gradient descent: one step every P_l steps, by the mean over them

q, x, z = SiLU(conv(W input)), q and x of unit length; short(u) = u / sqrt(1 + |u|^2), of each of the five parts by
itself. Matrix and networks change at different paces: the matrix takes its gradients where a mini-batch of C steps
began, level l of the networks waits P_l steps. All count from the start of the life, and a start resets all.
The gradients of the networks are normalised (see `kernels/inner_loop/network.py`), eta <= 1 / C and targets are short:
C equal observations in a row do not overshoot, and what writes itself does not run away.
The decay is initialised for lives, not sentences: `horizons` of many thousand environment steps.

Shapes: B lives, T steps, D width, H heads, K = D / H, R = 3 K + 2 rows of M, L levels, N hidden units, P = 2 N K
weights of a level; state frozen and fast [B, H, R, K] and levels [B, H, L, P] as offsets from what is learned, gathered
[B, H, L, P], age [B, 1] int64, steps since the start modulo the longest P_l, and the convolution's window.
Cost per step: 16 H R K and 8 H L P floating-point operations besides the projections; 8 H (R K + L P) + 8 bytes of
state.
Source: arXiv:2512.24695, from a transcription of its equations. Values are read from a projection of their own; linear
M_k ... M_memory; erasing after the decay; the bounds; weights fade to A, not to zero. The paper trains its chain of
networks on the outer loss; here, where there is none while it lives, each level learns what the faster ones before it
leave of v_t. Our convolution and output layer.
"""

from itertools import pairwise

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.backends import Backend
from lifelong.kernels.fast_weight import fast_weight
from lifelong.kernels.inner_loop import descent, read, schedule, size, split
from lifelong.memory.layer import Output, Projection, count_heads, decay_parameters
from lifelong.memory.memory import Memory

__all__ = ["Hope"]

TINY = 1e-6


class Hope(Memory):
    """A self-modifying matrix per head, and a chain of networks of ever longer periods.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        batch: C, steps of a mini-batch of the matrix.
        periods: P_l, steps between two updates of each network; each a multiple of the one before it, and of C.
        hidden: N, units of a network; None for width / num_heads.
        conv_size: width of the short convolution, in steps.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last head.

    Raises:
        ValueError: if `num_heads` does not divide `width`, `batch` or `hidden` is not positive, or `periods` are unfit.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        batch: int = 8,
        periods: tuple[int, ...] = (16, 256),
        hidden: int | None = None,
        conv_size: int = 2,
        horizons: tuple[float, float] = (1e4, 1e5),
    ) -> None:
        super().__init__(width)
        num_heads = count_heads(width, num_heads)
        K = width // num_heads
        N = K if hidden is None else hidden
        for name, number in (("batch", batch), ("hidden", N)):
            if number < 1:
                raise ValueError(f"{name} must be positive: {name}={number}")
        if not periods or any(after < 1 or after % before for before, after in pairwise((batch, *periods))):
            raise ValueError(f"periods must be multiples, each of the one before: batch={batch}, periods={periods}")
        self.shape, self.batch, self.periods, self.layers = (num_heads, 3 * K + 2, K), batch, periods, ((N, K), (K, N))
        self.parts = [K, K, 1, 1, K]
        self.project = Projection(width, num_heads, K, K, conv_size)
        first = torch.cat([torch.randn(2 * K, K) / K**0.5, 0.1 * torch.randn(2, K), torch.eye(K)])
        self.matrix = nn.Parameter(first.expand(num_heads, -1, -1).clone())
        self.rate_bias = nn.Parameter(torch.full((num_heads,), 2.0))  # writes begin near their bound
        self.fade_bias = nn.Parameter(decay_parameters(num_heads, horizons))
        networks = torch.randn(num_heads, len(periods), N * K)  # units of size 1 for inputs of length 1
        self.networks = nn.Parameter(torch.cat([networks, torch.zeros_like(networks)], -1))  # with output 0 at first
        self.level_bias = nn.Parameter(torch.full((num_heads, len(periods)), 2.0))
        self.output = Output(width, num_heads, K)

    def initial_state(self, batch: int) -> TensorDict:
        """Return zero offsets from the slow weights, zero gradients and an empty window."""
        num_heads, levels = self.shape[0], (len(self.periods), size(self.layers))
        state = TensorDict({name: self.zeros(batch, *self.shape) for name in ("frozen", "fast")}, [batch])
        for name in ("levels", "gathered"):
            state[name] = self.zeros(batch, num_heads, *levels)
        state["age"] = torch.zeros(batch, 1, dtype=torch.int64, device=self.matrix.device)
        state["window"] = self.zeros(batch, self.project.conv_size - 1, self.project.channels)
        return state

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        B, T, _ = x.shape
        q, keys, values, window = self.project(x, state["window"], start)
        steps = torch.arange(T, device=x.device)
        age = steps + 1 - torch.where(start, steps, -state["age"]).cummax(1).values  # [B, T] after each step
        plan = schedule(state["age"], start, self.batch)
        there, ages = plan.there, plan.lay_out(age).amax(2)  # [B, N, C], [B, N]
        over = there[:, :, 0] | there[:, :, -1]
        full = over & (ages % self.batch == 0)
        fresh = plan.fresh[..., None, None, None]
        never = torch.zeros_like(there[:, 0])
        Q, X, Z = (plan.lay_out(z) for z in (q, keys, values))  # [B, N, C, H, K]
        due = [full & (ages % period == 0) for period in self.periods]
        frozen, fast, levels, gathered = (state[name] for name in ("frozen", "fast", "levels", "gathered"))
        ys = []
        for n in range(plan.batches):
            frozen, fast, levels, gathered = (z.masked_fill(fresh[:, n], 0.0) for z in (frozen, fast, levels, gathered))
            on = there[:, n, :, None]  # [B, C, 1]
            o, v, fast = self._matrix(Q[:, n], X[:, n], Z[:, n], on, frozen, fast, never)
            frozen = torch.where(full[:, n, None, None, None], fast, frozen)
            o, changes = self._chain(o, v, on, levels)
            gathered = gathered + changes
            now = torch.stack([d[:, n] for d in due], 1)[:, None, :, None]  # [B, 1, L, 1]
            levels, gathered = levels + torch.where(now, gathered, 0.0), gathered.masked_fill(now, 0.0)
            ys.append(o)
        y = plan.gather(torch.cat(ys, 1))  # [B, T, H, K]
        after = {"frozen": frozen, "fast": fast, "levels": levels, "gathered": gathered, "window": window}
        return self.output(y, x), TensorDict({**after, "age": age[:, -1:] % self.periods[-1]}, [B])

    def _matrix(
        self, q: Tensor, x: Tensor, z: Tensor, on: Tensor, frozen: Tensor, fast: Tensor, never: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run one mini-batch [B, C, H, K]; return the matrix's outputs, its values and its offsets."""
        K = self.shape[2]
        F = self.matrix + frozen

        def said(matrix: Tensor, at: Tensor) -> Tensor:
            """Return [B, C, H, R] of matrix [B, H, R, K] or [H, R, K], at [B, C, H, K]."""
            return (matrix @ at.transpose(1, 2).mT).mT.transpose(1, 2)

        own = said(F, x)
        k = own[..., :K]
        k = k * (k.square().sum(-1, keepdim=True) + TINY).rsqrt()
        v = _short(said(F[..., K : 2 * K, :], z))
        eta = on * torch.sigmoid(own[..., 2 * K] + self.rate_bias) / self.batch  # [B, C, H]
        decay = on * -functional.softplus(own[..., 2 * K + 1] + self.fade_bias)
        target = torch.cat([_short(part) for part in said(F, v).split(self.parts, -1)], -1)
        write = target - said(F + self.matrix, k)  # the error, and what is erased of the slow part
        r = eta[..., None] * k
        form: Backend = "reference" if q.shape[1] == 1 else "chunk"  # few steps at a time
        read_at, fast = fast_weight(q, k, eta[..., None] * write, fast, never, decay=decay, erase=r, backend=form)
        return (said(self.matrix, q) + read_at)[..., -K:], v, fast

    def _chain(self, o: Tensor, v: Tensor, on: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Return o [B, C, H, K] after all levels, and the gradients [B, H, L, P] of their errors."""
        o, v = o.transpose(1, 2), v.transpose(1, 2)  # [B, H, C, K]
        changes = []
        for level, period in enumerate(self.periods):
            weights = split(self.networks[:, level] + levels[:, :, level], self.layers)
            at = o * (o.square().sum(-1, keepdim=True) + TINY).rsqrt()
            rate = on.transpose(1, 2) * self.level_bias[:, level, None].sigmoid() / period  # [B, H, C]
            trained = descent(weights, at, v - o, None, "l2", None, None)
            changes.append(-torch.cat([((rate[..., None] * d).mT @ a).flatten(-2) for d, a in trained], -1))
            o = o + read(weights, at, None)
        return o.transpose(1, 2), torch.stack(changes, 2)

    @property
    def step_flops(self) -> int:
        """Projections, matrix and chain of one step of one life."""
        num_heads, R, K = self.shape
        level = 8 * size(self.layers) + 2 * size(self.layers[1:])
        projected = self.project.channels + 2 * num_heads * K
        return 2 * self.width * projected + num_heads * (16 * R * K + len(self.periods) * level)


def _short(u: Tensor) -> Tensor:
    """Return u [..., N] at a length below 1."""
    return u * (1 + u.square().sum(-1, keepdim=True)).rsqrt()
