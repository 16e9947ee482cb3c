"""Settings of the benchmark, and implementations from the layers above."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .shape import Shape

if TYPE_CHECKING:
    from .operations import Trial

__all__ = ["BenchConfig", "Guests", "Sizes"]


@dataclass(frozen=True)
class Sizes:
    """Sizes on the GPU."""

    step: tuple[Shape, ...] = (Shape(4096, 1, 4, 64), Shape(16384, 1, 4, 64))
    """Single steps, in place."""
    layer: Shape = Shape(64, 1, 4, 64)  # noqa: RUF009  a tuple
    """A whole layer's step."""
    train: Shape = Shape(64, 128, 4, 64)  # noqa: RUF009  a tuple
    """Forward and backward."""
    long: Shape = Shape(64, 2048, 4, 64)  # noqa: RUF009  a tuple
    """The same over many steps."""
    copy: int = 1 << 32
    """Bytes of the copy that bandwidth is measured with."""


@dataclass(frozen=True)
class BenchConfig:
    """Settings of a measurement.

    Args:
        devices: where to measure: cpu, cuda or both.
        shapes: lives and width of a head, for training on the CPU.
        length: steps of each life in it.
        num_heads: heads of each life in it.
        acting: lives and width of the layer, for acting on the CPU.
        threads: threads of torch and of our compiled loops.
        repeats: rounds; every implementation has one turn in each.
        starts: share of steps at which a life starts.
        compile: whether to measure acting under torch.compile too.
        output: file to write the report to.
        sizes: sizes on the GPU.
    """

    devices: tuple[str, ...] = ("cpu",)
    shapes: tuple[tuple[int, int], ...] = ((16, 32), (64, 32), (64, 64))
    length: int = 128
    num_heads: int = 4
    acting: tuple[int, int] = (64, 128)
    threads: int = 2
    repeats: int = 9
    starts: float = 0.02
    compile: bool = False
    output: Path | None = None
    sizes: Sizes = field(default_factory=Sizes)


@dataclass(frozen=True)
class Guests:
    """Implementations from the layers above the kernels."""

    layer: Callable[..., Any] | None = None
    """Called as layer(width, num_heads=, key_dim=, value_dim=), the last three None for its own defaults; has a
    memory's `initial_state`, `step` and `state_bytes`."""
    peers: Mapping[str, "Callable[[Shape, float], Trial]"] = field(default_factory=dict)
    """Other recurrent networks for the CPU, by name; made for a shape and a share of starts."""
    missing: tuple[str, ...] = ()
    """Unavailable implementations, one line each."""
