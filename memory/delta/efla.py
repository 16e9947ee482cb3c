r"""EFLA, error-free linear attention: the delta rule as a flow, followed exactly over a time beta.

    S <- S + r_t (v_t - S k_t) k_t^T,   r_t = (1 - exp(-beta_t |k_t|^2)) / |k_t|^2               S_0 = 0
    y_t = S q_t

It is the solution at time beta of  S' = (v - S k) k^T,  of which the delta rule is one Euler step. The share of the
error that is corrected, r |k|^2, is below 1 whatever the key: keys are not brought to length 1, and their length says
how hard a step is written, from not at all to a full overwrite.
q, k, v = SiLU(conv(W x)), q of unit length, beta = sigmoid(W x), at first 1/2; the reading goes through an RMS norm per
head, a SiLU gate and a linear map.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim; state S [B, H, V, K] and the convolution's
window.
Cost per step: 6 H V K + 8 H K floating-point operations besides the projections; 4 H V K bytes of state.
Source: arXiv:2512.12602; below beta |k|^2 = 10^-6 r is beta.
"""

import torch
from tensordict import TensorDict
from torch import Tensor

from lifelong.kernels.unit_length import unit_length
from lifelong.memory.delta.correction import Correction
from lifelong.memory.delta.delta_net import DeltaNet

__all__ = ["EFLA"]


class EFLA(DeltaNet):
    """Error-free linear attention: the delta rule's flow over a learned time.

    Args:
        width: D, width of inputs and outputs.
        num_heads: H; must divide `width`. None for one in every 32 channels.
        key_dim: K; None for twice width / num_heads: wide keys interfere less.
        value_dim: V; None for width / num_heads.
        conv_size: width of the short convolution, in steps.

    Raises:
        ValueError: if `num_heads` does not divide `width`.
    """

    key_flops = 8

    def __init__(
        self,
        width: int,
        num_heads: int | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 2,
    ) -> None:
        super().__init__(width, num_heads, "modern", key_dim, value_dim, conv_size)
        self.project.unit = False  # the queries alone

    def correction(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, state: TensorDict, start: Tensor) -> Correction:
        """Return the inputs with the exact share of the error."""
        beta = self.gate(x).sigmoid()
        time = (beta * (k * k).sum(-1)).clamp(min=1e-6)  # [B, T, H]
        return Correction(unit_length(q), k, v, rate=beta * -torch.expm1(-time) / time)
