"""Stored certificates agree with theory, and with fresh lives."""

from dataclasses import replace
from pathlib import Path

import pytest

from lifelong.envs import STREAMS, make_stream
from lifelong.envs.extras import is_installed
from lifelong.envs.references.certificate import (
    FIRST,
    PLANS,
    ROLES,
    Certificate,
    Plan,
    Score,
    certify,
    load,
    store,
)
from lifelong.envs.references.registry import reference_policies
from lifelong.experiments.certify import table

CASES = [(name, number) for name, plans in PLANS.items() for number in range(len(plans))]
LONG = {"foraging", "colour-cubes", "endless-t-maze"}
"""Those whose lives take seconds."""
CONTROLS = {
    "cartpole-sign",
    "cartpole-length",
    "cartpole-physics",
    "pendulum-sign",
    "inverted-pendulum-gear",
    "reacher-sign",
}
WITHIN = {
    "colour-cubes",
    "endless-t-maze",
    "t-maze",
}  # where memory is needed within an episode, and of no use across episodes
KNOWN = {("early-choice", 0)}  # nothing is hidden in these settings
FEW = dict.fromkeys(CONTROLS, 2) | {
    "colour-rule": 6,
    "foraging": 20,
    "map-change": 15,
    "pendulum-sign": 10,
}  # lives of slow streams
ROUGH = {
    "inverted-pendulum-gear",  # 300 random episodes of 6 ± 4 steps tell their mean to 4 %, the rest is 1000
    "endless-t-maze",  # no share of random actions' 0 is more than 0
    "foraging",  # likewise
}
every_certificate = pytest.mark.parametrize(("name", "number"), CASES, ids=[f"{name}-{i}" for name, i in CASES])


def test_every_stream_with_policies_has_its_certificates() -> None:
    there = {name for name, entry in STREAMS.items() if is_installed(entry.extra)}
    known = {name: reference_policies(make_stream(name)) for name in there}
    assert {name for name, policies in known.items() if {*ROLES} <= policies.keys()} == there & set(PLANS)
    for name, plans in PLANS.items():
        assert not plans[0].settings, "the first is of the stream as it comes"
        assert [kept.settings for kept in load(name)] == [dict(plan.settings) for plan in plans]


@every_certificate
def test_what_is_stored_is_what_theory_expects(name: str, number: int) -> None:
    certificate = load(name)[number]
    for role in ROLES:
        score = certificate.scores[role]
        if score.closed_form is not None:
            chance = 3 / 1.96 * score.half if name in ROUGH else 0.0
            assert score.mean == pytest.approx(score.closed_form, rel=0.02, abs=chance), role


@every_certificate
def test_the_references_are_in_order(name: str, number: int) -> None:
    certificate = load(name)[number]
    random, within, cross, oracle = (certificate.scores[role].mean for role in ROLES)
    assert random <= within + 0.01 * certificate.scope
    assert within <= cross <= oracle + 0.01 * certificate.scope
    assert certificate.control == (name in CONTROLS | WITHIN or (name, number) in KNOWN)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        pytest.param(
            name, number, marks=[pytest.mark.slow] * (number > 0 or name in CONTROLS | LONG), id=f"{name}-{number}"
        )
        for name, number in CASES
    ],
)
def test_fresh_lives_agree_with_what_is_stored(name: str, number: int) -> None:
    if not is_installed(STREAMS[name].extra):
        pytest.skip(f"needs {STREAMS[name].extra}")
    plan, kept = PLANS[name][number], load(name)[number]
    stream = make_stream(name, FEW.get(name, 120), seed=1, **plan.settings)
    fresh = certify(name, stream, kept.episodes, plan.settings, kept.version)
    stream.close()
    assert fresh.scores.keys() == kept.scores.keys()
    for policy, (difference, allowed) in kept.differences(fresh).items():
        assert abs(difference) <= allowed + 2e-6, policy


@pytest.mark.parametrize("name", sorted(WITHIN))
def test_what_memory_within_an_episode_is_worth_is_told(name: str) -> None:
    for certificate in load(name):
        worth = certificate.within_episode
        assert worth is not None
        assert worth > 0.1 * certificate.scope
        assert f"memory within an episode is worth {worth:.4f}" in table(certificate)
    assert load("doors")[0].within_episode is None


def scores(**means: float) -> dict[str, Score]:
    return {name: Score(mean, 0.01) for name, mean in means.items()}


def test_a_stream_without_a_gap_is_a_control() -> None:
    seen = scores(random=0.2, within=0.5, cross=0.52, oracle=1.0)
    made = Certificate("x", {}, 10, 10, 0, "0", seen)
    assert made.control  # .02 is less than twice sqrt(2) * .01
    assert not replace(made, scores=seen | scores(cross=0.53)).control
    sure = {name: replace(score, half=0.0) for name, score in seen.items()}
    assert not replace(made, scores=sure).control
    assert replace(made, scores=sure | {"cross": Score(0.515, 0.0)}).control  # 2 % of what there is to gain is .016


def test_a_conflict_is_what_the_best_fixed_policy_loses() -> None:
    made = Certificate("x", {}, 10, 10, 0, "0", scores(random=0.0, within=1.0, cross=1.0, oracle=1.0))
    assert made.fixed is made.conflict is None
    some = replace(made, scores=dict(made.scores) | {"only a": Score(0.5, 0.1), "only b": Score(0.6, 0.1)})
    assert some.fixed == ("only b", 0.6)
    assert some.conflict
    assert not replace(some, scores=dict(some.scores) | {"only c": Score(0.99, 0.1)}).conflict


def test_what_the_first_observation_gives_away_is_told() -> None:
    made = Certificate("x", {}, 10, 10, 0, "0", scores(random=0.2, within=0.5, cross=0.9, oracle=1.0))
    assert not made.leaks
    for mean, leaks in ((0.5, False), (0.52, False), (0.53, True)):  # .02 is less than twice sqrt(2) * .01
        assert replace(made, scores=dict(made.scores) | {FIRST: Score(mean, 0.01)}).leaks == leaks


def test_what_is_stored_can_be_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan({"hazard": 0.1})
    made = certify("reversal", make_stream("reversal", 5, **plan.settings), 4, plan.settings, "0")
    monkeypatch.setattr("lifelong.envs.references.certificate._STORED", tmp_path)
    path = store([made], tmp_path)
    assert load("reversal") == [made]
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(ValueError, match="format 2"):
        load("reversal")


def test_a_stream_without_policies_is_refused() -> None:
    with pytest.raises(ValueError, match="'gym:CartPole-v1' has no reference policies"):
        certify("gym:CartPole-v1", make_stream("gym:CartPole-v1"), 1, {}, "0")
