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
    """Settings of a measurement."""

    devices: tuple[str, ...] = ("cpu",)
    """Where to measure: cpu, cuda or both."""
    shapes: tuple[tuple[int, int], ...] = ((16, 32), (64, 32), (64, 64))
    """Lives and width of a head, for training on the CPU."""
    length: int = 128
    """Steps of each life in it."""
    num_heads: int = 4
    """Heads of each life in it."""
    acting: tuple[int, int] = (64, 128)
    """Lives and width of the layer, for acting on the CPU."""
    threads: int = 2
    """Threads of torch and of our compiled loops."""
    repeats: int = 9
    """Rounds; every implementation has one turn in each."""
    starts: float = 0.02
    """Share of steps at which a life starts."""
    compile: bool = False
    """Whether to measure acting under torch.compile too."""
    output: Path | None = None
    """File to write the report to."""
    sizes: Sizes = field(default_factory=Sizes)
    """Sizes on the GPU."""


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
