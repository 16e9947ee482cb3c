"""A study file is read as it says, and whatever is wrong in it is told with its line and what is near."""

from pathlib import Path

import pytest

from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.studies.formula import Comparison, Contrast, Expectation, Measure, Side, Term
from lifelong.experiments.studies.study_file import StudyFile, read_study_file

FILE = """\
question = "Is it kept?"
train = {cues = 4, steps = 1000}
seeds = "20-22"
arms = [
  "gated_delta",
  {memory = "gru", size = "parameters"},
  {carry = "episode"},
]
size = {state_bytes = 16_900, tolerance = 0.02}

[tune]
lr = [1e-3, 2e-3]
seeds = [1000]
by = "area(rho1, evaluation, 2:3)"

[[test]]
name = "far"
times = 4

[[test]]
name = "changed"
by = "adaptation"

[[hypothesis]]
id = "H1"
says = "more"
contrast = "[gated_delta, gru] - gated_delta/episode"
measure = "area(rho1, far, 2:15)"
expect = ">= -0.02"
smallest = 0.1
"""


def read(tmp_path: Path, text: str = FILE) -> StudyFile:
    path = tmp_path / "kept.toml"
    path.write_text(text)
    return read_study_file(path)


def test_a_file_is_read_as_it_says(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert (found.name, found.stream, found.seeds) == ("kept", "cued-recall", (20, 21, 22))
    assert [(arm.name, arm.size) for arm in found.arms] == [
        ("gated_delta", "equal"), ("gru", "parameters"), ("gated_delta/episode", "equal"),
    ]  # fmt: skip
    assert [(test.name, test.by, test.settings) for test in found.tests] == [
        ("evaluation", "retention", {}), ("far", "retention", {"times": 4}), ("changed", "adaptation", {}),
    ]  # fmt: skip
    assert found.tune is not None
    assert (found.tune.settings, found.tune.seeds, found.tune.shape) == ({"lr": (1e-3, 2e-3)}, (1000,), False)
    (one,) = found.hypotheses
    assert [pair.label for pair in one.contrast.comparisons] == [
        "gated_delta - gated_delta/episode", "gru - gated_delta/episode",
    ]  # fmt: skip
    assert one.measure.terms == (Term(1, "rho1", "far", (2, 15)),)
    assert (one.expect.sign, one.expect.margin, one.smallest, one.corrected) == (1, -0.02, 0.1, True)


_RANGE = 'lr = {{from = {}, to = {}, log = true}}\nsearch = "random"\nsamples = 4'

WRONG = [
    ('question = "Is it kept?"', "qestion = 1", "1: no entry 'qestion'; did you mean 'question'?"),
    ('question = "Is it kept?"', "", "1: question is missing"),
    ('seeds = "20-22"', 'seeds = "22-20"', "3: seeds must be like 0..4 or 0,1,2, from the least"),
    ('seeds = "20-22"', "seeds = true", "3: seeds must be a text or a list of integers, got True"),
    ('"gated_delta",', '"gated_dleta",', "5: no memory 'gated_dleta'; did you mean 'gated_delta'? known: "),
    ('"gated_delta",', "7,", "4: arms: each must be a text or a table of settings, got 7"),
    ('{carry = "episode"}', '"gru"', "6: two arms are named 'gru': give one a name of its own"),
    ('size = "parameters"}', 'size = "bytes"}', "6: size must be one of equal, parameters, any, got 'bytes'"),
    ("state_bytes = 16_900", 'state_bytes = "x"', "9: state_bytes must be an integer, got 'x'"),
    ("state_bytes = 16_900, ", "", "9: size needs state_bytes, parameters, or both"),
    ("seeds = [1000]", "seeds = [21]", "13: seed 21 is one of the study's: tuning has seeds of its own"),
    ("lr = [1e-3, 2e-3]", "lr = 1e-3", "12: lr of tune must be a list of values to try; got 0.001"),
    ("lr = [1e-3, 2e-3]", 'lr = [1]\nsearch = "tpee"', "13: search must be one of grid, random, tpe, got 'tpee'"),
    ("lr = [1e-3, 2e-3]", 'lr = [1]\nsearch = "tpe"', '13: search = "tpe" needs samples, how many it tries'),
    ("lr = [1e-3, 2e-3]", "lr = [1]\nsamples = 4", '13: samples are of search = "random" or "tpe"; a grid tries all'),
    ("lr = [1e-3, 2e-3]", "lr = {from = 1, to = 2}", '12: lr of tune is a range: it needs search = "random" or "tpe"'),
    ("lr = [1e-3, 2e-3]", _RANGE.format(2, 1), "12: lr of tune must go from less to more; got 2 to 1"),
    ("lr = [1e-3, 2e-3]", _RANGE.format(0, 1), "12: lr of tune has no logarithm at 0: log = true needs from > 0"),
    ("lr = [1e-3, 2e-3]", _RANGE.format("true", 1), "12: from must be a number or an integer, got True"),
    ("lr = [1e-3, 2e-3]", _RANGE.format("inf", "inf"), "12: from must be finite: from=inf"),
    ("lr = [1e-3, 2e-3]", "lr = [1]\nhalving = 1", "13: halving must be "),
    (
        "lr = [1e-3, 2e-3]",
        'lr = [1]\nsearch = "tpe"\nsamples = 4\nhalving = 2',
        '15: halving goes with search = "grid" and "random", not with "tpe"',
    ),
    ("lr = [1e-3, 2e-3]", "steps = [1, 2]\nhalving = 2", "13: halving sets the steps itself: leave steps out of tune"),
    ("evaluation, 2:3", "evalution, 2:3", "14: no test 'evalution'; did you mean 'evaluation'? known: evaluation, far"),
    ('name = "far"', "", "16: name is missing"),
    ('by = "adaptation"', 'by = "adaption"', "22: no test by 'adaption'; did you mean 'adaptation'?"),
    ('says = "more"', "", "24: hypothesis: says is missing"),
    ("[gated_delta, gru]", "[gated_delta, grru]", "27: no arm 'grru'; did you mean 'gru'? known: gated_delta, gru, "),
    ("[gated_delta, gru]", "worst(gru)", "27: arms are joined by best(...) or mean(...), got worst(...)"),
    ("[gated_delta, gru]", "gated_delta/episode", "27: an arm cannot be compared with itself"),
    ("rho1, far", "rho2, far", "28: no curve 'rho2' of a test by retention; did you mean 'rho'?"),
    ("rho1, far", "rho1, changed", "28: no curve 'rho1' of a test by adaptation"),
    ("2:15", "15:2", "28: lags are FIRST:LAST, from 1, such as 2:127; got '15:2'"),
    ('">= -0.02"', '"more"', "29: expect is a sign and a number"),
    ("smallest = 0.1", "smallest = -0.1", "30: the smallest effect of interest must lie above the margin -0.02"),
    ("smallest = 0.1", 'correct = "bonferroni"', "30: correct must be one of holm, none, got 'bonferroni'"),
    ("seeds = [1000]", "seeds = [1000", "14: no TOML: "),
    ("cues = 4", "cues = 1979-05-27", "2: a date or time is no value of a study, got 1979-05-27"),
    ("times = 4", "answers = [07:32:00]", "18: a date or time is no value of a study, got 07:32:00"),
    ("cues = 4", 'stream = "doors"', "2: stream stands at the top of the file, or in an arm"),
    (
        'question = "Is it kept?"',
        'question = "?"\nname = ".."',
        "2: name must be at most 100 letters, digits, -, _ and .",
    ),
    (
        'name = "far"',
        f'name = "{"f" * 101}"',
        "16: a test needs a name of at most 100 letters, digits, -, _ and .; got",
    ),
    ("lr = [1e-3, 2e-3]", "lr = [1e-3, 0.001]", "12: lr of tune has a value twice: "),
    ("[gated_delta, gru]", "[gru, gru]", "27: a contrast makes each comparison once; got '[gru, gru] - "),
    ("[gated_delta, gru]", "best(gru, gru)", "27: best(...) names each arm once; got 'best(gru, gru)'"),
    ('">= -0.02"', '"> 1e999"', "29: the margin of expect must be finite, got '> 1e999'"),
    (
        'contrast = "[gated_delta, gru] - gated_delta/episode"\nmeasure = "area(rho1, far, 2:15)"\nexpect = ">= -0.02"',
        'contrast = "best(gated_delta, gru)"\nmeasure = "area(rho1, far, 2:15)"\nexpect = "< 1"',
        "29: best(gated_delta, gru) is the arm with the greatest mean, and to be less than that is little",
    ),
    (
        'by = "area(rho1, evaluation, 2:3)"\n',
        'by = "forgetting(whole)"\n[[test]]\nname = "whole"\nby = "training"\n',
        "14: the greatest is chosen, and of forgetting(whole) less is better: -forgetting(whole) turns it round",
    ),
]


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
def test_a_wrong_entry_is_told_with_its_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in FILE
    with pytest.raises(UserError) as raised:
        read(tmp_path, FILE.replace(old, new, 1))
    assert str(raised.value).startswith(f"{tmp_path / 'kept.toml'}:{said}")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*none\.toml: No such file"):
        read_study_file(tmp_path / "none.toml")


def test_measures_are_added() -> None:
    found = Measure.parse("return(near) - area(rho, far, 1:3) + index(near)", {"near": "retention", "far": "retention"})
    assert [(term.sign, term.quantity, term.lags) for term in found.terms] == [
        (1, "return", None), (-1, "rho", (1, 3)), (1, "index", None),
    ]  # fmt: skip
    assert found.value(lambda term: {"return": 5.0, "rho": 2.0, "index": 1.0}[term.quantity]) == 4.0


def test_a_minus_in_front_turns_a_measure_round() -> None:
    found = Measure.parse("-forgetting(whole) + return(near)", {"near": "retention", "whole": "training"})
    assert [(term.sign, term.quantity) for term in found.terms] == [(-1, "forgetting"), (1, "return")]
    assert found.value(lambda term: {"forgetting": 5.0, "return": 2.0}[term.quantity]) == -3.0


def test_contrasts_have_sides() -> None:
    arms = ["a", "b-c", "d"]
    found = Contrast.parse("best(a, b-c) - mean(d)", arms)
    assert found.comparisons == (Comparison(Side(("a", "b-c")), Side(("d",), "mean")),)
    assert found.comparisons[0].label == "best(a, b-c) - d"
    assert Contrast.parse("b-c", arms).comparisons == (Comparison(Side(("b-c",)), None),)
    assert Expectation.parse("< 1e-2") == Expectation("< 1e-2", -1, 0.01)
