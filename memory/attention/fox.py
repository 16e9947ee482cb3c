r"""FoX, forgetting attention: softmax attention whose scores fade by data-dependent forget gates.

    p_ts = softmax over s in seen_t of  g q_t^T k_s + sum over s < r <= t of log f_r
    y_t = sum_s p_ts v_s

seen_t: the last W steps of this life, t among them. f = sigmoid(W x + b) per head: a step with a small f makes all
steps before it count less from then on. There are no other positions.
q, k, v = SiLU(conv(W x)), q and k of unit length, the sharpness g learned per head; the reading leaves through the same
norm and gate as in the matrix memories. b is initialised near the heads' `horizons`, log-spaced.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim, W cache; state k [B, W - 1, H, K],
v [B, W - 1, H, V], fade [B, W - 1, H] (the sum of log f since each cached step), count [B, 1] int64 (valid slots) and
the convolution's window.
Cost per step: 2 W H (K + V + 1) floating-point operations besides the projections; 4 (W - 1) H (K + V + 1) + 8 bytes of
state.
Source: arXiv:2503.02130 ("Pro": norm of queries and keys, shifted keys, norm and gate after the reading), within a
window. Its b begins at 0.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.sliding_window import Band
from lifelong.memory.attention.cached import SHARPNESS
from lifelong.memory.layer import Output, Projection, count_heads, decay_parameters, linear_flops
from lifelong.memory.memory import Memory

__all__ = ["FoX"]


class FoX(Memory):
    """Forgetting attention over a bounded cache of keys and values.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        cache: W, steps it sees, the present among them.
        key_dim: K; None for width / num_heads.
        value_dim: V; None for width / num_heads.
        conv_size: width of the short convolution, in steps.
        horizons: initial steps until a step's weight has faded to 1/e, of the first and of the last head.

    Raises:
        ValueError: if `num_heads` does not divide `width`, `cache` is below 2, or `horizons` do not rise.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        cache: int = 32,
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
        horizons: tuple[float, float] = (10, 1e3),
    ) -> None:
        if cache < 2:
            raise ValueError(f"cache must be at least 2, the present and one step before it: cache={cache}")
        super().__init__(width)
        H = count_heads(width, num_heads)
        K, V = key_dim or width // H, value_dim or width // H
        self.shape, self.cache = (H, V, K), cache
        self.state_bounds = {"count": (0, cache - 1)}
        self.project = Projection(width, H, K, V, conv_size)
        self.sharpness = nn.Parameter(torch.full((H,), SHARPNESS))
        self.forget = nn.Linear(width, H)
        self.forget.weight.data *= 0.1  # heads begin near their horizons
        self.forget.bias.data[:] = -decay_parameters(H, horizons)
        self.output = Output(width, H, V)

    def initial_state(self, batch: int) -> TensorDict:
        """Return an empty cache and an empty window."""
        (H, V, K), slots = self.shape, self.cache - 1
        cache = {"k": self.zeros(batch, slots, H, K), "v": self.zeros(batch, slots, H, V)}
        cache |= {"fade": self.zeros(batch, slots, H), "count": self.zeros(batch, 1, dtype=torch.int64)}
        return TensorDict(cache | {"window": self.zeros(batch, *self.project.window_shape)}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        band = Band(state["count"], start, self.cache)
        q, k, v, window = self.project(x, state["window"], start)
        k, v = torch.cat([state["k"], k], 1), torch.cat([state["v"], v], 1)  # [B, W - 1 + T, H, K or V]
        total = functional.logsigmoid(self.forget(x)).double().cumsum(1)  # [B, T, H] since the pass began
        since = torch.cat([-state["fade"].double(), total], 1)  # [B, W - 1 + T, H], at each step
        fade = band.rows(total).transpose(2, 3)[..., None] - band.columns(since[..., None])  # [B, N, H, C, S]
        y = band.mix(band.scores(self.sharpness[:, None] * q, k) + fade.to(x.dtype), v)
        faded = (total[:, -1:] - since).to(x.dtype)
        after = {"k": band.keep(k), "v": band.keep(v), "fade": band.keep(faded)}
        after |= {"count": band.kept.sum(1, keepdim=True), "window": window}
        return self.output(y, x), TensorDict(after, [x.shape[0]])

    @property
    def step_flops(self) -> int:
        """Projections, scores and reading of one step of one life."""
        H, V, K = self.shape
        return linear_flops(self) + 2 * self.cache * H * (K + V + 1)
