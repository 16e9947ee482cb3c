"""What is said of hypotheses, of results whose truth is known."""

import math
from typing import Any

import numpy as np
import pytest

from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.studies.formula import Measure
from lifelong.experiments.studies.judgement import judge
from lifelong.experiments.studies.measurements import COLUMNS, measured
from lifelong.experiments.studies.study_file import read_study_file

from .conftest import made_up

SEEDS = range(10)
FILE = """\
question = "Who keeps more?"
seeds = "0..9"
arms = ["gla", "gru", "lstm"]

[[test]]
name = "far"
{hypotheses}
"""


def hypothesis(id_: str, contrast: str, expect: str, more: str = "") -> str:
    return f"""
[[hypothesis]]
id = "{id_}"
says = "so it is"
contrast = "{contrast}"
measure = "area(rho1, far, 2:7)"
expect = "{expect}"
{more}
"""


def judged(tmp_path: Any, levels: dict[str, float], *hypotheses: str, seeds: range = SEEDS) -> list[Any]:
    path = tmp_path / "s.toml"
    path.write_text(FILE.format(hypotheses="".join(hypotheses)))
    rows = {arm: {seed: made_up(level, seed) for seed in seeds} for arm, level in levels.items()}
    return judge(read_study_file(path), rows)


def test_verdicts_of_differences_that_are_there(tmp_path: Any) -> None:
    found = judged(
        tmp_path,
        {"gla": 0.9, "gru": 0.5, "lstm": 0.5},
        hypothesis("H1", "gla - best(gru, lstm)", "> 0"),
        hypothesis("H2", "gru - gla", "> 0"),
        hypothesis("H3", "gru - gla", "< 0"),
        hypothesis("H4", "[gru, lstm] - gla", ">= -0.5"),
        hypothesis("H5", "gla", "> 0.8", "smallest = 0.95"),
        hypothesis("H6", "gru - lstm", "> 0", 'correct = "none"'),
    )
    assert [(one.id, one.verdict) for one in found] == [
        ("H1", "supported"), ("H2", "refuted"), ("H3", "supported"), ("H4", "supported"), ("H4", "supported"),
        ("H5", "refuted"), ("H6", "not told apart"),
    ]  # fmt: skip
    first, second, third, *_ = found
    assert first.difference == pytest.approx(0.4, abs=0.02)
    assert first.low < first.difference < first.high
    assert second.difference == third.difference < 0
    assert (second.low, second.high) == pytest.approx((third.low, third.high), abs=0.003)
    assert len(first.points) == 10
    assert first.notes == ()
    assert found[-1].p == found[-1].p_holm
    assert first.p_holm >= first.p


def test_few_seeds_say_what_that_means(tmp_path: Any) -> None:
    levels = {"gla": 0.9, "gru": 0.5, "lstm": 0.5}
    (five,) = judged(tmp_path, levels, hypothesis("H1", "gla - gru", "> 0"), seeds=range(5))
    assert five.verdict == "supported"
    assert five.notes[0].startswith("5 seeds, fewer than 10")
    (two,) = judged(tmp_path, levels, hypothesis("H1", "gla - gru", "> 0"), seeds=range(2))
    assert two.verdict == "not told apart"
    assert len(two.points) == 2
    assert math.isnan(two.low)
    assert two.notes[0].startswith("2 seeds: the points")


def test_a_bin_that_is_missing_is_no_value(tmp_path: Any) -> None:
    rows = made_up(0.5, 0)
    measure = {
        lags: Measure.parse(f"area(rho, far, {lags})", {"far": "retention"}) for lags in ("1:7", "2:3", "2:15", "3:3")
    }
    value, quantity = np.array(rows["value"]), np.array(rows["quantity"])
    assert measured(rows, measure["1:7"]) == pytest.approx(value[quantity == "rho"].mean())
    assert measured(rows, measure["2:3"]) == value[quantity == "rho"][1]
    assert math.isnan(measured(rows, measure["2:15"]))  # nothing lived to 8-15
    assert math.isnan(measured(rows, measure["3:3"]))
    exact = [("far", "rho", lag, lag, 9, lag / 10, 0.0, 1.0) for lag in (2, 5, 9)]
    chosen = {name: [row[k] for row in exact] for k, name in enumerate(COLUMNS)}
    assert measured(chosen, measure["2:15"]) == pytest.approx((0.2 + 0.5 + 0.9) / 3)
    (one,) = judged(tmp_path, {"gla": 0.9, "gru": math.nan, "lstm": 0.5}, hypothesis("H1", "gla - gru", "> 0"))
    assert one.notes == ("the measure is not known in all seeds of gru",)
    assert one.verdict == "not told apart"


def test_a_study_is_judged_when_all_seeds_are_there(made: Any, filled: Any) -> None:
    study = filled(made())
    (one,) = study.judge()
    assert (one.verdict, one.seeds) == ("supported", (0, 1, 2))
    assert one.notes[-1] == "exploratory: it was not registered"
    more = made(('seeds = "0..2"', 'seeds = "0..3"'))
    with pytest.raises(UserError, match=r"study 'kept' has 6 of 8 trials \(gated_delta has 3 of 4 seeds\)"):
        more.judge()
    assert more.judge(partial=True)[0].seeds == (0, 1, 2)
