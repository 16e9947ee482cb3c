"""The performance matrix as a table and as a picture, readable with long names, many tasks and many evaluations."""

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lifelong.experiments.metrics.matrix import performance_matrix
from lifelong.experiments.runs.matrix import matrix_scalars, plot_matrix, show_matrix

LONG = ["MiniGrid-DoorKey-5x5-v0", "lavagaps5, reversed_actions+sticky_actions:0.5", "a " * 30]


def rows(evaluations: int, tasks: int) -> dict[str, Any]:
    step, task = np.divmod(np.arange(evaluations * tasks), tasks)
    score = (step + task) / (evaluations + tasks)
    return {"train_step": 1000 * step, "task": task, "return": score, "normalised": score, "success": score}


@pytest.mark.parametrize(
    ("evaluations", "names"), [(1, ["one", "other"]), (3, LONG), (300, LONG[:2]), (4, [f"cue {k}" for k in range(200)])]
)
def test_a_matrix_is_drawn_whatever_its_size(evaluations: int, names: list[str]) -> None:
    R = np.random.default_rng(0).random((evaluations, len(names)))
    R[0, 0] = np.nan
    figure = plot_matrix(np.arange(evaluations) * 1000, names, R, "normalised of copies, probe")
    figure.savefig(io.BytesIO())  # a warning, of axes that collapse, would be an error
    assert max(figure.get_size_inches()) <= 50
    (image,) = figure.axes[0].get_images()
    assert image.get_array().shape == (min(evaluations, 48), len(names))  # type: ignore[union-attr]


def test_a_matrix_is_a_table_of_80_columns() -> None:
    console = Console(record=True, width=80, file=io.StringIO())
    show_matrix(rows(20, 7), [f"{LONG[0]} of seed {k}" for k in range(7)], "probe, 3.1% of the steps", console)
    said = console.export_text()
    assert max(map(len, said.splitlines())) <= 80
    assert "…" not in said
    assert said.count("after steps") == 3  # in three parts
    steps = [line.split("│")[1].strip() for line in said.splitlines() if "│" in line]
    assert steps == [f"{k},000" if k else "0" for k in (*range(8), *range(12, 20))] * 3  # without the middle
    assert "final average" in said
    assert matrix_scalars(performance_matrix(rows(20, 7))[2])["transfer/forgetting"] == pytest.approx(0)
