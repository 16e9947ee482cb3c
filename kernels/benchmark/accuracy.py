"""Compare a back end with the reference in float64: outputs and all gradients."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lifelong.kernels.in_place import in_place

from .operations import Operation, draw, trial
from .shape import Shape

__all__ = ["SHAPES", "TOLERANCE", "Comparison", "examine"]

TOLERANCE = 1e-4  # of the largest number in the tensor compared, or of 1; float32 against float64
SHAPES = {Shape(4, 1, 2, 16): 0.5, Shape(3, 70, 2, 16): 0.05}  # one step, and more than any chunk; share of starts


@dataclass(frozen=True)
class Comparison:
    """Result of a comparison."""

    difference: float
    """Largest difference, relative to the largest number of its tensor or 1."""
    error: str | None
    """Error message in one line; None if they agree."""


def examine(operation: Operation, backend: str, device: torch.device | str, seed: int = 0) -> Comparison:
    """Compare a back end in float32 with the reference in float64, at small shapes, and its step in place.

    Args:
        operation: the operation.
        backend: its back end.
        device: torch device.
        seed: of the inputs.

    Returns:
        The comparison; an exception of the back end is its error.
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
        except Exception as error:  # noqa: BLE001  any exception is reported, and the back end not timed
            return Comparison(torch.inf, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
        for name, x in got.items():
            exact = wanted[name.removeprefix("in place, ")]
            if x.shape != exact.shape:
                return Comparison(torch.inf, f"{name} is {list(x.shape)}, must be {list(exact.shape)} at {shape}")
            scale = max(1.0, exact.abs().max().item())
            difference = (x.double().cpu() - exact).abs().max().item() / scale
            if not difference <= TOLERANCE:  # true for NaN
                message = f"{name} differs by {difference:.1e}, allowed {TOLERANCE:.0e}, at {shape}"
                return Comparison(difference, message)
            worst = max(worst, difference)
    return Comparison(worst, None)


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
