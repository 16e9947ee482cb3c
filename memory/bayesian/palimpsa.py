r"""Palimpsa: Bayesian metaplasticity, an importance for every fast weight.

    M <- alpha_t M + w_t k_t^T                     evidence                        M_0 = 0
    J <- alpha_t J + b_t (k_t * k_t)^T             importance beyond the prior     J_0 = 0
    y_t = (M / (J + I_p)) q_t + D v_t              posterior mean, and the value itself

q, k, v = SiLU(conv(W x)), q and k of unit length, w = s v with the write gate s = sigmoid(W x) per head.
`beta="vector"`: b = s sigmoid(W' W x) softplus(scale) per value channel, J is [V, K]. `beta="scalar"`: one b per head;
J is the same in all rows, j [K], and the memory is gated linear attention read with q / (j + I_p): the same equations
at half the state. `beta="key"`: b per key channel, j <- alpha j + b * k * k, read like scalar at the same cost.
`beta="none"`: b = 0, the twin without metaplasticity, NotPalimpsa: y_t = M q_t / I_p + D v_t, and no J is kept.
D begins at sqrt(K): y / sqrt(K) is the published output, and an RMS norm follows.
`numerator="beta"`: evidence is written as importance, w = b v (key: v (b * k)^T): the posterior of the paper's model,
where an entry that is written without end reads v / k whatever b. The default writes s v. `variance=True`: the
predictive variance of each value channel, u_i = sum_j q_j^2 / (J_ij + I_p) (scalar and key: one per head), is added to
the output: y + W u, after the norm, which would remove its scale. It is 1 / I_p before any write and falls towards 0; W
begins at 0. With vector a pass forms J at every step, B T H V K numbers. log alpha = -softplus(W x + c). Frequently
written entries become rigid; decay pulls the importance back to I_p = 1.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim; state M [B, H, V, K], J [B, H, V, K] or
j [B, H, K], and the convolution's window.
Cost per step: 10 H V K (vector), 5 H V K + 6 H K (scalar, key) or 5 H V K (none) operations besides the projections;
the variance costs 6 H V K or 3 H K more.
Source: arXiv:2602.09075 in the form of its repository (numerator gate and importance gate apart, I_p fixed); its decay
exp(-A softplus) is reparametrised with A = 1; b per head and per key channel are not in the repository.
"""

from typing import Literal, get_args

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.fast_weight import fast_weight
from lifelong.kernels.linear_scan import linear_scan
from lifelong.kernels.posterior import posterior
from lifelong.memory.delta.base import DeltaRule

__all__ = ["Palimpsa"]

Beta = Literal["vector", "scalar", "key", "none"]
Numerator = Literal["gate", "beta"]


