"""Measured operations: function, inputs and arithmetic."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lifelong.kernels.fast_weight import fast_weight
from lifelong.kernels.fused import gated_linear, gated_norm, qkv
from lifelong.kernels.linear_scan import linear_scan
from lifelong.kernels.posterior import posterior
from lifelong.kernels.short_conv import short_conv

from .shape import Shape

__all__ = ["DELTA", "OPERATIONS", "Draw", "Operation", "Trial", "back_ends", "draw", "trial"]

CONV_SIZE = 2  # width of the short convolution
FORMS = ("reference", "chunk", "cpu", "triton")  # names of their files; triton has one for single steps, one for chunks


class Trial(NamedTuple):
    """A call and its leaves, for timing."""

    run: Callable[[], Sequence[Tensor]]
    """Computes the outputs."""
    leaves: list[Tensor]
    """Tensors to differentiate by."""

    def forward(self) -> None:
        """Run forward without autograd."""
        with torch.no_grad():
            self.run()

    def both(self) -> None:
        """Run forward and backward from the sum of each output."""
        outputs = [x for x in self.run() if x.requires_grad]
        torch.autograd.grad(outputs, self.leaves, [torch.ones_like(x) for x in outputs], allow_unused=True)


@dataclass(frozen=True)
class Draw:
    """Random inputs."""

    device: torch.device
    generator: torch.Generator
    dtype: torch.dtype = torch.float32

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers."""
        return torch.randn(shape, generator=self.generator, device=self.device, dtype=self.dtype)

    def unit(self, *shape: int) -> Tensor:
        """Return random unit vectors."""
        return normalize(self.normal(*shape), dim=-1)

    def uniform(self, *shape: int) -> Tensor:
        """Return uniform numbers in [0, 1)."""
        return torch.rand(shape, generator=self.generator, device=self.device, dtype=self.dtype)

    def starts(self, shape: Shape, share: float) -> Tensor:
        """Return [B, T] bool, true at that share of the steps."""
        return self.uniform(shape.B, shape.T) < share


def draw(device: torch.device | str, seed: int = 0, dtype: torch.dtype = torch.float32) -> Draw:
    """Return a source of random inputs.

    Args:
        device: torch device.
        seed: of the source.
        dtype: of the inputs.
    """
    device = torch.device(device)
    return Draw(device, torch.Generator(device).manual_seed(seed), dtype)


@dataclass(frozen=True)
class Operation:
    """Measured kernel."""

    run: Callable[..., Any]
    """The public function, or one with its arguments and `backend`."""
    inputs: Callable[[Draw, Shape, float], dict[str, Any]]
    """Its arguments, for a share of starts."""
    flops: Callable[[Shape], int]
    """Floating-point operations of the forward pass; an exponential or a quotient counts one."""
    folder: str
    """Folder of its back ends below `kernels`."""


def back_ends(operation: Operation, device: torch.device | str) -> list[str]:
    """Return the back ends for a device, whether or not their packages are installed."""
    foreign = "triton" if torch.device(device).type == "cpu" else "cpu"
    folder = Path(__file__).resolve().parents[1] / operation.folder
    return [form for form in FORMS if form != foreign and any(folder.glob(f"{form}*.py"))]


def trial(operation: Operation, backend: str, inputs: dict[str, Any]) -> Trial:
    """Return a call of one back end with its own leaves.

    Args:
        operation: the operation.
        backend: its back end.
        inputs: arguments; tensors of floating point get gradients.
    """
    leaves = {
        name: x.detach().requires_grad_()
        for name, x in inputs.items()
        if isinstance(x, Tensor) and x.is_floating_point()
    }

    def run() -> Sequence[Tensor]:
        outputs = operation.run(**inputs | leaves, backend=backend)
        return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)

    return Trial(run, list(leaves.values()))


def _fast_weight(source: Draw, shape: Shape, starts: float, *, corrected: bool) -> dict[str, Any]:
    B, T, H, d = shape
    return {
        "q": source.normal(B, T, H, d),
        "k": source.unit(B, T, H, d),
        "v": source.normal(B, T, H, d),
        "state": source.normal(B, H, d, d),
        "start": source.starts(shape, starts),
        "decay": -0.1 * source.uniform(B, T, H),
    } | ({"rate": source.uniform(B, T, H)} if corrected else {})


def _posterior(source: Draw, shape: Shape, starts: float) -> dict[str, Any]:
    B, T, H, d = shape
    return {
        "q": source.normal(B, T, H, d),
        "k": source.unit(B, T, H, d),
        "w": source.normal(B, T, H, d),
        "b": source.uniform(B, T, H, d),
        "evidence": source.normal(B, H, d, d),
        "importance": source.uniform(B, H, d, d),
        "start": source.starts(shape, starts),
        "prior": 0.5 + source.uniform(H),
        "decay": -0.1 * source.uniform(B, T, H),
    }


def _linear_scan(source: Draw, shape: Shape, starts: float) -> dict[str, Any]:
    B, T, H, d = shape
    return {
        "u": source.normal(B, T, H, d),
        "decay": -0.1 * source.uniform(B, T, H, d),
        "state": source.normal(B, H, d),
        "start": source.starts(shape, starts),
    }


def _convolved(source: Draw, shape: Shape, starts: float, channels: int) -> dict[str, Any]:
    return {
        "x": source.normal(shape.B, shape.T, channels),
        "weight": source.normal(channels, CONV_SIZE),
        "state": source.normal(shape.B, CONV_SIZE - 1, channels),
        "start": source.starts(shape, starts),
    }


def _qkv(source: Draw, shape: Shape, starts: float) -> dict[str, Any]:
    return _convolved(source, shape, starts, 3 * shape.H * shape.d) | {"num_heads": shape.H, "key_dim": shape.d}


def _short_conv(source: Draw, shape: Shape, starts: float) -> dict[str, Any]:
    return _convolved(source, shape, starts, shape.H * shape.d)


def _gated_norm(source: Draw, shape: Shape, starts: float) -> dict[str, Any]:
    return {"x": source.normal(*shape), "weight": source.normal(shape.d), "gate": source.normal(*shape)}


def _gated_linear(source: Draw, shape: Shape, starts: float) -> dict[str, Any]:
    return {"z": source.normal(shape.B, shape.T, 2 * shape.H * shape.d)}


def _each(count: int, matrix: bool = False) -> Callable[[Shape], int]:
    """Return the arithmetic of `count` operations per step and channel, or per step and number of the matrix."""
    return lambda shape: count * shape.B * shape.T * shape.H * shape.d * (shape.d if matrix else 1)


DELTA, GATED = "fast_weight, delta rule", "fast_weight, gated"
OPERATIONS: dict[str, Operation] = {
    DELTA: Operation(fast_weight, partial(_fast_weight, corrected=True), _each(7, matrix=True), "fast_weight"),
    GATED: Operation(fast_weight, partial(_fast_weight, corrected=False), _each(5, matrix=True), "fast_weight"),
    "posterior": Operation(posterior, _posterior, _each(10, matrix=True), "posterior"),
    "linear_scan": Operation(linear_scan, _linear_scan, _each(3), "linear_scan"),
    "short_conv": Operation(short_conv, _short_conv, _each(2 * CONV_SIZE - 1), "short_conv"),
    "qkv": Operation(qkv, _qkv, _each(3 * (2 * CONV_SIZE - 1 + 4) + 6), "fused"),
    "gated_norm": Operation(gated_norm, _gated_norm, _each(9), "fused"),
    "gated_linear": Operation(gated_linear, _gated_linear, _each(5), "fused"),
}
