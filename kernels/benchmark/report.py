"""Markdown report: machine and versions, tables, and goals."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import torch

from .accuracy import TOLERANCE, Comparison

__all__ = ["Goal", "Row", "Table", "accuracy_table", "middle", "origin", "quotient"]

HEADING = ("op", "back end", "shape", "forward ms", "forward + backward ms", "spread ms", "rate", "time / ours")

SETTINGS = ("GLIBC_TUNABLES", "KMP_", "LD_PRELOAD", "MALLOC_", "OMP_")  # environment variables that affect times


@dataclass(frozen=True)
class Row:
    """Row of a table."""

    op: str
    back_end: str
    shape: str
    forward: Sequence[float] = ()
    """Seconds."""
    both: Sequence[float] = ()
    """Seconds, forward and backward."""
    work: float = 0.0
    """Operations or bytes of `both`, or of `forward` without it."""
    unit: str = "GFLOP/s"
    """Unit of the rate: work per nanosecond."""
    ratio: float | None = None
    """Its time over ours."""
    error: str | None = None
    """Error; it was then not timed."""
    peak: float | None = None
    """Peak rate, in the same unit."""

    def cells(self) -> list[str]:
        """Return the cells of the row."""
        begin = [self.op, self.back_end, self.shape]
        if self.error is not None:
            return [*begin, f"FAILED: {self.error.replace('|', '/')}", "-", "-", "-", "-"]
        times = self.both or self.forward
        rate = self.work / median(times) / 1e9
        said = f"{_number(rate)} {self.unit}" if self.work else "-"
        return [
            *begin,
            _milliseconds(self.forward),
            _milliseconds(self.both),
            f"{_number(min(times) * 1e3)} to {_number(max(times) * 1e3)}",
            said + (f" ({rate / self.peak:.0%})" if self.work and self.peak else ""),
            "-" if self.ratio is None else f"{self.ratio:.2f}",
        ]


@dataclass(frozen=True)
class Goal:
    """Target and measured values."""

    text: str
    """Description of the target."""
    found: Mapping[str, float | None]
    """Measured values by shape; None where missing."""
    bound: float
    """Target value."""
    most: bool = False
    """Whether the target is an upper bound; else a lower one."""
    stretch: float | None = None
    """Stretch target."""
    unit: str = ""

    def result(self, bound: float) -> str:
        """Return whether a target is met at all shapes."""
        known = [x for x in self.found.values() if x is not None]
        if not all(x <= bound if self.most else x >= bound for x in known):
            return "not met"
        return "met" if known and len(known) == len(self.found) else "not measured"

    def __str__(self) -> str:
        """Return the line of the report."""
        found = ", ".join(
            f"{'not measured' if x is None else _number(x) + self.unit} ({shape})" for shape, x in self.found.items()
        )
        more = "" if self.stretch is None else f"; stretch {self.stretch:g}{self.unit}: {self.result(self.stretch)}"
        return f"- **{self.result(self.bound)}**: {self.text}: {found or 'nothing was measured'}{more}"


@dataclass(frozen=True)
class Table:
    """Table of rows timed in turns, with its goals."""

    title: str
    rows: Sequence[Row]
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = field(default_factory=tuple)

    def __str__(self) -> str:
        """Return the Markdown."""
        parts = [f"## {self.title}", *self.notes, markdown(HEADING, [row.cells() for row in self.rows])]
        return "\n\n".join([*parts, *(["\n".join(map(str, self.goals))] if self.goals else [])])


def accuracy_table(comparisons: Mapping[tuple[str, str], Comparison], device: torch.device | str) -> str:
    """Return the table of the back ends' accuracy."""
    rows = [
        [op, back_end, "-" if comparison.difference == torch.inf else f"{comparison.difference:.1e}",
         "right" if comparison.error is None else f"FAILED: {comparison.error.replace('|', '/')}"]
        for (op, back_end), comparison in comparisons.items()
    ]  # fmt: skip
    note = (
        f"Outputs, last state and all gradients in float32 against the plain loop in float64; allowed is {TOLERANCE:g} "
        "of the largest number of each tensor, or of 1. What failed is not timed."
    )
    table = markdown(("op", "back end", "largest error", "result"), rows)
    return f"## Right on {torch.device(device).type}?\n\n{note}\n\n{table}"


def markdown(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def middle(times: Mapping[str, Sequence[float]], name: str) -> float | None:
    """Return the median time of an implementation, None if it has none."""
    return median(times[name]) if times.get(name) else None


def quotient(above: float | None, below: float | None) -> float | None:
    """Return a ratio of two times, None if either is missing."""
    return None if above is None or below is None else above / below


def origin(repeats: int) -> str:
    """Return machine, date and versions as Markdown.

    Args:
        repeats: rounds of every measurement.
    """
    load = " ".join(f"{x:.2f}" for x in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    lines = {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "git": _git_hash(),
        "CPU": f"{_cpu()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread(s) of torch",
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "versions": f"python {platform.python_version()}, "
        + ", ".join(f"{name} {_version(name)}" for name in ("torch", "triton", "numba")),
        "settings": " ".join(f"{name}={value}" for name, value in os.environ.items() if name.startswith(SETTINGS))
        or "allocator and OpenMP as they come",
        "load average before": load,
        "command": " ".join(sys.argv),
        "figures": f"median of {repeats} rounds, all rivals of a table in turns in one process; spread is least to "
        "most; a backward pass counts as two forward passes of arithmetic; forward alone records nothing",
    }
    return "\n".join(f"- {name}: {said}" for name, said in lines.items())


def _milliseconds(times: Sequence[float]) -> str:
    return _number(median(times) * 1e3) if times else "-"


def _number(x: float) -> str:
    """Return three digits or more, never an exponent."""
    return f"{x:.0f}" if x >= 1000 else f"{x:#.3g}".rstrip(".") if x >= 1e-3 else f"{x:.5f}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not here"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _git_hash() -> str:
    def git(*words: str) -> str:
        here = Path(__file__).resolve().parent
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603, S607

    try:
        return git("rev-parse", "--short", "HEAD") + (" with changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
