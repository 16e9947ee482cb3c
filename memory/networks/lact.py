r"""Large-chunk test-time training (LaCT): a gated network updated once per chunk, beside attention over the chunk.

    f(x; W) = W_1 (silu(W_0 x) * (W_2 x))
    y_t = f(q_t; W) + attention over the last steps                    first read
    G_i <- G_i + eta_i,t gradient of f(k_t; W)^T v_t by W_i            then gather; the weights of the chunk's beginning
    at the end of each chunk of C steps:
        M_i <- G_i + m M_i,   G_i <- 0
        W_i <- W_i + lambda orthogonal(M_i),  each row brought back to its length in A_i          W_0 = A, learned

q, k, v = SiLU(conv(W x)), q and k of unit length; eta = softplus of a linear map of x, three per head; m = sigmoid and
lambda learned, per head. `orthogonal` (Newton-Schulz, see `kernels/inner_loop/muon.py`) makes every direction of a
chunk's gradient equally strong, however often it came. Chunks begin with the life; at its end an unfinished chunk is
lost. What is less than a chunk old is seen by the attention only, which is a `Window` of at least C steps.
Rows keep their length, so that a write of size lambda takes a share of about lambda^2 / 2 K / N from what was there:
lambda is initialised so that a write has faded to 1/e after `horizons` steps.

Shapes: B lives, T steps, D width, H heads, K = V = D / H, N hidden units, P = 3 K N weights of a head; state fast
(offsets from A), gradient and momentum [B, H, P], phase [B, 1] int64, the convolution's window, and the attention's
state under its own names after `attention_`.
Cost per step: 8 H P floating-point operations, and per chunk 10 H P and the orthogonalisation of three matrices,
besides the projections and the attention; 12 H P + 8 bytes of state and those of the attention.
Source: arXiv:2505.23884. Chunks of 16 steps, not of thousands; lambda, there 1, which would forget a life in a few
chunks of this size; rates begin at 1, since only their ratios count; m learned, not a function of x; attention with
projections of its own and a bias per age in place of rotary embeddings.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.inner_loop import orthogonal_flops
from lifelong.kernels.late_write import late_write
from lifelong.memory.attention.window import Window
from lifelong.memory.layer import Output, Projection, count_heads, decay_parameters, linear_flops, require_positive
from lifelong.memory.memory import Memory

__all__ = ["LaCT"]

STATE, PREFIX = ("fast", "gradient", "momentum", "phase"), "attention_"


class LaCT(Memory):
    """Gated network per head, updated once per chunk, and sliding-window attention.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        hidden: N, units of the hidden layer; None for twice width / num_heads.
        chunk: C, steps between two updates.
        cache: window of the attention, at least C; None for C.
        conv_size: width of the short convolution, in steps.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last head.

    Raises:
        ValueError: if `num_heads` does not divide `width`, `hidden` or `chunk` is too small, or `cache` < `chunk`.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        hidden: int | None = None,
        chunk: int = 16,
        cache: int | None = None,
        conv_size: int = 2,
        horizons: tuple[float, float] = (1e3, 1e4),
    ) -> None:
        super().__init__(width)
        H = count_heads(width, num_heads)
        K = width // H
        N, cache = 2 * K if hidden is None else hidden, chunk if cache is None else cache
        require_positive(hidden=N)
        if chunk < 2:
            raise ValueError(f"chunk must be at least 2: chunk={chunk}")
        if cache < chunk:
            raise ValueError(f"cache must be at least chunk, or steps are seen by nobody: cache={cache}, chunk={chunk}")
        self.chunk, self.layers = chunk, ((N, K), (K, N), (N, K))
        self.project = Projection(width, H, K, K, conv_size)
        first = [torch.randn(H, rows * columns) / columns**0.5 for rows, columns in self.layers]
        self.weights = nn.Parameter(torch.cat(first, 1))
        self.gates = nn.Linear(width, 3 * H)
        nn.init.constant_(self.gates.bias, 0.5)  # eta = 1
        share = 2 * chunk * max(1.0, N / K) * functional.softplus(decay_parameters(H, horizons))
        self.log_step = nn.Parameter(share.log() / 2)  # lambda^2 of a write that fades so
        self.drag = nn.Parameter(torch.zeros(H))  # m = 1/2
        self.output = Output(width, H, K)
        self.attention = Window(width, H, cache, conv_size=conv_size)
        self.state_bounds = {"phase": (0, chunk - 1), PREFIX + "count": self.attention.state_bounds["count"]}

    def initial_state(self, batch: int) -> TensorDict:
        """Return zero offsets from the slow weights, zero gradients, and empty windows."""
        state = {name: self.zeros(batch, *self.weights.shape) for name in STATE[:3]}
        state["phase"] = self.zeros(batch, 1, dtype=torch.int64)
        state["window"] = self.zeros(batch, *self.project.window_shape)
        state |= {PREFIX + name: z for name, z in self.attention.initial_state(batch).items()}
        return TensorDict(state, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        cached = {name.removeprefix(PREFIX): z for name, z in state.items() if name.startswith(PREFIX)}
        seen, attention = self.attention(x, TensorDict(cached, [x.shape[0]]), start)
        q, k, v, window = self.project(x, state["window"], start)
        eta = functional.softplus(self.gates(x)).unflatten(-1, (-1, 3))  # [B, T, H, 3]
        before = state["fast"], state["gradient"], state["momentum"], state["phase"]
        y, *after = late_write(
            q, k, v, eta, self.weights, *before, start, self.layers, self.chunk,
            network="gated", keep=self.drag.sigmoid(), stride=self.log_step.exp(),
        )  # fmt: skip
        live = dict(zip(STATE, after, strict=True)) | {PREFIX + name: z for name, z in attention.items()}
        return self.output(y, x) + seen, TensorDict({**live, "window": window}, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections, recurrence and attention of one step of one life, a chunk's update shared among its steps."""
        H, P = self.weights.shape
        update = sum(orthogonal_flops(*layer) for layer in self.layers) + 10 * P
        projected = linear_flops(self) - linear_flops(self.attention)
        return projected + H * (8 * P + update // self.chunk) + self.attention.step_flops
