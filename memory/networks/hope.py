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
The gradients of the networks are normalised (see `kernels/inner_loop/network.py`; a normalised-LMS variant, and raw
with `bound="off"`), eta <= 1 / C and targets are short: C equal observations in a row do not overshoot, and what writes
itself does not run away. The decay is initialised for lives, not sentences: `horizons` of many thousand environment
steps.

Shapes: B lives, T steps, D width, H heads, K = D / H, R = 3 K + 2 rows of M, L levels, N hidden units, P = 2 N K
weights of a level; state frozen and fast [B, H, R, K] and level_l [B, H, P] as offsets from what is learned, gathered_l
[B, H, P], age [B, 1] int64, steps since the start modulo the longest P_l, and the convolution's window.
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

from lifelong.kernels.inner_loop import size
from lifelong.kernels.late_write import late_write
from lifelong.kernels.self_modifying import self_modifying
from lifelong.kernels.unit_length import unit_length
from lifelong.memory.layer import Output, Projection, count_heads, decay_parameters, linear_flops, require_positive
from lifelong.memory.memory import Memory
from lifelong.memory.networks.bound import Bound, is_bound

__all__ = ["Hope"]


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
        bound: `on` for normalised gradients of the networks, `off` for raw ones.

    Raises:
        ValueError: if `num_heads` does not divide `width`, a size is not positive, or `periods` or `bound` are unfit.
    """

    def __init__(
        self, width: int, num_heads: int | None = None, batch: int = 8, periods: tuple[int, ...] = (16, 256),
        hidden: int | None = None, conv_size: int = 2, horizons: tuple[float, float] = (1e4, 1e5),
        bound: Bound = "on",
    ) -> None:  # fmt: skip
        super().__init__(width)
        H = count_heads(width, num_heads)
        K = width // H
        N = K if hidden is None else hidden
        require_positive(batch=batch, hidden=N)
        if not periods or any(after < 1 or after % before for before, after in pairwise((batch, *periods))):
            raise ValueError(f"periods must be multiples, each of the one before: batch={batch}, periods={periods}")
        self.batch, self.periods, self.bound, self.layers = batch, periods, is_bound(bound), ((N, K), (K, N))
        self.state_bounds = {"age": (0, periods[-1] - 1)}
        self.project = Projection(width, H, K, K, conv_size)
        first = torch.cat([torch.randn(2 * K, K) / K**0.5, 0.1 * torch.randn(2, K), torch.eye(K)])
        self.matrix = nn.Parameter(first.expand(H, -1, -1).clone())
        self.rate_bias = nn.Parameter(torch.full((H,), 2.0))  # writes begin near their bound
        self.fade_bias = nn.Parameter(decay_parameters(H, horizons))
        networks = torch.randn(H, len(periods), N * K)  # units of size 1 for inputs of length 1
        self.networks = nn.Parameter(torch.cat([networks, torch.zeros_like(networks)], -1))  # with output 0 at first
        self.level_bias = nn.Parameter(torch.full((H, len(periods)), 2.0))
        self.output = Output(width, H, K)

    def initial_state(self, batch: int) -> TensorDict:
        """Return zero offsets from the slow weights, zero gradients and an empty window."""
        state = {name: self.zeros(batch, *self.matrix.shape) for name in ("frozen", "fast")}
        for n, level in enumerate(self.networks.unbind(1)):
            state |= {name: self.zeros(batch, *level.shape) for name in (f"level_{n}", f"gathered_{n}")}
        state["age"] = self.zeros(batch, 1, dtype=torch.int64)
        return TensorDict({**state, "window": self.zeros(batch, *self.project.window_shape)}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        q, keys, values, window = self.project(x, state["window"], start)
        age, now = state["age"], state["age"]
        matrix = self.matrix, state["frozen"], state["fast"], self.rate_bias, self.fade_bias
        o, v, frozen, fast, _ = self_modifying(q, keys, values, *matrix, age, start, self.batch)
        learned = {"frozen": frozen, "fast": fast}
        for n, period in enumerate(self.periods):
            names = f"level_{n}", f"gathered_{n}"
            at, rate = unit_length(o), (self.level_bias[:, n].sigmoid() / period).expand(*start.shape, -1)
            before = self.networks[:, n], state[names[0]], state[names[1]], None, age
            y, *after, _, now = late_write(
                at, at, v - o, rate, *before, start, self.layers, period, batch=self.batch, bound=self.bound
            )
            o, learned = o + y, learned | dict(zip(names, after, strict=True))
        return self.output(o, x), TensorDict({**learned, "age": now, "window": window}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections, matrix and chain of one step of one life."""
        level = 8 * size(self.layers) + 2 * size(self.layers[1:])
        H, levels = self.level_bias.shape
        return linear_flops(self) + 16 * self.matrix.numel() + H * levels * level
