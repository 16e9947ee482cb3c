"""Check the accuracy of the kernels on this machine and measure their speed.

    lifelong bench kernels                             all of it
    python kernels/benchmark/bench.py --device cuda    on a machine with nothing but torch and triton

Every back end is first compared with the reference in float64; one that fails is reported and not timed. The others are
timed in turns with their peers in one process. Prints Markdown; `--output` writes it to a file too.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":  # as a script: our folders must not hide packages of the same names
    floor = Path(__file__).resolve().parents[1]
    outside = [folder for folder in sys.path if floor not in (Path(folder).resolve(), *Path(folder).resolve().parents)]
    sys.path = [str(floor.parent / "src"), *outside]

import torch

from lifelong.kernels.benchmark import cpu, cuda
from lifelong.kernels.benchmark.accuracy import Comparison, examine
from lifelong.kernels.benchmark.config import BenchConfig, Guests
from lifelong.kernels.benchmark.operations import OPERATIONS, back_ends
from lifelong.kernels.benchmark.options import OptionError, options
from lifelong.kernels.benchmark.report import accuracy_table, origin

__all__ = ["main"]


def main(config: BenchConfig, guests: Guests | None = None) -> str:
    """Measure and return the report, with progress on stderr.

    Args:
        config: settings.
        guests: implementations from the layers above.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        parts = ["# Kernels, measured", origin(config.repeats)]
        for device in config.devices:
            parts += _sections(device, config, guests or Guests())
    finally:
        torch.set_num_threads(before)
    if hasattr(os, "getloadavg"):
        parts.append("Load average after: " + " ".join(f"{x:.2f}" for x in os.getloadavg()))
    report = "\n\n".join(parts) + "\n"
    if config.output is not None:
        config.output.write_text(report, encoding="utf-8")
    return report


def _sections(device: str, config: BenchConfig, guests: Guests) -> Iterator[str]:
    _say(f"is every back end right on {device}?")
    comparisons: dict[tuple[str, str], Comparison] = {}
    for name, operation in OPERATIONS.items():
        for back_end in back_ends(operation, device):
            comparisons[name, back_end] = examine(operation, back_end, device)
    yield accuracy_table(comparisons, device)
    tables = {"cpu": cpu.tables, "cuda": cuda.tables}[device](config, guests, comparisons)
    for title, table in tables.items():
        _say(f"{title} on {device}")
        yield str(table())


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    try:
        sys.stdout.write(main(options(sys.argv[1:], "python kernels/benchmark/bench.py")))
    except OptionError as error:
        sys.stderr.write(f"kernels/benchmark/bench.py: {error}\n")
        sys.exit(2)
