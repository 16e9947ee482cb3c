r"""LoLA: a window, a cache of the pairs that linear attention recalls worst, and linear attention for the rest.

    after the reading, the pair that leaves the window and the L pairs of the cache compete:
        error(k, v) = | S phi(k) / (z^T phi(k)) - v |^2          0 / 0 = 0: an empty memory recalls 0
    the one of the least error is given to the sums, the others are the cache:
        S <- S + v phi(k)^T,  z <- z + phi(k)                    S_0 = 0, z_0 = 0
    y_t = [sum_s e^{c_s} v_s + e^m S phi(q_t)] / [sum_s e^{c_s} + e^m z^T phi(q_t)]
        over the s of window and cache,  c_s = g q_t^T k_s + b_s

Every head has its own cache. q, k, v = SiLU(conv(W x)), q and k of unit length; phi(x) = softmax(A x, -A x), positive;
z is one more row of S. The sharpness g, a bias b per age inside the window (0 in the cache), A, and the weight m of the
linear branch are learned per head; m begins where an average pair weighs the same in both. Errors are recomputed at
each eviction. Gradients flow through entries kept, read and summed, not through the eviction. The sums never fade: over
a long life they outweigh the window unless the slow weights learn a small m.

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

from lifelong.memory.attention.sliding_window import Band, births
from lifelong.memory.layer import Output, Projection, count_heads
from lifelong.memory.memory import Memory

__all__ = ["LoLA"]

SHARPNESS = 10.0
UNSEEN = -1e30
"""Score of empty slots: finite, so that an empty cache gives no NaN."""


class LoLA(Memory):
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
        self,
        width: int,
        num_heads: int | None = None,
        window: int = 16,
        cache: int = 16,
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
    ) -> None:
        super().__init__(width)
        num_heads = count_heads(width, num_heads)
        if window < 2:
            raise ValueError(f"window must be at least 2, the present and one step before it: window={window}")
        if cache < 1:
            raise ValueError(f"cache must be positive: cache={cache}")
        K, V = key_dim or width // num_heads, value_dim or width // num_heads
        self.shape, self.window, self.cache = (num_heads, V, K), window, cache
        self.project = Projection(width, num_heads, K, V, conv_size)
        self.sharpness = nn.Parameter(torch.full((num_heads,), SHARPNESS))
        self.bias = nn.Parameter(torch.zeros(num_heads, window))  # by age
        self.features = nn.Parameter(SHARPNESS**0.5 * torch.eye(K).repeat(num_heads, 1, 1))  # A
        average = min(SHARPNESS, SHARPNESS**2 / (2 * K))  # log of exp(g q^T k), q and k drawn from the sphere
        self.linear_bias = nn.Parameter(torch.full((num_heads,), average) + torch.tensor(2 * K).log())  # m
        self.output = Output(width, num_heads, V)

    def initial_state(self, batch: int) -> TensorDict:
        """Return empty caches, empty sums and an empty window."""
        num_heads, V, K = self.shape
        slots = self.cache + self.window - 1
        k, v = self.zeros(batch, slots, num_heads, K), self.zeros(batch, slots, num_heads, V)
        S = self.zeros(batch, num_heads, V + 1, 2 * K)
        window = self.zeros(batch, self.project.conv_size - 1, self.project.channels)
        count = torch.zeros(batch, 1, dtype=torch.int64, device=k.device)
        return TensorDict({"k": k, "v": v, "S": S, "count": count, "window": window}, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        B, T = start.shape
        _, V, K = self.shape
        W, L = self.window, self.cache
        band = Band(state["count"].clamp(max=W - 1), start, W)
        q, k, v, window = self.project(x, state["window"], start)
        k, v = torch.cat([state["k"][:, L:], k], 1), torch.cat([state["v"][:, L:], v], 1)  # [B, W - 1 + T, H, K or V]
        lived = torch.arange(T, device=x.device) - births(state["count"], start) + 1  # [B, T]

        kept = self._pairs(state["k"][:, :L], state["v"][:, :L])
        leaving = torch.where((lived >= W)[..., None, None], self._pairs(k[:, :T], v[:, :T]), 0.0)
        gone = lived - W  # [B, T] pairs that have left the window before this step
        unused = torch.arange(L, device=x.device) >= gone[..., None]  # [B, T, L]
        S, phi, scores, values = state["S"], self.phi(q), [], []
        for t in range(T):
            new = start[:, t, None, None, None]
            kept, S = kept.masked_fill(new, 0.0), S.masked_fill(new, 0.0)
            score, value = self._recall(q[:, t], phi[:, t], kept, S, unused[:, t], gone[:, t, None] <= L)
            kept, S = self._evict(leaving[:, t, None], kept, S, unused[:, t], gone[:, t, None] >= L)
            scores.append(score)
            values.append(value)

        recent = band.scores(self.sharpness[:, None] * q, k) + self.bias[:, band.age.clamp(0, W - 1)]
        older = torch.stack(scores, 1)[..., None], torch.stack(values, 1)[:, :, None]  # one entry for all of it
        y = band.mix(recent, v, older)
        after = {
            "k": torch.cat([kept[..., :K], band.keep(k)], 1),
            "v": torch.cat([kept[..., K : K + V], band.keep(v)], 1),
            "S": S,
            "count": lived[:, -1:].clamp(max=W + L),
            "window": window,
        }
        return self.output(y, x), TensorDict(after, [B])

    def phi(self, k: Tensor) -> Tensor:
        """Return the features [..., H, F] of keys or queries [..., H, K]."""
        z = torch.einsum("...hk,hjk->...hj", k, self.features)
        return torch.cat([z, -z], -1).softmax(-1)

    def _pairs(self, k: Tensor, v: Tensor) -> Tensor:
        """Return key, value, a one for the normaliser, and features side by side, [..., H, K + V + 1 + F]."""
        return torch.cat([k, functional.pad(v, (0, 1), value=1.0), self.phi(k)], -1)

    def _recall(
        self, q: Tensor, phi: Tensor, kept: Tensor, S: Tensor, unused: Tensor, empty: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the log weight [B, H] and the mean [B, H, V] of all that has left the window."""
        _, V, K = self.shape
        exact = self.sharpness * torch.einsum("bhk,blhk->blh", q, kept[..., :K])
        said, mass = divided(S, phi)
        linear = (self.linear_bias + torch.where(empty, 1.0, mass).log()).masked_fill(empty, UNSEEN)  # [B, H]
        scores = torch.cat([exact.masked_fill(unused[..., None], UNSEEN), linear[:, None]], 1)  # [B, L + 1, H]
        total = scores.logsumexp(1)
        weight = (scores - total[:, None]).exp()
        value = torch.einsum("blh,blhv->bhv", weight[:, :-1], kept[..., K : K + V]) + weight[:, -1, :, None] * said
        return total, value

    def _evict(self, leaving: Tensor, kept: Tensor, S: Tensor, unused: Tensor, full: Tensor) -> tuple[Tensor, Tensor]:
        """Evict the pair of the least error among the cache and the one leaving the window."""
        _, V, K = self.shape
        rivals = torch.cat([kept, leaving], 1)  # [B, L + 1, H, K + V + 1 + F]
        with torch.no_grad():
            recalled, _ = divided(S[:, None], rivals[..., K + V + 1 :])
            error = (recalled - rivals[..., K : K + V]).square().sum(-1)  # [B, L + 1, H]
            error[:, :-1].masked_fill_(unused[..., None], -1.0)  # the first slot without a pair is taken
            loser = error.argmin(1, keepdim=True)  # [B, 1, H]
        lost = rivals.gather(1, loser[..., None].expand(-1, -1, -1, rivals.shape[-1]))[:, 0]
        write = torch.where(full[..., None], lost[..., K : K + V + 1], 0.0)
        S = S + write[..., None] * lost[..., None, K + V + 1 :]
        slots = torch.arange(self.cache, device=S.device)[:, None]
        return torch.where((slots == loser)[..., None], leaving, kept), S

    @property
    def step_flops(self) -> int:
        """Projections, window, cache, errors and sums of one step of one life."""
        num_heads, V, K = self.shape
        projected = self.project.channels + 2 * num_heads * V
        linear = 2 * K**2 + 4 * K * (V + 1)  # features, and the matrix read or written at them
        recurrence = 2 * (self.window + self.cache) * (K + V) + (self.cache + 3) * linear
        return 2 * self.width * projected + num_heads * recurrence


def divided(S: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the linear attention's output, [..., V], and its normaliser [...]; 0 for an empty memory.

    Args:
        S: [..., V + 1, F], the last row the sum of the features.
        features: [..., F].
    """
    read = torch.einsum("...vf,...f->...v", S, features)
    mass = read[..., -1:]
    return read[..., :-1] / torch.where(mass > 0, mass, 1.0), mass[..., 0]
