"""Tables of retention in a report: agents over seeds, each seed, retention by lag."""

import math
from collections import defaultdict
from collections.abc import Sequence

from lifelong.experiments.metrics.curve import number_text
from lifelong.experiments.metrics.rows import bin_edges, bin_label
from lifelong.experiments.reports.document import Table
from lifelong.experiments.reports.groups import Part
from lifelong.experiments.reports.measure import CURVES, Curve, Measured
from lifelong.experiments.reports.seeds import OverSeeds
from lifelong.experiments.runs.actions import Actions

__all__ = ["agents_table", "curve_table", "lives_table", "reasons", "seeds_table"]

_ACTIONS: dict[Actions, str] = {
    "drawn": "Actions were drawn from the policies.",
    "greedy": "Actions were greedy: the most probable ones.",
}
_BESIDE = "Mean return, greedy: of the most probable actions, in the same lives."
_ONE_SEED = "One seed of each agent: there is no interval, since intervals of agents are over training seeds."
_SEEDS = {
    "t": "t from 3 to 9 seeds, cut at 1 or at the greatest seed",
    "bootstrap": "bootstrap over seeds from 10 seeds on",
}


def agents_table(part: Part) -> Table:
    """Return a line for each agent: area under retention over seeds, each seed, memory index, return."""
    columns: dict[str, list[str]] = {
        "agent": [agent.name for agent in part.agents],
        "seeds": [f"{len(agent.seeds)}" for agent in part.agents],
    }
    several = any(len(agent.seeds) > 1 for agent in part.agents)
    shown: list[OverSeeds] = []
    for curve in part.curves:
        found = [agent.over_seeds(part.area(curve), 1.0) for agent in part.agents]
        columns[f"area, {curve.name}, {_lags(part, curve)}"] = [one.label() for one in found]
        if several:
            columns[f"each seed, {curve.name}"] = [one.listed() for one in found]
        shown += found
    index = [agent.over_seeds(lambda one: one.summary.index) for agent in part.agents]
    if any(not math.isnan(point) for one in index for point in one.points):
        columns["memory index"] = [one.label() for one in index]
        shown += index
    returns = [agent.over_seeds(lambda one: one.summary.mean_return) for agent in part.agents]
    columns["mean return"] = [one.label() for one in returns]
    greedy = [agent.over_seeds(lambda one: one.summary.greedy_return) for agent in part.agents]
    if any(not math.isnan(point) for one in greedy for point in one.points):
        columns["mean return, greedy"] = [one.label() for one in greedy]
        shown += greedy
    if several and not part.curves:
        columns["each seed"] = [one.listed() for one in returns]
    kinds = dict.fromkeys(one.kind for one in [*shown, *returns] if one.kind)
    intervals = f"In brackets the 95 % interval of the mean over training seeds: {'; '.join(map(_SEEDS.get, kinds))}."  # type: ignore[arg-type]
    kinds_of_actions: dict[Actions, None] = dict.fromkeys(one.summary.actions for one in part.measured)
    caption = [f"{part.name[0].upper()}{part.name[1:]}.", *(_ACTIONS[actions] for actions in kinds_of_actions)]
    caption += [_BESIDE] if "mean return, greedy" in columns else []
    caption += ["Area: mean of retention over the lag bins that all runs have."] if part.curves else []
    caption += [intervals if kinds else "" if several else _ONE_SEED]
    return Table(tuple(columns), tuple(zip(*columns.values(), strict=True)), " ".join(filter(None, caption)))


def reasons(part: Part) -> list[str]:
    """Return why agents have no interval, or no value, in words; equal reasons are one line."""
    said: dict[str, dict[str, None]] = defaultdict(dict)
    several = any(len(agent.seeds) > 1 for agent in part.agents)
    for agent in part.agents:
        named = [(f"area, {curve.name}", agent.over_seeds(part.area(curve), 1.0)) for curve in part.curves]
        index = agent.over_seeds(lambda one: one.summary.index)
        named += [("memory index", index)] if not math.isnan(index.mean) else []
        named.append(("mean return", agent.over_seeds(lambda one: one.summary.mean_return)))
        greedy = agent.over_seeds(lambda one: one.summary.greedy_return)
        named += [] if all(map(math.isnan, greedy.points)) else [("mean return, greedy", greedy)]
        for name, found in named:
            if found.reason and (several or math.isnan(found.mean)):
                few = len(found.points) < 3 and not math.isnan(found.mean)
                said[found.reason if few else f"{name}: {found.reason}"][agent.name] = None
        for one in agent.seeds:
            first, rehearsed = (curve.of(one) for curve in CURVES)
            for name, found_curve in (("retention", rehearsed), ("retention at first exposure", first)):
                if not found_curve.measured and found_curve.reason:
                    said[f"no {name}: {found_curve.reason}"][f"{agent.name}, seed {one.run.config.seed}"] = None
                    break  # without retention there is none at first exposure
    return [f"{reason} ({'; '.join(names)})" for reason, names in said.items()]


