"""Compare speed and memory use over the tenths of a long run.

    lifelong train rooms --steps 10_000_000 --name long
    lifelong bench life runs/long

Reads the run's TensorBoard events: steps per wall-clock second, steps per CPU second, which other load disturbs less,
and resident memory. Prints a Markdown table of medians over each tenth of the run, and the last tenth against the
first.
"""

from pathlib import Path

import numpy as np

from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.settings.benchmarks.life import BenchConfig

__all__ = ["TAGS", "BenchConfig", "command", "main"]

TAGS = ("time/steps_per_second", "time/steps_per_cpu_second", "time/resident_bytes")
_PARTS = 10


def main(config: BenchConfig) -> str:
    """Return the table.

    Raises:
        UserError: if there is no such run, or if it is too short to have tenths.
    """
    steps, values = _read(config.run)
    edges = np.linspace(0, steps[-1], _PARTS + 1)
    part = np.clip(np.searchsorted(edges, steps) - 1, 0, _PARTS - 1)
    if len(set(part.tolist())) < _PARTS:
        raise UserError(
            f"{config.run} reported {len(steps)} times, which leaves some of its {_PARTS} tenths empty; "
            "a report comes every five seconds of training"
        )
    medians = np.array([np.median(values[part == n], axis=0) for n in range(_PARTS)])
    lines = [
        f"{config.run.name}: {steps[-1]:,} steps, {len(steps):,} reports",
        "",
        "| up to step | steps/s | steps per CPU second | resident MiB |",
        "| --- | --- | --- | --- |",
    ]
    for edge, (wall, cpu, resident) in zip(edges[1:], medians, strict=True):
        lines.append(f"| {edge:,.0f} | {wall:,.0f} | {cpu:,.0f} | {resident / 2**20:,.1f} |")
    wall, cpu, resident = medians[-1] / medians[0]
    lines.append(f"| last / first | {wall:.3f} | {cpu:.3f} | {resident:.4f} |")
    return "\n".join(lines)


def _read(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps [n] of a run's reports and their values [n, tags]."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not run.is_dir():
        raise UserError(f"{run} is no run: there is no such folder")
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    known = events.Tags()["scalars"]
    if missing := [tag for tag in TAGS if tag not in known]:
        raise UserError(f"{run} holds no report of {', '.join(missing)}")
    series = [events.Scalars(tag) for tag in TAGS]
    return np.array([event.step for event in series[0]]), np.array([[e.value for e in found] for found in series]).T


def command(config: BenchConfig) -> None:
    """Measure and print the table."""
    print(main(config))
