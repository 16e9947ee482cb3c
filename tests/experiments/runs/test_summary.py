"""Summaries of rows: no memory index in a negative control."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lifelong.envs import References, Task
from lifelong.envs.stream import ROW
from lifelong.experiments.runs.summary import summarise


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
