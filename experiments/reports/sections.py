"""The report: sections of each stream, what is missing, where everything comes from, and how to read it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lifelong.experiments.reports.comparisons import comparisons_table
from lifelong.experiments.reports.document import Block, Bullets, Heading, Paragraph, Picture
from lifelong.experiments.reports.figures import HeatMap, Panel, curves_figure, heat_maps_figure, svg
from lifelong.experiments.reports.groups import Agent, Part, Stream, sentences
from lifelong.experiments.reports.measure import Matrix, reports_of
from lifelong.experiments.reports.provenance import code_notes, configuration, cost_table, provenance_blocks
from lifelong.experiments.reports.question import certificate_blocks, question
from lifelong.experiments.reports.run import Run
from lifelong.experiments.reports.seeds import FEW
from lifelong.experiments.reports.sources import sources_blocks
from lifelong.experiments.reports.tables import agents_table, curve_table, lives_table, reasons, seeds_table
from lifelong.experiments.reports.task_tables import matrix_table, tasks_table

__all__ = ["panels", "report_blocks", "title"]

_MOST_MAPS = 6

_WORDS = (
    "Life: the episodes of one agent between two resets of its memory. Lag: episodes since the task was last met, in "
    "bins 1, 2-3, 4-7 and so on.",
    "First exposure: the task was met once before in this life (in task sequences: visited once before). Rehearsed: "
    "all rows of tasks met before, however often. A task with a long lag was rarely met, so practice and lag are mixed "
    "there.",
    "Load: different tasks met since this one was met last.",
    "Area: the mean of retention over the named lag bins. Half-life: the lag after which half is forgotten; > says "
    "that it is longer than any lag lived.",
    "Intervals of agents are over training seeds. Lives of one frozen agent tell nothing of another seed; their "
    "intervals are shown for single runs only, and say so.",
    "Drawn actions are samples of the agent's policy, as in training; greedy ones are the most probable.",
    "Memory index: the return of whole lives, exploration included, on the way from the best policy that forgets at "
    "every episode's end (0) to the best that remembers its life (1).",
)


def title(runs: Sequence[Run]) -> str:
    """Return the title of a report."""
    return f"Report of {runs[0].name}" if len(runs) == 1 else f"Comparison of {len(runs)} runs"


def report_blocks(streams: Sequence[Stream], missing: Sequence[str], base: Path) -> list[Block]:
    """Return a report.

    Args:
        streams: measured.
        missing: what else is missing, of runs that could not be opened.
        base: folder that paths are relative to.
    """
    runs = [run for stream in streams for run in stream.runs]
    notes = [*missing, *(note for stream in streams for note in sentences(stream.missing)), *code_notes(runs)]
    blocks: list[Block] = [Heading(title(runs), 1)]
    if len(streams) > 1:
        blocks.append(Paragraph(f"Runs of {len(streams)} streams. Numbers of different streams are never averaged."))
    if notes:
        blocks += [Heading("What is missing"), Bullets(tuple(notes), warning=True)]
    for stream in streams:
        blocks += _stream_blocks(stream)
    blocks += [Heading("Provenance"), *provenance_blocks(runs, base)]
    blocks += [Heading("How to read this"), Bullets(_WORDS)]
    return blocks


def panels(streams: Sequence[Stream]) -> list[Panel]:
    """Return the retention curves of all streams that have any, first exposure before the rehearsed one."""
    drawn = [(stream, part) for stream in streams for part in stream.parts if part.curves]
    several = len({stream.label for stream, _ in drawn}) > 1
    kinds = len({part.name for _, part in drawn}) > 1
    found = []
    for stream, part in drawn:
        where = ", ".join([*([stream.label] if several else []), *([part.name] if kinds else [])])
        before = f"{where}: " if where else ""
        found += [replace(panel, title=f"{before}{panel.title}") for panel in _panels(part)]
    return found


def _stream_blocks(stream: Stream) -> list[Block]:
    blocks: list[Block] = [Heading(stream.label)]
    if stream.env is not None:
        blocks += [question(stream.runs[0], stream.env), *certificate_blocks(stream.runs[0])]
    alone = len(stream.runs) == 1
    for part in stream.parts:
        blocks += [Heading(f"{part.name[0].upper()}{part.name[1:]}", 3), *_part_blocks(part, alone)]
    if not stream.parts:
        blocks.append(Paragraph("None of these runs was measured; what is missing says why."))
    if stream.matrices:
        blocks += [Heading("Performance matrix", 3), *_matrix_blocks(stream.matrices)]
    blocks += sources_blocks(stream.runs)
    others = [f"{run.name}: {', '.join(names)}" for run in stream.runs if (names := reports_of(run))]
    if others and all(part.name not in reports_of(run) for part in stream.parts for run in stream.runs):
        blocks.append(Paragraph(f"Reports of lifelong retention, shown with --report NAME: {'; '.join(others)}."))
    return [*blocks, Heading("Cost", 3), cost_table(stream), Heading("Configuration", 3), *configuration(stream)]


def _part_blocks(part: Part, alone: bool) -> list[Block]:
    blocks: list[Block] = [agents_table(part)]
    if said := reasons(part):
        blocks.append(Bullets(tuple(said)))
    if (compared := comparisons_table(part)) is not None:
        blocks.append(compared)
    if drawn := _panels(part):
        caption = f"Retention by lag, {' and '.join(panel.title for panel in drawn)}: {_shown(part, alone)}."
        figure = curves_figure(drawn, of_lives=alone)
        blocks.append(Picture(svg(figure), caption, "retention by lag", width=1.0 if len(drawn) > 1 else 0.7))
    blocks += [lives_table(part.measured[0], curve) if alone else curve_table(part, curve) for curve in part.curves]
    if (tasks := tasks_table(part)) is not None:
        blocks.append(tasks)
    return [*blocks, *_surface_blocks(part), *([] if alone else [seeds_table(part)])]


def _panels(part: Part) -> list[Panel]:
    return [Panel(curve.phrase, part.agents, curve) for curve in part.curves]


def _shown(part: Part, alone: bool) -> str:
    """Return what lines, points and bands of the curves are."""
    if alone:
        return "the band is the 95 % interval over lives of this one agent"
    counts = [len(agent.seeds) for agent in part.agents]
    shown = ["thick lines are means over seeds"] if max(counts) > 1 else []
    shown += ["thin lines are seeds"] if any(1 < count < FEW for count in counts) else []
    shown += ["bands are 95 % bootstrap intervals of the mean over seeds"] if max(counts) >= FEW else []
    shown += ["lines with points are one seed, and have no interval"] if min(counts) == 1 else []
    return ", ".join(shown)


def _surface_blocks(part: Part) -> list[Block]:
    """Return retention over load and lag: a heat map for each agent, the mean over the seeds that all have a cell."""
    maps = [found for agent in part.agents if (found := _surface(agent)) is not None]
    if not maps:
        return []
    figure = heat_maps_figure(
        maps[:_MOST_MAPS], "lag: episodes since the task was last met", "load", width=7.2 * _width(maps)
    )
    caption = (
        "Retention over load (different tasks met since the last meeting) and lag, mean over seeds. Grey: too few rows "
        "in a seed, or impossible." + _left_out(len(maps))
    )
    return [Picture(svg(figure), caption, "heat map of retention over load and lag", _width(maps))]


def _surface(agent: Agent) -> HeatMap | None:
    surfaces = [one.surface for one in agent.seeds if one.surface is not None]
    if len(surfaces) < len(agent.seeds):
        return None
    widest = max(surfaces, key=lambda one: len(one.lag))
    tallest = max(surfaces, key=lambda one: len(one.load))
    stack = np.full((len(surfaces), len(tallest.load), len(widest.lag)), np.nan)
    for seed, one in enumerate(surfaces):
        stack[seed, : len(one.load), : len(one.lag)] = one.rho
    mean = stack.mean(0)  # NaN where a seed has none
    rows, columns = (~np.isnan(mean).all(axis) for axis in (1, 0))
    if not rows.any():
        return None
    loads = [label for label, kept in zip(tallest.load, rows, strict=True) if kept]
    lags = [label for label, kept in zip(widest.lag, columns, strict=True) if kept]
    return HeatMap(agent.name, loads, lags, mean[rows][:, columns])


def _matrix_blocks(matrices: dict[str, list[Matrix]]) -> list[Block]:
    """Return the heat maps of performance matrices: means over seeds evaluated at the same steps, else each seed."""
    maps = []
    for agent, found in matrices.items():
        same = all(np.array_equal(one.steps, found[0].steps) and one.tasks == found[0].tasks for one in found)
        for one in found[:1] if same else found:
            R = np.mean([each.R for each in found], axis=0) if same else one.R
            which = agent if same and len(found) > 1 else f"{agent}, seed {one.run.config.seed}"
            steps = [f"{step:,}" for step in one.steps[::-1]]
            maps.append(HeatMap(which, steps, one.tasks, R[::-1]))
    figure = heat_maps_figure(maps[:_MOST_MAPS], "task evaluated", "steps of training", width=7.2 * _width(maps))
    one = next(iter(matrices.values()))[0]
    caption = (
        f"Performance matrix: score ({one.scale}) of copies of the living agent in each task, mean over "
        "seeds; time runs downwards. Seeds that were evaluated at different steps are shown one by one."
        + _left_out(len(maps))
    )
    picture = Picture(svg(figure), caption, "heat map of the performance matrix", _width(maps))
    return [picture, matrix_table(matrices)]


def _left_out(count: int) -> str:
    return f" The first {_MOST_MAPS} of {count} are shown." if count > _MOST_MAPS else ""


def _width(maps: Sequence[HeatMap]) -> float:
    return 0.6 if len(maps) == 1 else 1.0