def seeds_table(part: Part) -> Table:
    """Return a line for each run: its numbers, of which the table of agents has the means."""
    heading = ["agent", "seed", "run"]
    heading += [f"{what}, {curve.name}" for curve in part.curves for what in ("area", "half-life")]
    heading += ["P(success, met before)", "memory index", "mean return", "mean return, greedy", "episodes"]
    lines = []
    for agent in part.agents:
        for one in agent.seeds:
            cells = [agent.name, f"{one.run.config.seed}", one.run.name]
            for curve in part.curves:
                cells += [
                    number_text(part.area(curve)(one)),
                    curve.of(one).half_life_label.removesuffix(" (longest lag lived)"),
                ]
            summary = one.summary
            cells += map(number_text, (summary.known, summary.index, summary.mean_return, summary.greedy_return))
            cells.append(f"{summary.episodes:,}")
            lines.append(cells)
    kept = [column for column in range(len(heading)) if column < 3 or any(line[column] != "-" for line in lines)]
    caption = "Each seed."
    if part.curves:
        caption += (
            " Half-life in episodes by maximum likelihood, with its 95 % profile interval over the run's own "
            "rows; > is beyond the longest lag lived."
        )
    chosen = tuple(tuple(line[column] for column in kept) for line in lines)
    return Table(tuple(heading[column] for column in kept), chosen, caption)


def curve_table(part: Part, curve: Curve) -> Table:
    """Return retention by lag: a line for each agent, in a cell the mean over seeds, the least and the greatest seed.

    Args:
        part: of a report.
        curve: one of its curves.
    """
    width = max((len(curve.of(one).rho) for one in part.measured), default=0)
    bins = [k for k in range(width) if any(_at(curve.of(one).count, k, 0) for one in part.measured)]
    lines = []
    for agent in part.agents:
        each = [agent.over_seeds(lambda one, k=k: _at(curve.of(one).rho, k, math.nan)) for k in bins]  # type: ignore[misc]
        counts = [sum(int(_at(curve.of(one).count, k, 0)) for one in agent.seeds) for k in bins]
        lines.append((agent.name, "retention", *map(_spread, each)))
        if any(curve.of(one).corrected for one in part.measured):
            less = [agent.over_seeds(lambda one, k=k: _at(curve.of(one).corrected, k, math.nan)) for k in bins]  # type: ignore[misc]
            lines.append((agent.name, "less transfer", *map(_spread, less)))
        lines.append((agent.name, "rows", *(f"{count:,}" for count in counts)))
    least = max((curve.of(one).minimum for one in part.measured), default=0)
    several = any(len(agent.seeds) > 1 for agent in part.agents)
    caption = (
        f"{_retention(curve)} by lag in episodes"
        f"{': mean over seeds, in brackets the least and the greatest seed' if several else ''}. "
        f"A bin in which a seed has fewer than {least} rows has no value."
    )
    if any(line[1] == "less transfer" for line in lines):
        caption += " Less transfer: without what first meetings of other tasks gain at the same age of a life."
    return Table(("agent", "", *(f"lag {bin_label(k)}" for k in bins)), tuple(lines), caption, text_columns=2)


def lives_table(one: Measured, curve: Curve) -> Table:
    """Return retention by lag of a single run, with intervals over its lives."""
    heading, *lines = curve.of(one).table()
    caption = (
        f"{_retention(curve)} by lag. The intervals are over the lives of this one agent: they say how well it is "
        "measured, and nothing about other seeds."
    )
    return Table(heading, tuple(lines), caption)


def _retention(curve: Curve) -> str:
    return f"Retention{'' if curve.phrase.startswith('at') else ','} {curve.phrase},"


def _lags(part: Part, curve: Curve) -> str:
    first, last = part.area_bins(curve)
    return f"lags {bin_edges(first)[0]} to {bin_edges(last)[1]}" if last >= first else "no lag bin in common"


def _spread(one: OverSeeds) -> str:
    """Return the mean of a cell and its range; how many seeds have a value, if not all."""
    known = [point for point in one.points if not math.isnan(point)]
    if not known:
        return "-"
    if math.isnan(one.mean):
        return f"- ({len(known)} of {len(one.points)} seeds)"
    return f"{one.mean:.3f}" + (f" ({min(known):.3f} to {max(known):.3f})" if len(known) > 1 else "")


def _at(values: Sequence[float], k: int, otherwise: float) -> float:
    return values[k] if k < len(values) else otherwise
