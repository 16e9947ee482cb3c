"""Paired comparison of simulated agents: which is better is known."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lifelong.experiments.reports.comparisons import _p_value, comparisons_table
from lifelong.experiments.reports.groups import group_runs
from lifelong.experiments.reports.run import read_run

from .conftest import Write, recall_rows


def compared(folder: Path) -> list[dict[str, str]]:
    (stream,) = group_runs([read_run(path) for path in sorted(folder.iterdir())])
    (part,) = stream.parts
    table = comparisons_table(part)
    return [] if table is None else [dict(zip(table.heading, line, strict=True)) for line in table.lines]


def test_a_better_memory_is_better_in_every_seed(write_run: Write) -> None:
    for seed in range(4):
        write_run(f"gru-{seed}", seed=seed, rows=recall_rows(60.0, seed=seed), memory="gru")
        folder = write_run(f"none-{seed}", seed=seed, rows=recall_rows(0.0, seed=seed), memory="none").parent
    lines = compared(folder)
    assert [line["measure"] for line in lines] == ["area, first exposure", "area, rehearsed", "mean return"]
    for line in lines:
        assert (line["first"], line["second"], line["seeds"]) == ("gru", "none", "4")
        mean, low, high = map(float, re.findall(r"-?\d+\.\d+", line["first less second"]))
        assert 0.0 < low < mean < high
        assert line["P(improvement)"] == "1.00"
        assert float(line["p (Holm)"]) < 0.05


def test_p_by_hand(write_run: Write) -> None:
    returns = {"gru": [], "none": []}  # type: dict[str, list[float]]
    for seed in range(3):
        for memory, h in (("gru", 20.0), ("none", 15.0)):
            rows = recall_rows(h, seed=seed + 10 * (memory == "none"))
            folder = write_run(f"{memory}-{seed}", seed=seed, rows=rows, memory=memory).parent
            returns[memory].append(float(rows["return"].mean()))
    line = compared(folder)[-1]
    difference = np.subtract(returns["gru"], returns["none"])
    p = stats.ttest_rel(returns["gru"], returns["none"]).pvalue
    assert line["measure"] == "mean return"
    assert float(line["first less second"].split(" ")[0]) == pytest.approx(difference.mean(), abs=5e-4)
    assert p <= float(line["p (Holm)"]) <= min(1.0, 3 * p) + 5e-4


def test_two_seeds_in_common_are_not_compared(write_run: Write) -> None:
    for seed in range(3):
        write_run(f"gru-{seed}", seed=seed, rows=recall_rows(60.0, seed=seed), memory="gru")
        folder = write_run(f"none-{seed}", seed=seed + 1, rows=recall_rows(0.0, seed=seed), memory="none").parent
    assert compared(folder) == []


def test_differences_that_are_all_equal_have_the_p_of_the_sign_test() -> None:
    assert _p_value(np.array([0.25, 0.25, 0.25])) == 0.25
    assert _p_value(np.array([0.9 - 0.7, 0.5 - 0.3, 0.2])) == 0.25  # but for rounding
    assert _p_value(np.zeros(4)) == 1.0
