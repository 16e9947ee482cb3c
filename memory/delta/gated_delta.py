r"""Gated delta rule: decay, then correct the error at the key.

    S <- alpha_t S
    S <- S + beta_t (v_t - S k_t) k_t^T            S_0 = 0
    y_t = S q_t

q, k, v = SiLU(conv(W x)), q and k of unit length, beta = sigmoid(W x), log alpha = -softplus(W x + b); the reading goes
through an RMS norm per head, a SiLU gate and a linear map. The decay is initialised for lives, not sentences:
`horizons` of many thousand environment steps. The convolution has width two, so that an answer can be stored under the
cue one step before it.

Shapes: B lives, T steps, D width, H heads, K key dim, V value dim; state S [B, H, V, K] and the convolution's
window.
Cost per step: 7 H V K floating-point operations besides the projections; 4 H V K bytes of state.
Source: Gated DeltaNet, arXiv:2412.06464; its decay exp(-A softplus) is reparametrised with A = 1, no 1/sqrt(K) on the
query since a norm follows.
"""

from collections.abc import Callable
from functools import partial

import torch
from tensordict import TensorDict
from torch import Tensor
from torch.nn import functional

from lifelong.kernels.backends import compiled
from lifelong.kernels.in_place import next_state
from lifelong.kernels.layer_step import bind_layer_step, layer_step
from lifelong.memory.delta.base import DeltaRule
from lifelong.memory.delta.correction import Correction

__all__ = ["GatedDelta"]


class GatedDelta(DeltaRule):
    """Gated delta rule; see `DeltaRule` for the arguments."""

    def correction(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, state: TensorDict, start: Tensor) -> Correction:
        """Return the inputs with write strengths and decays."""
        beta, decay = self.strength_and_decay(x)
        return Correction(q, k, v, decay=decay, rate=beta)

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        """Compute one step, without gradients by one fused kernel; see `Memory.step`."""
        if torch.is_grad_enabled():
            return super().step(x, state, start)
        gates = functional.linear(x, self.gates.weight)  # its bias is added inside
        z = torch.cat([self.project.linear(x), gates, self.output.gate(x)], 1)
        y, window, S = layer_step(
            z, self.gates.bias, self.project.conv, self.output.norm.weight, state["window"], state["S"], start
        )
        return self.output.linear(y), TensorDict({"S": S, "window": window}, [x.shape[0]])

    def bind(self, x: Tensor, y: Tensor, state: TensorDict, start: Tensor) -> Callable[[], TensorDict]:
        """Bind a step: one product for all projections, and one compiled pass; see `Memory.bind`."""
        if type(self).step is not GatedDelta.step or not compiled(x, state["S"]):
            return super().bind(x, y, state, start)
        maps = (self.project.linear, self.gates, self.output.gate)
        weight = torch.cat([linear.weight.detach() for linear in maps]).T  # the gates' bias is added inside
        S, window = next_state(state["S"]), next_state(state["window"])
        z, reading, after = (
            x.new_empty(len(x), weight.shape[1]),
            x.new_empty(len(x), S.shape[1] * S.shape[2]),
            self.output,
        )
        step = bind_layer_step(z, self.gates.bias, self.project.conv, after.norm.weight, window, S, start, reading)
        project, out = (
            partial(torch.mm, x, weight, out=z),
            partial(torch.mm, reading, after.linear.weight.detach().T, out=y),
        )
        now = TensorDict({"S": S, "window": window}, [len(x)])

        def run() -> TensorDict:
            project()
            step()
            out()
            return now

        return run
