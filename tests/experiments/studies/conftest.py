"""A study file of a tiny stream, and results that were made up."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifelong.experiments.studies.measurements import COLUMNS
from lifelong.experiments.studies.study import Study
from lifelong.experiments.studies.trial import Result, Trial

TINY = """\
question = "Is it kept?"
train = {cues = 3, size = 4, num_envs = 4, steps = 160, life_episodes = 8, segment = 8, width = 16, epochs = 1, \
minibatches = 2, evaluation_lives = 4}
seeds = "0..2"
arms = ["gated_delta", "gru"]

[[test]]
name = "far"
times = 2

[[hypothesis]]
id = "H1"
says = "the delta rule keeps more"
contrast = "gated_delta - gru"
measure = "area(rho1, far, 2:7)"
expect = "> 0"
"""

Made = Callable[..., Study]
Rows = dict[str, list[Any]]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Return a function that writes a study file, with lines replaced, and returns the study."""

    def make(*changes: tuple[str, str], name: str = "kept") -> Study:
        text = TINY
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / f"{name}.toml"
        path.write_text(text)
        return Study.from_file(path, tmp_path / "study")

    return make


def made_up(level: float, seed: int, test: str = "far") -> Rows:
    """Return measurements of retention around a level, by seed."""
    noise = np.random.default_rng([seed, int(level == 0.5)]).normal(0.0, 0.01, 3)
    rows = [(test, "return", -1, -1, 90, level, math.nan, math.nan)]
    rows += [(test, "known", -1, -1, 90, level, math.nan, math.nan), (test, "index", -1, -1, 90, level, 0.0, 1.0)]
    for quantity in ("rho", "rho1"):
        for k, ends in enumerate(((1, 1), (2, 3), (4, 7))):
            rows.append((test, quantity, *ends, 40, level + float(noise[k]), 0.0, 1.0))
    return {name: [kind(row[k]) for row in rows] for k, (name, kind) in enumerate(COLUMNS.items())}


def result(trial: Trial, level: float) -> Result:
    """Return a result of a trial that was made up."""
    rows = made_up(level, trial.seed, "evaluation")
    for name, values in made_up(level, trial.seed).items():
        rows[name] += values
    facts = {
        "git": "0123456789abcdef",
        "versions": {"torch": "2"},
        "device": "cpu",
        "steps": 160,
        "seconds": 4.0,
        "tests_seconds": 2.0,
    }
    return Result(rows, facts)


@pytest.fixture
def filled() -> Callable[[Study], Study]:
    """Return a function that fills a study with made-up results: .9 of gated_delta, .5 of gru."""

    def fill(study: Study) -> Study:
        for plan in study.plans:
            level = 0.9 if plan.arm.name == "gated_delta" else 0.5
            for trial in study.trials(plan, study.tuning(plan).chosen or {}):
                study.store.add(trial, result(trial, level))
        return study

    return fill
