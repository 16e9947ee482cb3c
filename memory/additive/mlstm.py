r"""mLSTM: matrix memory with an exponential input gate and a normaliser.

    m_t = max(f_t + m, i_t)                                         m_0 = 0
    S <- exp(f_t + m - m_t) S + exp(i_t - m_t) v_t k_t^T            S_0 = 0
    n <- exp(f_t + m - m_t) n + exp(i_t - m_t) k_t                  n_0 = 0
    y_t = S q_t / max(|n^T q_t|, exp(-m_t))

q, k, v = SiLU(conv(W x)), k divided by sqrt(K); f = logsigmoid(W x + c) and i = 15 tanh((W x + d) / 15) per head. The
stabiliser m keeps every exponent below 0; S exp(m) and n exp(m), and with them y, are what they would be without it.
n is one more row of S, its value always 1. c is initialised for lives: `horizons` of many thousand environment steps.
A pass finds m of all steps by doubling: the maps m -> max(a + m, b) of two neighbouring stretches make one of the same
form.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim; state S [B, H, V + 1, K], m [B, H] and the
convolution's window.
Cost per step: 5 H (V + 1) K floating-point operations besides the projections; 4 H ((V + 1) K + 1) bytes of state.
Source: arXiv:2405.04517; gates read x, not q, k and v; queries, keys and values are those of all matrix memories here,
as are norm and gate around the reading; the input gate is soft-capped as in xLSTM-7B, arXiv:2503.13427, the forget
gate is not, whose logarithm is below 0 anyway. m is not detached: its gradient through y is 0.
"""

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from lifelong.memory.additive.base import Parts
from lifelong.memory.additive.projected import ProjectedAdditive
from lifelong.memory.layer import Output, decay_parameters

__all__ = ["MLSTM"]

CAP = 15.0


class MLSTM(ProjectedAdditive):
    """mLSTM: a normalised matrix per head with exponential gates.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        key_dim: K; None for twice width / num_heads: wide keys interfere less.
        value_dim: V; None for width / num_heads.
        conv_size: width of the short convolution, in steps.
        horizons: initial steps until a write has faded to 1/e, of the first and of the last head.

    Raises:
        ValueError: if `num_heads` does not divide `width`, or `horizons` do not rise.
    """

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
        horizons: tuple[float, float] = (1e4, 1e5),
    ) -> None:
        super().__init__(width, num_heads, key_dim, value_dim, conv_size, unit=False, normaliser=True)
        num_heads, rows, _ = self.shape
        self.gates = nn.Linear(width, 2 * num_heads)
        self.gates.weight.data[num_heads:] *= (
            0.1  # gates depend on the input from the start, decays begin near their horizons
        )
        self.gates.bias.data[:num_heads] = 0.0
        self.gates.bias.data[num_heads:] = -decay_parameters(num_heads, horizons)
        self.output = Output(width, num_heads, rows - 1)

    def initial_rest(self, batch: int) -> dict[str, Tensor]:
        """Return an empty window and a stabiliser of 0."""
        return super().initial_rest(batch) | {"m": self.zeros(batch, self.shape[0])}

    def parts(self, x: Tensor, state: TensorDict, start: Tensor) -> Parts:
        """Return the inputs of the recurrence; see `Additive.parts`."""
        q, k, v, window = self.project(x, state["window"], start)
        i, f = self.gates(x).split(self.shape[0], -1)  # [B, T, H]
        i, f = CAP * (i / CAP).tanh(), functional.logsigmoid(f)
        m = stabiliser(f, i, state["m"], start)
        before = torch.cat([state["m"][:, None], m[:, :-1]], 1).masked_fill(start[..., None], 0.0)
        decay = (f + before - m).clamp(max=0.0)  # 0 where m is the old one, but for rounding

        def read(sums: Tensor) -> Tensor:
            y, weight = sums.split([sums.shape[-1] - 1, 1], -1)
            out: Tensor = self.output(y / torch.maximum(weight.abs(), (-m).exp()[..., None]), x)
            return out

        gate = (i - m).exp()
        return Parts(q, k / k.shape[-1] ** 0.5, v, read, gate, decay, {"window": window, "m": m[:, -1]})


def stabiliser(f: Tensor, i: Tensor, m: Tensor, start: Tensor) -> Tensor:
    """Return m_t = max(f_t + m, i_t) after each of T steps, [B, T, H].

    Args:
        f: [B, T, H] log decays.
        i: [B, T, H] log weights of the writes.
        m: [B, H] before the first step.
        start: [B, T] bool, true where m counts as 0.
    """
    fresh = start[..., None]
    b = torch.where(fresh, torch.maximum(f, i), i)
    a = f.masked_fill(fresh, -torch.inf)  # m -> max(a + m, b) over the last `reach` steps
    reach = 1
    while reach < f.shape[1]:
        later = torch.maximum(a[:, reach:] + b[:, :-reach], b[:, reach:])
        a = torch.cat([a[:, :reach], a[:, reach:] + a[:, :-reach]], 1)
        b = torch.cat([b[:, :reach], later], 1)
        reach *= 2
    return torch.maximum(a + m[:, None], b)