class Palimpsa(DeltaRule):
    """Palimpsa: a factorised Gaussian posterior over a matrix per head.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        beta: `vector`, an importance gate per value channel; `scalar`, one per head (cheaper, half the state); `key`,
            one per key channel, at the cost of scalar; `none`, no importance.
        key_dim: K; None for twice width / num_heads: wide keys interfere less.
        value_dim: V; None for width / num_heads.
        conv_size: width of the short convolution, in steps.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last head.
        numerator: factor of the evidence: `gate`, the write gate, or `beta`, the importance gate.
        variance: whether the predictive variance is added to the output.

    Raises:
        ValueError: if `num_heads` does not divide `width`, `beta` or `numerator` is unknown, or the numerator or
            the variance is to come from an importance that `beta="none"` does not have.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        beta: Beta = "vector",
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
        horizons: tuple[float, float] = (1e4, 1e5),
        numerator: Numerator = "gate",
        variance: bool = False,
    ) -> None:
        for name, word, allowed in (("beta", beta, get_args(Beta)), ("numerator", numerator, get_args(Numerator))):
            if word not in allowed:
                raise ValueError(f"{name} must be {' or '.join(map(repr, allowed))}, got {word!r}")
        if beta == "none" and (numerator == "beta" or variance):
            raise ValueError(f"beta='none' keeps no importance: numerator={numerator!r}, variance={variance}")
        self.beta, self.numerator = beta, numerator  # the layers' sizes depend on them
        super().__init__(width, num_heads, key_dim, value_dim, conv_size, horizons)
        H, V, _ = self.shape
        self.entry_flops = 10 if beta == "vector" else 5
        self.key_flops = 6 if beta in ("scalar", "key") else 0
        self.doubt: nn.Linear | None = None
        if variance:
            self.doubt = nn.Linear(H * V if beta == "vector" else H, width, bias=False)
            nn.init.zeros_(self.doubt.weight)
            self.entry_flops += 6 if beta == "vector" else 0
            self.key_flops += 0 if beta == "vector" else 3

    def add_gates(self, horizons: tuple[float, float]) -> None:
        """Add the write strength and decay, the importance gate, the skip and the prior."""
        super().add_gates(horizons)
        H, V, K = self.shape
        channels = H * {"vector": V, "scalar": 1, "key": K, "none": 0}[self.beta]
        if channels:
            rank = -(-self.width // 16)
            down, up = nn.Linear(self.width, rank, bias=False), nn.Linear(rank, channels, bias=False)
            self.importance = nn.Sequential(down, up)
            self.importance_scale = nn.Parameter(torch.ones(channels))
        self.skip = nn.Parameter(torch.full((H,), K**0.5))
        self.prior: Tensor
        self.register_buffer("prior", torch.ones(H))

    def initial_state(self, batch: int) -> TensorDict:
        """Return no evidence, the prior's importance and an empty window."""
        H, V, K = self.shape
        state = {"M": self.zeros(batch, H, V, K), "window": self.zeros(batch, *self.project.window_shape)}
        if self.beta != "none":
            state["J"] = self.zeros(batch, H, *((V, K) if self.beta == "vector" else (K,)))
        return TensorDict(state, [batch])

    def forward(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Write and read T times; see `Memory.forward`."""
        q, k, v, window = self.project(x, state["window"], start)
        gate, decay = self.strength_and_decay(x)  # [B, T, H]
        gate = gate[..., None]
        if self.beta == "none":
            y, M = fast_weight(q / self.prior[:, None], k, gate * v, state["M"], start, decay=decay)
            y = self.output(y + self.skip[:, None] * v, x)
            return y, TensorDict({"M": M, "window": window}, [x.shape[0]])
        b = self.importance(x).sigmoid() * functional.softplus(self.importance_scale)
        b = b.unflatten(-1, (self.num_heads, -1)) * gate  # [B, T, H, V, 1 or K]
        M, J = state["M"], state["J"]
        w, key = gate * v, k
        if self.numerator == "beta":
            w, key = (v, b * k) if self.beta == "key" else (b * v, k)
        if self.beta == "vector":
            u = None if self.doubt is None else self.every_variance(q, k, b, J, start, decay)
            y, M, J = posterior(q, k, w, b, M, J, start, prior=self.prior, decay=decay)
        else:
            j, J = linear_scan(b * k * k, decay, J, start)
            precise = q / (j + self.prior[:, None])
            u = None if self.doubt is None else (q * precise).sum(-1, keepdim=True)
            y, M = fast_weight(precise, key, w, M, start, decay=decay)
        y = self.output(y + self.skip[:, None] * v, x)
        if self.doubt is not None and u is not None:
            y = y + self.doubt(u.flatten(2))
        return y, TensorDict({"M": M, "J": J, "window": window}, [x.shape[0]])

    def every_variance(self, q: Tensor, k: Tensor, b: Tensor, J: Tensor, start: Tensor, decay: Tensor) -> Tensor:
        """Return the predictive variance of each value channel at every step, [B, T, H, V]."""
        squares = b[..., :, None] * k.square()[..., None, :]  # [B, T, H, V, K]
        importance, _ = linear_scan(squares, decay, J.clone(), start)  # acting writes over what it is given
        return (q.square()[..., None, :] / (importance + self.prior[:, None, None])).sum(-1)
