r"""LoLA: a window, a cache of the pairs that linear attention recalls worst, and linear attention for the rest.

    after the reading, the pair that leaves the window and the L pairs of the cache compete:
        error(k, v) = | S phi(k) / (z^T phi(k)) - v |^2          0 / 0 = 0: an empty memory recalls 0
    the one of the least error is given to the sums, the others are the cache:
        S <- S + v phi(k)^T,  z <- z + phi(k)                    S_0 = 0, z_0 = 0
    y_t = [sum_s e^{c_s} v_s + e^m S phi(q_t)] / [sum_s e^{c_s} + e^m z^T phi(q_t)]
        over the s of window and cache,  c_s = g q_t^T k_s + b_s

Every head has its own cache. q, k, v = SiLU(conv(W x)), q and k of unit length; phi(x) = softmax(A x, -A x), positive;
z is one more row of S. The sharpness g, a bias b per age inside the window (0 in the cache), A, and the weight m of the
linear branch are learned per head; m begins where an average pair weighs the same in both. Gradients flow through
entries kept, read and summed, not through the eviction. The sums never fade: over a long life they outweigh the window
unless the slow weights learn a small m.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim, W window, L cache, F = 2 K features; state
k [B, L + W - 1, H, K], v [B, L + W - 1, H, V] (cache first), S [B, H, V + 1, F], count [B, 1] int64 (steps lived, at
most W + L) and the convolution's window. A pass is a loop over its steps, but for the window.
Cost per step: H (2 (W + L) (K + V) + (L + 3) (2 K^2 + 2 F (V + 1))) floating-point operations besides the projections;
4 H ((L + W - 1) (K + V) + F (V + 1)) + 8 bytes of state.
Source: arXiv:2505.23666, with the feature map of arXiv:2402.04347; it is trained after the fact on top of a softmax
model, here from the start, and its weights of the two branches become m.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.backends import pick
from lifelong.kernels.evicting_cache import evicting_cache
from lifelong.kernels.segments import life_start_steps
from lifelong.kernels.sliding_window import Band
from lifelong.memory.attention.cached import SHARPNESS, CachedAttention
from lifelong.memory.layer import linear_flops, require_positive

__all__ = ["LoLA"]

HELD = ("k", "v", "S", "count")  # the state but for the convolution's window


class LoLA(CachedAttention):
    """Linear attention with a window and an exact cache of the pairs it recalls worst.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        window: W, last steps it sees, the present among them.
        cache: L, older pairs that are kept.
        key_dim: K; None for width / num_heads.
        value_dim: V; None for width / num_heads.
        conv_size: width of the short convolution, in steps.

    Raises:
        ValueError: if `num_heads` does not divide `width`, `window` is below 2, or `cache` below 1.
    """

    def __init__(
        self, width: int, num_heads: int | None = None, window: int = 16, cache: int = 16, key_dim: int | None = None,
        value_dim: int | None = None, conv_size: int = 2,
    ) -> None:  # fmt: skip
        if window < 2:
            raise ValueError(f"window must be at least 2, the present and one step before it: window={window}")
        require_positive(cache=cache)
        super().__init__(width, num_heads, key_dim, value_dim, conv_size, seen=window + cache, distances=window)
        (H, _, K), self.window, self.cache = self.shape, window, cache
        self.state_bounds = {"count": (0, window + cache)}
        self.features = nn.Parameter(SHARPNESS**0.5 * torch.eye(K).repeat(H, 1, 1))  # A
        average = min(SHARPNESS, SHARPNESS**2 / (2 * K))  # log of exp(g q^T k), q and k drawn from the sphere
        self.linear_bias = nn.Parameter(torch.full((H,), average) + torch.tensor(2 * K).log())  # m

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty caches, empty sums and an empty window."""
        (H, V, K), state = self.shape, super().initial_state(batch)
        return state.set("S", self.zeros(batch, H, V + 1, 2 * K))

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        q, k, v, window = self.project(x, state["window"], start)
        acting = start.shape[1] == 1 and not torch.is_grad_enabled() and pick("auto", q, state["k"]) == "cpu"
        y, *after = (self._step if acting else self._pass)(q, k, v, state, start)
        return self.output(y, x), TensorDict({**dict(zip(HELD, after, strict=True)), "window": window}, [x.shape[0]])

    def _step(self, q: Tensor, k: Tensor, v: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, ...]:
        """Compute one step without gradients, compiled; return the reading [B, 1, H, V] and the state."""
        from lifelong.kernels.evicting_cache.cpu_step import evicting_cache_step  # numba is imported at the first use

        weights = self.bias, self.features, self.sharpness, self.linear_bias
        return evicting_cache_step(q, k, v, *weights, state["k"], state["v"], state["S"], state["count"], start)

    def _pass(self, q: Tensor, k: Tensor, v: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, ...]:
        """Compute T steps; return the readings [B, T, H, V] and the state."""
        T, (_, V, K), W, L = start.shape[1], self.shape, self.window, self.cache
        band = Band(state["count"].clamp(max=W - 1), start, W)
        k, v = torch.cat([state["k"][:, L:], k], 1), torch.cat([state["v"][:, L:], v], 1)  # [B, W - 1 + T, H, K or V]
        lived = torch.arange(T, device=q.device) - life_start_steps(state["count"], start) + 1  # [B, T]
        leaving = torch.where((lived >= W)[..., None, None], self._pairs(k[:, :T], v[:, :T]), 0.0)
        kept = self._pairs(state["k"][:, :L], state["v"][:, :L])
        given = self.phi(q), leaving, lived - W, kept, state["S"], start, self.sharpness, self.linear_bias
        scores, values, kept, S = evicting_cache(q, *given)
        recent = band.scores(self.sharpness[:, None] * q, k) + self.bias[:, band.age.clamp(0, W - 1)]
        y = band.mix(recent, v, (scores[..., None], values[:, :, None]))  # one entry for all of it
        k, v = torch.cat([kept[..., :K], band.keep(k)], 1), torch.cat([kept[..., K : K + V], band.keep(v)], 1)
        return y, k, v, S, lived[:, -1:].clamp(max=W + L)

    def phi(self, k: Tensor) -> Tensor:
        """Return the features [..., H, F] of keys or queries [..., H, K]."""
        z = torch.einsum("...hk,hjk->...hj", k, self.features)
        return torch.cat([z, -z], -1).softmax(-1)

    def _pairs(self, k: Tensor, v: Tensor) -> Tensor:
        """Return key, value, a one for the normaliser, and features side by side, [..., H, K + V + 1 + F]."""
        return torch.cat([k, functional.pad(v, (0, 1), value=1.0), self.phi(k)], -1)

    @property
    def step_flops(self) -> int:
        """Projections, window, cache, errors and sums of one step of one life."""
        H, V, K = self.shape
        linear = (self.cache + 3) * (2 * K**2 + 4 * K * (V + 1))  # features, and the matrix read or written at them
        return linear_flops(self) + H * (2 * (self.window + self.cache) * (K + V) + linear)
