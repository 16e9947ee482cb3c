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

from lifelong.kernels.inner_loop import MUON_STEPS, orthogonal, schedule, size, split
from lifelong.memory.attention.window import Window
from lifelong.memory.layer import Output, Projection, count_heads, decay_parameters
from lifelong.memory.memory import Memory

__all__ = ["LaCT"]

TINY = 1e-12
PREFIX = "attention_"


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
        num_heads = count_heads(width, num_heads)
        K = width // num_heads
        N, cache = 2 * K if hidden is None else hidden, chunk if cache is None else cache
        if chunk < 2:
            raise ValueError(f"chunk must be at least 2: chunk={chunk}")
        if N < 1:
            raise ValueError(f"hidden must be positive: hidden={hidden}")
        if cache < chunk:
            raise ValueError(f"cache must be at least chunk, or steps are seen by nobody: cache={cache}, chunk={chunk}")
        self.shape, self.chunk, self.layers = (num_heads, K, N), chunk, ((N, K), (K, N), (N, K))
        self.project = Projection(width, num_heads, K, K, conv_size)
        self.weights = nn.Parameter(
            torch.cat([torch.randn(num_heads, rows * columns) / columns**0.5 for rows, columns in self.layers], 1)
        )
        self.gates = nn.Linear(width, 3 * num_heads)
        nn.init.constant_(self.gates.bias, 0.5)  # eta = 1
        fade = functional.softplus(decay_parameters(num_heads, horizons))
        share = 2 * chunk * max(1.0, N / K) * fade  # lambda^2 of a write that fades so
        self.log_step = nn.Parameter(share.log() / 2)
        self.drag = nn.Parameter(torch.zeros(num_heads))  # m = 1/2
        self.output = Output(width, num_heads, K)
        self.attention = Window(width, num_heads, cache, conv_size=conv_size)

    def initial_state(self, batch: int) -> TensorDict:
        """Return zero offsets from the slow weights, zero gradients, and empty windows."""
        num_heads, P = self.shape[0], size(self.layers)
        state = TensorDict({n: self.zeros(batch, num_heads, P) for n in ("fast", "gradient", "momentum")}, [batch])
        state["phase"] = torch.zeros(batch, 1, dtype=torch.int64, device=self.weights.device)
        state["window"] = self.zeros(batch, self.project.conv_size - 1, self.project.channels)
        return state.update(_named(self.attention.initial_state(batch)))

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        B, num_heads = x.shape[0], self.shape[0]
        q, k, v, window = self.project(x, state["window"], start)
        eta = functional.softplus(self.gates(x)).unflatten(-1, (num_heads, 3))
        cached = {name: state[PREFIX + name] for name in ("k", "v", "count", "window")}
        seen, attention = self.attention(x, TensorDict(cached, [B]), start)

        plan = schedule(state["phase"], start, self.chunk)
        Q, X, V, rates = (plan.lay_out_heads(z) for z in (q, k, v, eta))  # [B, N, H, C, ...]
        fresh, full = plan.fresh[..., None, None], plan.full[..., None, None]
        fast, gradient, momentum = state["fast"], state["gradient"], state["momentum"]
        ys = []
        for n in range(plan.batches):
            fast, gradient, momentum = (z.masked_fill(fresh[:, n], 0.0) for z in (fast, gradient, momentum))
            weights = split(self.weights + fast, self.layers)
            ys.append(_read(weights, Q[:, n]))
            gradient = gradient + _ascent(weights, X[:, n], V[:, n], rates[:, n])
            if full[:, n].any():
                push = gradient + self.drag.sigmoid()[:, None] * momentum
                fast = torch.where(full[:, n], self._rewritten(weights, push), fast)
                momentum = torch.where(full[:, n], push, momentum)
                gradient = gradient.masked_fill(full[:, n], 0.0)
        y = plan.gather(torch.stack(ys, 1).movedim(2, 3).flatten(1, 2))  # [B, T, H, V]
        after = {"fast": fast, "gradient": gradient, "momentum": momentum, "phase": plan.phase, "window": window}
        return self.output(y, x) + seen, TensorDict(after | _named(attention), [B])

    def _rewritten(self, weights: list[Tensor], push: Tensor) -> Tensor:
        """Return the offsets [B, H, P] from A after an update by the gradients `push` [B, H, P]."""
        slow = split(self.weights, self.layers)
        step = self.log_step.exp()[:, None, None]
        offsets = []
        for old, first, by in zip(weights, slow, split(push, self.layers), strict=True):
            new = old + step * orthogonal(by)
            length = (first.square().sum(-1, keepdim=True) / (new.square().sum(-1, keepdim=True) + TINY)).sqrt()
            offsets.append((length * new - first).flatten(-2))
        return torch.cat(offsets, -1)

    @property
    def step_flops(self) -> int:
        """Projections, recurrence and attention of one step of one life, a chunk's update shared among its steps."""
        num_heads, K, N = self.shape
        P, small, large = size(self.layers), min(K, N), max(K, N)
        projected = self.project.channels + 3 * num_heads + 2 * num_heads * K
        update = 3 * len(MUON_STEPS) * (4 * small * small * large + 2 * small**3) + 10 * P
        return 2 * self.width * projected + num_heads * (8 * P + update // self.chunk) + self.attention.step_flops


def _named(attention: TensorDict) -> dict[str, Tensor]:
    return {PREFIX + name: leaf for name, leaf in attention.items()}


def _read(weights: list[Tensor], x: Tensor) -> Tensor:
    """Return f [B, H, C, V] of x [B, H, C, K]."""
    gate, out, up = weights
    return (functional.silu(x @ gate.mT) * (x @ up.mT)) @ out.mT


def _ascent(weights: list[Tensor], k: Tensor, v: Tensor, rates: Tensor) -> Tensor:
    """Return [B, H, P], the gradient of the sum of rate f(k)^T v; k and v [B, H, C, K], rates [B, H, C, 3]."""
    gate, out, up = weights
    z, u = k @ gate.mT, k @ up.mT
    opened = z.sigmoid()
    a = z * opened
    back = v @ out  # [B, H, C, N]
    by_gate, by_out, by_up = rates.split(1, -1)
    parts = (
        (by_gate * back * u * opened * (1 + z - a)).mT @ k,
        (by_out * v).mT @ (a * u),
        (by_up * back * a).mT @ k,
    )
    return torch.cat([part.flatten(-2) for part in parts], -1)
