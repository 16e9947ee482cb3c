"""What a policy without a memory gets of a memory's gain, in every registered stream: nothing.

The memory index of rows is (J - J_within) / (J_cross - J_within), J their mean return.
"""

from typing import Any

import numpy as np
import pytest

from lifelong.envs import STREAMS, make_stream
from lifelong.envs.extras import is_installed
from lifelong.envs.references.certificate import FIRST, PLANS, load
from lifelong.envs.references.policies import NotePolicy, RandomPolicy, play

SEALED = ("cued-recall", "colour-rule", "reversal", "dark-room", "map-change", "doors", "endless-cues")
KNOWN = ("early-choice",)  # sealed for settings in which something is hidden, which are not the usual ones
CASES = [(name, number) for name in SEALED for number in range(len(PLANS[name]))]
CASES += [("early-choice", 1)]
every_plan = pytest.mark.parametrize(("name", "number"), CASES, ids=[f"{name}-{i}" for name, i in CASES])


def index(rows: dict[str, Any]) -> float:
    gained, within, cross = (rows[name].mean(dtype=np.float64) for name in ("return", "within", "cross"))
    return float((gained - within) / (cross - within))


def references(name: str, number: int) -> tuple[float, float]:
    """Return what the best policies that forget and that remember get: by theory, else as certified."""
    scores = [load(name)[number].scores[role] for role in ("within", "cross")]
    within, cross = (score.mean if score.closed_form is None else score.closed_form for score in scores)
    return within, cross


@pytest.mark.parametrize("name", STREAMS)
def test_only_sealed_streams_have_an_index(name: str) -> None:
    if not is_installed(STREAMS[name].extra):
        pytest.skip(f"needs {STREAMS[name].extra}")
    stream = make_stream(name)
    rows = play(stream, RandomPolicy(stream.single_action_space), 1)
    scopes = np.array([task.references.oracle - task.references.random for task in stream.tasks])[rows["task"]]
    gain = rows["cross"] - rows["within"]  # NaN where nothing is known
    assert stream.sealed == (name in (*SEALED, *KNOWN))
    assert stream.sealed or not (gain > 0.05 * scopes).any()
    stream.close()


@every_plan
def test_reference_policies_have_the_index_of_their_role(name: str, number: int) -> None:
    scores = load(name)[number].scores
    within, cross = references(name, number)

    def of(policy: str) -> float:
        return (scores[policy].mean - within) / (cross - within)

    assert of("within") == pytest.approx(0, abs=0.04)
    assert of("cross") == pytest.approx(1, abs=0.04)
    assert of("random") <= 0.04
    assert scores["oracle"].mean >= scores["cross"].mean
    if FIRST in scores:
        assert of(FIRST) == pytest.approx(0, abs=0.04)


@pytest.mark.parametrize(
    "persistence", [pytest.param(0.0, marks=pytest.mark.slow), 0.5, pytest.param(0.9, marks=pytest.mark.slow)]
)
@every_plan
def test_notes_are_worth_nothing(name: str, number: int, persistence: float) -> None:
    lives = {"colour-rule": 50, "map-change": 50}.get(name, 500)
    stream = make_stream(name, lives, **PLANS[name][number].settings)
    actions = int(stream.single_action_space.n)  # type: ignore[attr-defined]
    gained = play(stream, NotePolicy(actions, persistence), 60)["return"].mean(dtype=np.float64)
    within, cross = references(name, number)
    assert (gained - within) / (cross - within) <= 0.04


@pytest.mark.parametrize("feedback", ["reveal", "reward"])
def test_notes_are_worth_nothing_where_few_cues_come_in_turn(feedback: str) -> None:
    settings: dict[str, Any] = {"schedule": "interleaved:gap=1,grow=8", "feedback": feedback}
    for cues, answers in ((16, 4), (2, 2), (4, 4)):
        stream = make_stream("cued-recall", 2000, **settings, cues=cues, answers=answers)
        assert abs(index(play(stream, NotePolicy(answers, 0.8), 128))) <= 0.04


def test_notes_were_worth_something_in_version_0_1() -> None:
    stream = make_stream("cued-recall", 2000, schedule="interleaved:gap=1,grow=8", feedback="reward", sealed=False)
    assert index(play(stream, NotePolicy(4, 0.8), 128)) == pytest.approx(0.06, abs=0.01)
