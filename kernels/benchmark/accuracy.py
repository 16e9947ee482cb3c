"""Whether a back end says what the plain loop says in float64: outputs and every gradient."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lifelong.kernels.in_place import in_place

from .operations import Operation, Shape, draw, trial

__all__ = ["SHAPES", "TOLERANCE", "Verdict", "examine"]

TOLERANCE = 1e-4  # of the largest number in the tensor compared, or of 1; float32 against float64
SHAPES = {Shape(4, 1, 2, 16): 0.5, Shape(3, 70, 2, 16): 0.05}  # one step, and more than any chunk; share of starts


@dataclass(frozen=True)
class Verdict:
    """What a comparison found."""

    error: float
    """The largest difference, over the largest number of the tensor it is in or 1."""
    fault: str | None
    """What is wrong, in one line; None if nothing is."""


def examine(operation: Operation, backend: str, device: torch.device | str, seed: int = 0) -> Verdict:
    """Compare a back end in float32 with the reference in float64, at small shapes, and its step in place.

    Args:
        operation: what to examine.
        backend: in which form.
        device: where.
        seed: of the inputs.

    Returns:
        The verdict; whatever the back end raises is one.
    """
    worst = 0.0
    for shape, starts in SHAPES.items():
        inputs = operation.inputs(draw("cpu", seed, torch.float64), shape, starts)
        wanted = _outcome(operation, "reference", inputs)
        single = {name: _single(x, device) for name, x in inputs.items()}
        try:
            got = _outcome(operation, backend, single)
            if shape.T == 1:
                got |= _in_place(operation, backend, single)
        except Exception as fault:  # noqa: BLE001  whatever a broken kernel raises, it is reported and not timed
            return Verdict(torch.inf, f"{type(fault).__name__}: {' '.join(str(fault).split())[:200]}")
        for name, x in got.items():
            exact = wanted[name.removeprefix("in place, ")]
            if x.shape != exact.shape:
                return Verdict(torch.inf, f"{name} is {list(x.shape)}, must be {list(exact.shape)} at {shape}")
            scale = max(1.0, exact.abs().max().item())
            error = (x.double().cpu() - exact).abs().max().item() / scale
            if not error <= TOLERANCE:  # NaN is no agreement
                return Verdict(error, f"{name} differs by {error:.1e}, allowed {TOLERANCE:.0e}, at {shape}")
            worst = max(worst, error)
    return Verdict(worst, None)


def _single(x: Any, device: torch.device | str) -> Any:
    if not isinstance(x, Tensor):
        return x
    return x.to(device, torch.float32 if x.is_floating_point() else x.dtype)


def _outcome(operation: Operation, backend: str, inputs: dict[str, Any]) -> dict[str, Tensor]:
    """Return the outputs, and the gradient of every input from random weights on them."""
    one = trial(operation, backend, inputs)
    outputs = one.run()
    weights = draw("cpu", 1, torch.float64)
    seeds = [weights.normal(*x.shape).to(x) for x in outputs]
    gradients = torch.autograd.grad(outputs, one.leaves, seeds, materialize_grads=True)
    names = [name for name, x in inputs.items() if isinstance(x, Tensor) and x.is_floating_point()]
    return {f"output {n}": x.detach() for n, x in enumerate(outputs)} | {
        f"gradient of {name}": x for name, x in zip(names, gradients, strict=True)
    }


def _in_place(operation: Operation, backend: str, inputs: dict[str, Any]) -> dict[str, Tensor]:
    """Return the outputs of a step that may write its state over the old one."""
    own = {name: x.clone() if isinstance(x, Tensor) else x for name, x in inputs.items()}
    with torch.no_grad(), in_place():
        outputs = trial(operation, backend, own).run()
    return {f"in place, output {n}": x for n, x in enumerate(outputs)}
