"""Summaries of rows: no memory index in a negative control."""

import io
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lifelong.envs import References, Task
from lifelong.envs.stream import ROW
from lifelong.experiments.runs.summary import show_summary, summarise


def rows(returns: float, within: float, cross: float) -> dict[str, Any]:
    made = {name: np.zeros(4, dtype) for name, dtype in ROW.items()}
    made |= {"life": np.arange(4), "success": np.full(4, np.nan), "answer": np.full(4, -1)}
    return made | {"return": np.full(4, returns), "within": np.full(4, within), "cross": np.full(4, cross)}


@pytest.mark.parametrize(
    ("references", "index"),
    [
        (References(random=0.0, within=0.2, cross=0.8, oracle=1.0), 0.5),  # (.5 - .2) / (.8 - .2)
        (References(random=0.0, within=0.74, cross=0.8, oracle=1.0), (0.5 - 0.74) / 0.06),
        (References(random=0.0, within=0.76, cross=0.8, oracle=1.0), math.nan),  # a twentieth is .05
        (References(random=-40.0, within=-4.1, cross=-3.7, oracle=-3.6), math.nan),
    ],
)
def test_a_control_has_no_memory_index(references: References, index: float) -> None:
    env: Any = SimpleNamespace(retention=None, tasks=[Task("one", references)])
    found = summarise(rows(0.5, references.within, references.cross), env)
    assert found.index == pytest.approx(index, nan_ok=True)


def test_what_only_rows_tell_counts() -> None:
    task = Task("one", replace(References(), random=0.25, within=0.25, oracle=1.0))
    env: Any = SimpleNamespace(retention=None, tasks=[task])
    assert summarise(rows(0.5, 0.25, 0.75), env).index == pytest.approx(0.5)


def test_tasks_that_were_never_met_are_named() -> None:
    env: Any = SimpleNamespace(retention="gain", tasks=[Task(f"task {k}", References()) for k in range(9)])
    met = rows(0.5, math.nan, math.nan) | {"task": np.array([1, 1, 2, 2], ROW["task"])}
    found = summarise(met, env)
    assert found.unmet == ("task 0", *(f"task {k}" for k in range(3, 9)))
    console = Console(record=True, width=200, file=io.StringIO())
    show_summary(found, "gru", console)
    said = console.export_text()
    assert "too short to meet task 0, task 3, task 4, task 5, task 6, task 7 and 1 more" in said
    assert summarise(met, SimpleNamespace(retention=None, tasks=env.tasks)).unmet == ()  # type: ignore[arg-type]
