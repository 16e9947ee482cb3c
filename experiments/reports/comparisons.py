"""Paired comparison of agents: differences over the seeds that both have, corrected for how many were asked."""

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lifelong.experiments.metrics.aggregate import holm, probability_of_improvement
from lifelong.experiments.metrics.paired import p_of_mean
from lifelong.experiments.reports.document import Table
from lifelong.experiments.reports.groups import Agent, Part
from lifelong.experiments.reports.measure import Measured
from lifelong.experiments.reports.seeds import over_seeds

__all__ = ["comparisons_table"]

_LEAST = 3  # seeds of both
_MOST = 28  # pairs: 8 agents

Scores = NDArray[np.float64]


def comparisons_table(part: Part) -> Table | None:
    """Return a line for each pair of agents and measure: mean difference of equal seeds, P(improvement), p value.

    Seeds are paired, since agents of one seed live the same lives. p is of the paired t test, adjusted by Holm over all
    lines of the table (Holm 1979).

    Args:
        part: of a report.

    Returns:
        None if no two agents have three seeds in common in which both have a value.
    """
    measures: dict[str, Callable[[Measured], float]] = {
        f"area, {curve.name}": part.area(curve) for curve in part.curves
    }
    measures["mean return"] = lambda one: one.summary.mean_return
    lines, p = [], []
    for first, second in list(combinations(part.agents, 2))[:_MOST]:
        for name, value in measures.items():
            pairs = _pairs(first, second, value)
            if len(pairs) < _LEAST:
                continue
            difference = over_seeds([float(a - b) for a, b in pairs], groups=False)
            better = probability_of_improvement(pairs[:, :1], pairs[:, 1:])
            lines.append([first.name, second.name, name, f"{len(pairs)}", difference.label(), f"{better:.2f}"])
            p.append(_p_value(pairs[:, 0] - pairs[:, 1]))
    if not lines:
        return None
    cells = [(*line, f"{adjusted:.3f}") for line, adjusted in zip(lines, holm(np.array(p)), strict=True)]
    caption = (
        "Comparison of agents: mean of the first less the second over the seeds that both have, with its 95 % interval "
        "over these pairs; P(improvement) is that a seed of the first is better than one of the second "
        "(arXiv 2108.13264); p is of the paired t test, of the sign test where all differences are equal, adjusted by "
        "Holm over the lines of this table."
    )
    heading = ("first", "second", "measure", "seeds", "first less second", "P(improvement)", "p (Holm)")
    return Table(heading, tuple(cells), caption, text_columns=3)


def _pairs(first: Agent, second: Agent, value: Callable[[Measured], float]) -> Scores:
    """Return [seeds, 2] the values of the seeds in which both agents have one."""
    mine, other = ({one.run.config.seed: value(one) for one in agent.seeds} for agent in (first, second))
    both = [(mine[seed], other[seed]) for seed in sorted(mine.keys() & other.keys())]
    return np.array([pair for pair in both if not any(map(math.isnan, pair))]).reshape(-1, 2)


def _p_value(difference: Scores) -> float:
    """Return the two-sided p value of a mean of 0; where all n differences are equal, of the sign test, 2^(1 - n)."""
    return float(min(p_of_mean(difference, 0.0), p_of_mean(-difference, 0.0)))
