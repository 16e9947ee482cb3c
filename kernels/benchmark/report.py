"""What was measured, as Markdown: where and with what, tables, and which goals are met."""

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

from .accuracy import TOLERANCE, Verdict

__all__ = ["Goal", "Row", "Table", "accuracy_table", "middle", "origin", "quotient"]

HEADING = ("op", "back end", "shape", "forward ms", "forward + backward ms", "spread ms", "rate", "time / ours")

SETTINGS = ("GLIBC_TUNABLES", "KMP_", "LD_PRELOAD", "MALLOC_", "OMP_")  # variables that change times


@dataclass(frozen=True)
class Row:
    """One thing that was timed, or not."""

    op: str
    back_end: str
    shape: str
    forward: Sequence[float] = ()
    """Seconds."""
    both: Sequence[float] = ()
    """Seconds, forward and backward."""
    work: float = 0.0
    """Operations, or bytes, of the slower of the two that was timed."""
    unit: str = "GFLOP/s"
    """Of the rate: work per nanosecond."""
    ratio: float | None = None
    """Its time over that of ours."""
    fault: str | None = None
    """Why it was not timed."""
    peak: float | None = None
    """Rate to give a share of, in the same unit."""

    def cells(self) -> list[str]:
        """Return the cells of its line."""
        begin = [self.op, self.back_end, self.shape]
        if self.fault is not None:
            return [*begin, f"FAILED: {self.fault.replace('|', '/')}", "-", "-", "-", "-"]
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
    """A number to reach, and what was measured."""

    text: str
    """What is wanted, with its number."""
    found: Mapping[str, float | None]
    """What was measured, by shape; None where it could not be."""
    bound: float
    """The number."""
    most: bool = False
    """Whether the number may not be exceeded, instead of being reached."""
    stretch: float | None = None
    """A harder number."""
    unit: str = ""

    def verdict(self, bound: float) -> str:
        """Return whether a number is reached at all shapes."""
        known = [x for x in self.found.values() if x is not None]
        if not all(x <= bound if self.most else x >= bound for x in known):
            return "not met"
        return "met" if known and len(known) == len(self.found) else "not measured"

    def __str__(self) -> str:
        """Return its line."""
        found = ", ".join(
            f"{'not measured' if x is None else _number(x) + self.unit} ({shape})" for shape, x in self.found.items()
        )
        more = "" if self.stretch is None else f"; stretch {self.stretch:g}{self.unit}: {self.verdict(self.stretch)}"
        return f"- **{self.verdict(self.bound)}**: {self.text}: {found or 'nothing was measured'}{more}"


@dataclass(frozen=True)
class Table:
    """Rows that were timed in turns, and the goals they were timed for."""

    title: str
    rows: Sequence[Row]
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = field(default_factory=tuple)

    def __str__(self) -> str:
        """Return Markdown."""
        parts = [f"## {self.title}", *self.notes, markdown(HEADING, [row.cells() for row in self.rows])]
        return "\n\n".join([*parts, *(["\n".join(map(str, self.goals))] if self.goals else [])])


def accuracy_table(verdicts: Mapping[tuple[str, str], Verdict], device: torch.device | str) -> str:
    """Return Markdown of which back ends are right, and how far off they are."""
    rows = [
        [op, back_end, "-" if verdict.error == torch.inf else f"{verdict.error:.1e}",
         "right" if verdict.fault is None else f"FAILED: {verdict.fault.replace('|', '/')}"]
        for (op, back_end), verdict in verdicts.items()
    ]  # fmt: skip
    note = (
        f"Outputs, last state and all gradients in float32 against the plain loop in float64; allowed is {TOLERANCE:g} "
        "of the largest number of each tensor, or of 1. What failed is not timed."
    )
    table = markdown(("op", "back end", "largest error", "verdict"), rows)
    return f"## Right on {torch.device(device).type}?\n\n{note}\n\n{table}"


def markdown(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def middle(times: Mapping[str, Sequence[float]], name: str) -> float | None:
    """Return the median time of a rival, None if it has none."""
    return median(times[name]) if times.get(name) else None


def quotient(above: float | None, below: float | None) -> float | None:
    """Return a ratio of two times, None if either is missing."""
    return None if above is None or below is None else above / below


def origin(repeats: int) -> str:
    """Return where, when and with what it was measured, as Markdown.

    Args:
        repeats: of every measurement.
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
        lines = Path("/proc/cpuinfo").read_text().splitlines()
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
