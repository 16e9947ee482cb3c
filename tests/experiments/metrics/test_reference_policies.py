"""Retention of reference policies in every registered stream: random 0 or no curve, forgetful 0, the best memory 1.

Played, counted and measured as `lifelong retention` measures agents. A bin counts if its interval is narrower than
`SHARP`; it may miss its value by `CLOSE` and half its interval.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lifelong.envs.extras import is_installed
from lifelong.envs.references.certificate import FIRST, FIXED
from lifelong.envs.references.policies import FixedPolicy, NotePolicy, Policy, RandomPolicy, play
from lifelong.envs.references.registry import reference_policies
from lifelong.envs.registry import known_streams, make_stream
from lifelong.experiments.runs.summary import Summary, summarise

CLOSE, SHARP = 0.04, 0.25
LIVES = {
    "cued-recall": 128,
    "colour-rule": 32,
    "reversal": 128,
    "dark-room": 128,
    "map-change": 32,
    "doors": 192,
    "endless-cues": 32,
}
EPISODES = 12  # of each life in the controls, whose visits are of 10
MEASURED = [
    *(("cued-recall", {"feedback": feedback}) for feedback in ("reveal", "reward")),
    *((name, {}) for name in LIVES if name != "cued-recall"),
    ("reversal", {"contexts": 8}),
    ("doors", {"doors": 8}),
]
WITHIN = ("t-maze", "endless-t-maze", "colour-cubes", "foraging")  # one task
CONTROLS = [name for name in known_streams() if name not in (*LIVES, *WITHIN, "rooms")]


class Wiped:
    """A policy that is told of a new life at every episode's start.

    Args:
        policy: which is.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def act(self, obs: dict[str, Any], life_start: NDArray[np.bool_]) -> NDArray[Any]:
        return self.policy.act(obs, life_start | (obs["episode_start"][:, 0] > 0))


def players(stream: Any) -> dict[str, Callable[[], Policy]]:
    """Return the reference policies of a stream, and those that must not be taken for a memory."""
    known = reference_policies(stream)
    actions = int(stream.single_action_space.n)
    more: dict[str, Callable[[], Policy]] = {
        "uniform": lambda: RandomPolicy(stream.single_action_space, seed=3),
        "notes": lambda: NotePolicy(actions, 0.5),
        "fixed": lambda: FixedPolicy(0),
        "wiped": known.get(FIRST, lambda: Wiped(known["cross"]())),
    }
    return known | more


@cache
def summary_of(number: int, policy: str) -> Summary:
    name, settings = MEASURED[number]
    stream = make_stream(name, LIVES[name], seed=5, **settings)
    rows = play(stream, players(stream)[policy](), stream.life_episodes or 128)
    stream.close()
    return summarise(rows, stream)


def assert_retention(summary: Summary, value: float, *, or_none: bool = False) -> None:
    """Assert that the retention of each bin with enough rows is that value."""
    curve = summary.curve
    if or_none and not curve.measured:
        assert "that of the best policy that forgets at every episode's end: the task itself is not" in curve.reason
        assert summary.index_high < 0
        return
    rho, half = np.array(curve.rho), np.subtract(curve.high, curve.low) / 2
    sharp = half <= SHARP / 2
    assert sharp.any()
    assert (np.abs(rho - value) <= CLOSE + half)[sharp].all(), curve.table()
    assert summary.index == pytest.approx(value, abs=CLOSE + (summary.index_high - summary.index_low) / 2)
    if value == 0:
        assert curve.half_life_label == "-"


each = pytest.mark.parametrize(
    "number", range(len(MEASURED)), ids=["-".join([name, *map(str, s.values())]) for name, s in MEASURED]
)


@each
@pytest.mark.parametrize("policy", ["uniform", "fixed", "wiped", "notes"])
def test_what_has_no_memory_retains_nothing_or_has_no_curve(number: int, policy: str) -> None:
    assert_retention(summary_of(number, policy), 0.0, or_none=True)


@each
def test_the_best_that_forgets_retains_nothing(number: int) -> None:
    assert_retention(summary_of(number, "within"), 0.0)


@each
def test_the_best_that_remembers_retains_everything(number: int) -> None:
    found = summary_of(number, "cross")
    assert_retention(found, 1.0)
    assert found.curve.half_life_label.startswith("> ")


@each
def test_who_knows_all_is_at_least_as_good_at_every_lag(number: int) -> None:
    best, oracle = summary_of(number, "cross").curve, summary_of(number, "oracle").curve
    known = ~np.isnan(best.rho) & ~np.isnan(oracle.rho)
    assert known.any()
    assert (np.array(oracle.rho) >= np.array(best.low))[known].all()


def test_staying_where_it_paid_is_less_than_the_best_of_a_noisy_arm() -> None:
    number = next(n for n, (name, settings) in enumerate(MEASURED) if name == "reversal" and not settings)
    simple, best = (summary_of(number, policy) for policy in ("win-stay-lose-shift", "cross"))
    assert simple.curve.rho[0] < best.curve.rho[0]
    assert simple.index_high < best.index_high
    assert summary_of(number, "uniform").curve.rho[0] == pytest.approx(0.0, abs=0.03)


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("policy", ["random", FIXED, "cross"])
def test_controls_have_nothing_to_remember_and_say_so(name: str, policy: str) -> None:
    if not is_installed(known_streams()[name].extra):
        pytest.skip(f"needs {known_streams()[name].extra}")
    stream = make_stream(name, 3, seed=5)  # three lives are the fewest that say something
    known = {kind: make for kind, make in reference_policies(stream).items() if kind.startswith(policy)}
    if not known:
        pytest.skip(f"no such policy is known of {name}")
    rows = play(stream, next(iter(known.values()))(), EPISODES)
    stream.close()
    found = summarise(rows, stream)
    assert stream.retention == "gain"
    assert not found.curve.measured
    assert math.isnan(found.index)
    assert found.curve.reason.startswith("nothing to remember: ")
    if policy == "cross":
        assert "the slow weights know it already" in found.curve.reason
    if policy == "random":
        assert "nothing was learnt in a visit" in found.curve.reason
        assert "the slow weights" not in found.curve.reason


@pytest.mark.parametrize("name", WITHIN)
def test_one_task_is_nothing_to_come_back_to(name: str) -> None:
    stream = make_stream(name, 8, seed=5)
    found = summarise(play(stream, reference_policies(stream)["cross"](), EPISODES), stream)
    assert stream.retention is None
    assert not found.curve.measured
    assert found.curve.reason == "one task: there is nothing to come back to"


@pytest.mark.parametrize("levels", ["empty-5x5", "empty-5x5,doorkey-5x5,fourrooms"])
def test_levels_of_rooms_are_nothing_to_remember_for_random_actions(levels: str) -> None:
    stream: Any = make_stream("rooms", 16, task=levels, seed=5)
    found = summarise(play(stream, RandomPolicy(stream.single_action_space), 20), stream)
    assert not found.curve.measured
    if len(stream.tasks) == 1:
        assert found.curve.reason == "one task: there is nothing to come back to"
    else:
        assert "nothing was learnt in a visit" in found.curve.reason


def test_every_registered_stream_is_here() -> None:
    assert {*LIVES, *WITHIN, *CONTROLS, "rooms"} == set(known_streams())
    assert {name for name, _ in MEASURED} == set(LIVES)
    for name in LIVES:
        assert make_stream(name).retention in ("recall", "index")
