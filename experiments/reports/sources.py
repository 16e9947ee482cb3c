"""Section of a report: which episodes wrote what the memory reads, as `lifelong retention --sources` found it."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from lifelong.experiments.reports.document import Block, Bullets, Heading, Table
from lifelong.experiments.reports.run import Run
from lifelong.experiments.runs.answer_sources import SOURCES, AnswerSources

__all__ = ["sources_blocks"]

_HEADING = ("run", "measurement", "lag", "episodes", "last", "earlier", "other tasks", "present", "before", "by chance")
_CAPTION = (
    "Shares in what the memory reads at the last step of an episode whose task was met before: of the task's last "
    "episode, its earlier ones, those of other tasks, the present one, and the state before the first step. They add "
    "up to 1; below 0 are writes that the others had to outweigh. By chance: the last episode's share of all earlier "
    "steps. Exact, of one layer of a frozen agent in new lives."
)


def sources_blocks(runs: Sequence[Run]) -> list[Block]:
    """Return the table of all measurements of these runs, and which files cannot be read; nothing without any.

    Args:
        runs: of a stream.
    """
    lines: list[tuple[str, ...]] = []
    faults: list[str] = []
    for run in runs:
        for path in sorted((run.folder / "report").glob(f"*{SOURCES}")):
            try:
                lines += _lines(run, path)
            except (OSError, ValueError) as error:
                faults.append(f"{run.name}: {path.name} cannot be read: {error}")
    blocks: list[Block] = [Heading("Sources of what the memory reads", 3)] if lines or faults else []
    blocks += [Table(_HEADING, tuple(lines), _CAPTION, text_columns=3)] if lines else []
    return blocks + ([Bullets(tuple(faults), warning=True)] if faults else [])


def _lines(run: Run, path: Path) -> Iterable[tuple[str, ...]]:
    found = AnswerSources.from_json(json.loads(path.read_text(encoding="utf-8")))
    return ((run.name, path.name.removesuffix(SOURCES), *line) for line in found.lines())
