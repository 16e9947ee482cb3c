"""A search tries what it says, follows its scores alone, and returns the best that it has tried."""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.studies.search import Candidate, Range, Rounds, Search, effort, search

RATE = Range(1e-4, 1e-1, log=True)

Score = Callable[[Candidate], float]


def followed(rounds: Rounds, score: Score) -> tuple[list[list[Candidate]], Any]:
    """Return the rounds of a search whose scores are those of a function, and its choice."""
    tried = [next(rounds)]
    while True:
        try:
            tried.append(rounds.send([score(one) for one in tried[-1]]))
        except StopIteration as end:
            return tried, end.value


def near(rate: float) -> Score:
    return lambda one: -((math.log10(one.settings["lr"]) - math.log10(rate)) ** 2)


def test_a_grid_is_every_combination_once() -> None:
    tried, chosen = followed(search(Search(), {"a": (1, 2), "b": ("x", "y")}), lambda one: one.settings["a"])
    assert [one.settings for one in tried[0]] == [{"a": a, "b": b} for a in (1, 2) for b in ("x", "y")]
    assert len(tried) == 1
    assert chosen == {"a": 2, "b": "x"}  # the first of equal ones


def test_random_draws_are_spread_over_their_range_and_differ() -> None:
    ((drawn,), chosen) = followed(search(Search("random", 400), {"lr": RATE, "n": Range(1, 8)}), near(1e-2))
    rates, counts = ([one.settings[name] for one in drawn] for name in ("lr", "n"))
    for low, high in ((1e-4, 1e-3), (1e-3, 1e-2), (1e-2, 1e-1)):  # a third in each decade: 133 of 400, deviation 9.4
        assert 105 < sum(low <= rate < high for rate in rates) < 162
    assert set(counts) == set(range(1, 9))
    assert {type(n) for n in counts} == {int}
    assert chosen["lr"] == min(rates, key=lambda rate: abs(math.log10(rate) + 2))
    ((few,), _) = followed(search(Search("random", 9), {"a": (1, 2), "b": (1, 2)}), lambda _: 0.0)
    assert sorted(tuple(one.settings.values()) for one in few) == [(1, 1), (1, 2), (2, 1), (2, 2)]  # there are no more


def test_every_arm_draws_the_same() -> None:
    first, again = (next(search(Search("random", 6), {"lr": RATE})) for _ in range(2))
    assert first == again


@pytest.mark.parametrize(
    ("low", "high", "log", "shares"),
    [
        (0.0, 2.0, False, {0.0: 0.0, 0.5: 1.0, 1.0: 2.0}),
        (1e-4, 1e-2, True, {0.0: 1e-4, 0.5: 1e-3, 1.0: 1e-2}),
        (1, 100, True, {0.0: 1, 0.5: 10, 1.0: 100}),
        (0.00012345, 0.00012346, False, {0.0: 0.00012345, 1.0: 0.00012346}),  # finer than four digits: never outside
    ],
)
def test_a_range_from_end_to_end(low: float, high: float, log: bool, shares: dict[float, float]) -> None:
    values = Range(low, high, log)
    assert {share: values.at(share) for share in shares} == shares


def test_halving_trains_the_best_third_three_times_as_long() -> None:
    tried, chosen = followed(search(Search("random", 9, 3), {"lr": RATE}), near(1e-3))
    assert [(len(one), one[0].share) for one in tried] == [(9, pytest.approx(1 / 3)), (3, 1.0)]
    best = sorted(tried[0], key=near(1e-3), reverse=True)[:3]
    assert sorted(one.settings["lr"] for one in tried[1]) == sorted(one.settings["lr"] for one in best)
    assert chosen == best[0].settings
    tried, _ = followed(search(Search("random", 20, 3), {"lr": RATE}), near(1e-3))
    assert [(len(one), round(1 / one[0].share)) for one in tried] == [(20, 9), (7, 3), (3, 1)]
    ((few,), _) = followed(search(Search("grid", 0, 3), {"lr": (1e-3, 2e-3)}), near(1e-3))
    assert {one.share for one in few} == {1.0}  # as few as would be left are trained for all steps


def test_a_slow_starter_is_judged_where_it_ends() -> None:
    """Of those that are trained for all steps, the last scores decide, not those of a round before."""
    scores = {1: [9.0, 1.0], 2: [8.0, 5.0], 3: [0.0]}
    _, chosen = followed(search(Search("grid", 0, 2), {"a": (1, 2, 3)}), lambda one: scores[one.settings["a"]].pop(0))
    assert chosen == {"a": 2}


def test_tpe_follows_its_scores_the_same_way_every_time() -> None:
    pytest.importorskip("optuna")
    space = {"lr": RATE, "how": ("x", "y"), "n": Range(1, 8)}
    tried, chosen = followed(search(Search("tpe", 40), space), near(3e-3))
    assert [len(one) for one in tried] == [8, 8, 8, 8, 8]
    assert followed(search(Search("tpe", 40), space), near(3e-3)) == (tried, chosen)
    assert next(search(Search("tpe", 40), space)) == tried[0]
    other, _ = followed(search(Search("tpe", 40), space), near(5e-2))
    assert other[0] == tried[0]
    assert other[2:] != tried[2:]
    first, last = ([near(3e-3)(one) for one in tried[k]] for k in (0, -1))
    assert sum(last) / 8 > sum(first) / 8  # it has learned where to look
    assert chosen == max((one for part in tried for one in part), key=near(3e-3)).settings


@pytest.mark.parametrize("how", ["grid", "tpe"])
def test_what_has_no_score_is_never_chosen(how: Any) -> None:
    if how == "tpe":
        pytest.importorskip("optuna")
    settings = Search(how, 0 if how == "grid" else 8)
    space: dict[str, Sequence[int]] = {"a": (1, 2, 3)}
    _, chosen = followed(search(settings, space), lambda one: math.nan if one.settings["a"] > 1 else -5.0)
    assert chosen == {"a": 1}
    _, chosen = followed(search(settings, space), lambda _: math.nan)
    assert chosen is None


@pytest.mark.parametrize(
    ("how", "space", "tries", "trainings"),
    [
        (Search(), {"a": (1, 2), "b": (1, 2, 3)}, 6, 6),
        (Search("random", 9, 3), {"lr": RATE}, 12, 9 / 3 + 3),
        (Search("random", 20, 3), {"lr": RATE}, 30, 20 / 9 + 7 / 3 + 3),
        (Search("random", 7), {"lr": RATE}, 7, 7),
    ],
)
def test_what_it_costs_is_known_before(how: Search, space: Any, tries: int, trainings: float) -> None:
    cost = effort(search(how, space))
    assert cost.candidates == tries
    assert cost.trainings == pytest.approx(trainings)


def test_a_missing_optuna_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"needs Optuna: pip install 'lifelong-rl\[search\]'"):
        next(search(Search("tpe", 8), {"lr": RATE}))
