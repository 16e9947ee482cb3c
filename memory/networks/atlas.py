r"""Atlas: a network per head trained at test time on the last c pairs at polynomial keys, optionally by Muon.

    G_t = 1/c sum_{t - c < i <= t} gamma_i gradient at F of 1/2 |f(phi(k_i); W) - v_i|^2
    M_t = eta_t M_{t-1} + (1 - eta_t) G_t                               M_0 = 0
    W_t = A + alpha_t (W_{t-1} - A) - theta_t M_t                       W_0 = A, learned
    y_t = f(phi(q_t); W_t)                                              f: a matrix, or layers with SiLU between them
    phi(x) = (a_1 x, a_2 x x^T) / |(a_1, a_2)|                          see `polynomial.py`

F: W at the start of the mini-batch.
q, k, v = SiLU(conv(W x)), q and k of unit length, and so is phi; theta = sigmoid / C, eta, gamma = sigmoid,
log alpha = -softplus of linear maps of x, per head; a starts at 1 and 1/2. With `muon`, orthogonal(M_t) takes the place
of M_t (see `kernels/inner_loop/muon.py`): every direction moves by theta, whatever its error.
theta <= 1 / C, the mean over the window and the normalised gradient (see `kernels/inner_loop/network.py`; raw with
`bound="off"`) keep equal observations in a row from overshooting.
The decay is initialised for lives, not sentences: `horizons` of many thousand environment steps.

Shapes: B lives, T steps, D width, H heads, K key dim, E = K + K (K + 1) / 2 features, V value dim, N hidden units,
P weights of a head, V E or N (E + V); state frozen, fast (offsets from A) and momentum [B, H, P], phase [B, 1] int64,
the last pairs k [B, c - 1, H, K] and v [B, c - 1, H, V] with gamma [B, c - 1, H], 0 where there is none, and the
convolution's window.
Cost per step: (8 + 4 c) H P floating-point operations, and 2 c H V N with two layers, besides the projections;
12 H P + 4 (c - 1) H (K + V + 1) + 8 bytes of state.
Source: arXiv:2505.23735, from a transcription of its equations; a normalised-LMS variant. Without Muon it is OmegaNet
with momentum. Mean in place of the sum over the window, bounds for the rate, which comes after the momentum; weights
fade to A, not to zero; the last layer of A begins at zero; our convolution and output layer.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.kernels.inner_loop import Rules, last_pairs, orthogonal_flops
from lifelong.memory.layer import Output, count_heads, require_positive, write_and_fade
from lifelong.memory.networks.bound import Bound
from lifelong.memory.networks.inner_network import InnerNetwork
from lifelong.memory.networks.polynomial import polynomial, polynomial_width

__all__ = ["Atlas"]


class Atlas(InnerNetwork):
    """A network per head, trained on a window of pairs at polynomial keys.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        recent: c, pairs of the window, the present one among them.
        depth: layers of the network; 1 is a matrix.
        hidden: N, units of a hidden layer; None for twice the value dim.
        key_dim: K; None for width / num_heads, but 8 at most.
        value_dim: V; None for width / num_heads.
        batch: C, steps of a mini-batch.
        muon: whether the momentum is made orthogonal before it is added.
        conv_size: width of the short convolution, in steps.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last head.
        bound: `on` for normalised gradients, `off` for raw ones.

    Raises:
        ValueError: if `num_heads` does not divide `width`, a size is not positive, or `bound` is unfit.
    """

    def __init__(
        self, width: int, num_heads: int | None = None, recent: int = 4, depth: int = 2, hidden: int | None = None,
        key_dim: int | None = None, value_dim: int | None = None, batch: int = 8, muon: bool = False,
        conv_size: int = 2, horizons: tuple[float, float] = (1e4, 1e5), bound: Bound = "on",
    ) -> None:  # fmt: skip
        H = count_heads(width, num_heads)
        K = key_dim or min(width // H, 8)
        require_positive(recent=recent)
        inputs = polynomial_width(K)
        super().__init__(width, H, depth, hidden, False, K, value_dim, batch, conv_size, True, inputs, bound)
        self.recent, self.extra, self.muon = recent, 4 * recent, muon
        self.powers = nn.Parameter(torch.tensor([1.0, 0.5]).expand(H, 2).clone())
        self.gates = write_and_fade(width, H, horizons, write=2.0, others=(0.0, 2.0))  # near their bounds, eta = 1/2
        self.output = Output(width, H, self.shape[1])

    def first_weights(self) -> Tensor:
        """Return the weights of `InnerNetwork`, after as many random numbers as there are weights."""
        weights = super().first_weights()
        torch.randn(self.shape[0], *self.layers[-1])  # a seed means the same memory as when the last layer was drawn
        return weights

    def initial_state(self, batch: int) -> TensorDict:
        """Return zero offsets from the slow weights, no pairs and an empty window."""
        (H, V, K), state = self.shape, super().initial_state(batch)
        for name, shape in (("k", (H, K)), ("v", (H, V)), ("gamma", (H,))):
            state[name] = self.zeros(batch, self.recent - 1, *shape)
        return state

    def rules(self, x: Tensor) -> Rules:
        """Return rates, decays, drag and the weights of the pairs."""
        rate, fade, drag, gamma = self.gates(x).split(self.shape[0], -1)  # [B, T, H] each
        rules = Rules(rate.sigmoid() / self.batch, decay=-functional.softplus(fade), drag=drag.sigmoid())
        return rules._replace(momentum_of="directions" if self.muon else "gradients", trust=gamma.sigmoid())

    def learn(
        self, q: Tensor, k: Tensor, v: Tensor, rules: Rules, state: TensorDict, start: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the readings after training on the last pairs, and the state but for the window."""
        new = {"k": k, "v": v, "gamma": rules.trust}
        pairs = {name: torch.cat([state[name], z], 1) for name, z in new.items() if z is not None}
        rules = rules._replace(trust=pairs["gamma"])
        q, k = polynomial(q, self.powers), polynomial(pairs["k"], self.powers)
        y, after = super().learn(q, k, pairs["v"], rules, state, start)
        return y, after | {name: last_pairs(z, start) for name, z in pairs.items()}

    @property
    def step_flops(self) -> int:
        """Projections and recurrence of one step of one life."""
        made_orthogonal = sum(orthogonal_flops(*layer) for layer in self.layers) if self.muon else 0
        return super().step_flops + self.shape[0] * made_orthogonal
