r"""The network trained at test time as a compiled loop over heads; arguments as in `reference.py`.

All gradients of a mini-batch are taken at the weights it began with: a head's steps are cut into pieces, each of one
mini-batch of one life. Of a piece, first the gradients d_j x_j^T of all its pairs j are made (see `network.py`); then,
step by step and row by row of the weights,

    M <- eta M + sum_j p w_j d_j x_j^T,   D <- kappa D + s M,   E = (1 - rho) F + rho D,   z = W(A + E) x

with p = -(1 - eta) theta and s = 1 for a momentum of steps, p = 1 - eta and s = -theta for one of gradients, and
p = -theta, s = 1 and no M without; w_j = 1, or gamma_j / c within a window of c pairs.

Gradients, last step first; g. is the gradient of what follows the dot:

    g.W = g.z x^T,   g.x = W^T g.z,   g.E = g.W by W',   g.A += g.E,   g.F += (1 - rho) g.E,   g.D += rho g.E
    g.M += s g.D,    g.D <- kappa g.D,    g.d_j += p w_j g.M x_j,   g.x_j += p w_j g.M^T d_j,    g.M <- eta g.M

and then through the pairs' descent to A, F, k and v. The forward pass keeps D and M where a piece begins; the backward
pass makes those of its steps again.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lifelong.kernels.differentiable_once import differentiable_once
from lifelong.kernels.in_place import next_state, own_state
from lifelong.kernels.jit import Arrays, rows, spread
from lifelong.kernels.segments import life_start_steps

from .loops import backward, forward
from .network import Layers, places
from .rules import Rules

__all__ = ["inner_loop"]

LOSSES = {"l2": 0, "l3": 1, "huber": 2}
LINKS = {"identity": 0, "l4": 1, "softmax": 2}


def inner_loop(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weights: Tensor,
    frozen: Tensor,
    fast: Tensor,
    momentum: Tensor | None,
    phase: Tensor,
    start: Tensor,
    layers: Layers,
    batch: int,
    rules: Rules,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor]:
    """Compute `reference.inner_loop` in a compiled loop; float32 or float64, differentiable once.

    It has no momentum of directions.
    """
    scale, offset = rules.norm or (None, None)
    inputs = (
        q, k, v, weights, frozen, fast, momentum, rules.rate, rules.decay, rules.drag, rules.trust, rules.limit,
        rules.scale, scale, offset,
    )  # fmt: skip
    settings = _settings(layers, batch, rules, k.shape[1], q.shape[1])
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs):
        y, frozen, fast, momentum = _InnerLoop.apply(phase, start, settings, *inputs)  # type: ignore[no-untyped-call]
    else:
        y, frozen, fast, momentum, *_ = _run(phase, start, settings, *inputs, save=False)
    age = start.shape[1] - life_start_steps(phase, start)[:, -1:]
    return y, frozen, fast, momentum, age % batch


def _settings(layers: Layers, batch: int, rules: Rules, pairs: int, steps: int) -> Arrays:
    """Return rows, columns and places of every layer, [L, 5], and the other constants of the loop, [1, 7]."""
    of_steps, windows = rules.momentum_of == "steps", rules.trust is not None
    words = [LOSSES[rules.loss], LINKS[rules.parametrisation], of_steps, rules.bound, batch, pairs - steps, windows]
    return places(layers), np.array([words], np.int64)


class _InnerLoop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, phase: Tensor, start: Tensor, settings: Any, *inputs: Tensor | None) -> Any:
        y, frozen, fast, momentum, kept = _run(phase, start, settings, *inputs, save=True)
        ctx.settings = settings
        ctx.save_for_backward(*kept)
        return y, frozen, fast, momentum

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dy: Tensor, *dafter: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]  torch gives one gradient per output
        *inputs, phase, start, marks, momentum_marks = ctx.saved_tensors
        q, weights = inputs[0], inputs[3]
        B, T, H, _ = q.shape
        dstates = [None if z is None else z.clone(memory_format=torch.contiguous_format) for z in dafter]
        # every head of every life sums its own gradient of what they share
        shared = [None if z is None else z.new_zeros(B, *z.shape) for z in (weights, *inputs[12:])]
        own = [None if z is None else torch.zeros_like(z) for z in (*inputs[:3], *inputs[7:12])]
        given = rows(q.dtype, *inputs, phase, start) + ctx.settings
        given += rows(q.dtype, marks, momentum_marks, dy.contiguous(), *dstates, *own, *shared)
        spread(backward, B * H, 8 * T * weights.shape[1], given)
        summed = [None if z is None else z.sum(0) for z in shared]
        ddecay = None if own[4] is None else own[4] * inputs[8]
        return (
            None, None, None, *own[:3], summed[0], *dstates, own[3], ddecay, *own[5:], *summed[1:],
        )  # fmt: skip


def _run(phase: Tensor, start: Tensor, settings: Any, *inputs: Tensor | None, save: bool) -> Any:
    """Run forward; return y, the last states and what the backward pass needs."""
    tensors = [None if z is None else z.detach().contiguous() for z in inputs]
    q, v, weights, decay = tensors[0], tensors[2], tensors[3], tensors[8]
    assert q is not None
    assert v is not None
    assert weights is not None
    (B, T, H, _), P, batch = q.shape, weights.shape[1], int(settings[1][0, 4])
    tensors[8] = None if decay is None else decay.exp()
    phase, start = phase.contiguous(), start.contiguous()
    own = own_state if save else next_state
    states = [None if z is None else own(z) for z in inputs[4:7]]
    y, count = q.new_empty(B, T, H, v.shape[-1]), T // batch + 1 if save else 0
    marks = q.new_empty(count, B, H, P)
    momentum_marks = marks if states[2] is None else torch.empty_like(marks)
    given = rows(q.dtype, *tensors[:4], *states, *tensors[7:], phase, start) + settings
    given += rows(q.dtype, marks, momentum_marks, y)
    spread(forward, B * H, (T + 2) * P, given)
    return y, *states, (*tensors, phase, start, marks, momentum_marks)
