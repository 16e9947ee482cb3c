import io
import json
from collections.abc import Callable

import numpy as np
import pytest
from rich.console import Console

from lifelong.experiments.interference import InterferenceConfig, main
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.episodes import read_episodes
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.train import main as train

Tiny = Callable[..., TrainConfig]


def asked(config: InterferenceConfig) -> str:
    console = Console(file=io.StringIO(), width=100)
    main(config, console)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_tasks_met_are_asked_after_noise_and_the_files_say_what_is_left(tiny: Tiny) -> None:
    folder = train(tiny()).folder
    curve = main(InterferenceConfig(folder, most=64, lives=20))
    assert curve.steps == (0, 16, 64)
    assert curve.count == (curve.count[0],) * 3
    assert 35 <= curve.count[0] <= 40  # two of three cues: the last one met is not asked
    name = folder / "report" / "interference-noise-64-lives20"
    rows = read_episodes(name / "after-16")
    assert rows["success"].mean() == pytest.approx(curve.score[1])
    assert rows["lag_episodes"].min() >= 2
    content = json.loads(name.with_suffix(".json").read_text())
    assert content["settings"]["before"] == 8
    assert content["origin"].keys() >= {"git", "versions", "command", "code"}
    assert content["curve"]["rho"] == list(curve.rho)
    assert name.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert list((folder / name.name).glob("events.out.tfevents.*"))


def test_an_agent_without_a_memory_has_nothing_to_lose(tiny: Tiny) -> None:
    folder = train(tiny(memory="none")).folder
    curve = main(InterferenceConfig(folder, most=64, lives=20))
    assert curve.score == (curve.score[0],) * 3  # the same questions, the same random numbers
    assert curve.loss == (0.0,) * 3


def test_the_same_question_again_replaces_the_files_and_says_so(tiny: Tiny) -> None:
    folder = train(tiny()).folder
    config = InterferenceConfig(folder, by="cued-recall", most=4, lives=20, before=20, seed=2)
    said = asked(config)
    assert said.count("\nwrote ") == 4
    assert "steps of foreign cued-recall" in said
    assert "nothing was retained before the disturbance" in said  # it was hardly trained
    first = read_episodes(folder / "report" / "interference-cued-recall-4-before-20-seed2-lives20" / "after-4")
    again = asked(config)
    assert (again.count("\nwrote "), again.count("\nreplaced ")) == (0, 4)
    second = read_episodes(folder / "report" / "interference-cued-recall-4-before-20-seed2-lives20" / "after-4")
    assert all(np.array_equal(first[name], second[name], equal_nan=True) for name in first)


def test_foreign_cues_may_be_smaller_than_the_agents(tiny: Tiny) -> None:
    folder = train(tiny()).folder
    options = ("answers=3", "size=2", "cues=5")
    curve = main(InterferenceConfig(folder, by="cued-recall", by_options=options, most=16, lives=20))
    assert curve.count[0] == curve.count[1] > 30


@pytest.mark.parametrize(
    "settings", [{"feedback": "reward"}, {"stream": "reversal", "stream_options": ("contexts=3",)}]
)
def test_where_only_rewards_tell_it_is_the_index(settings: dict[str, object], tiny: Tiny) -> None:
    folder = train(tiny(**settings)).folder
    curve = main(InterferenceConfig(folder, most=16, lives=20))
    assert curve.measure == "index"
    assert np.isfinite(curve.rho).all()
    name = folder / "report" / "interference-noise-16-lives20" / "after-0"
    assert read_episodes(name)["lag_episodes"].min() == 1  # the last task too: how it ended was seen


@pytest.mark.parametrize(
    ("settings", "changes", "said"),
    [
        ({"stream": "rooms", "stream_options": ("task=empty-5x5",)}, {}, "'rooms' has no score without a memory"),
        ({}, {"by": "pendulum-sign"}, r"cannot live in stream 'pendulum-sign': its actions do not fit those of the"),
        ({}, {"by": "cued-recall", "by_options": ("size=9",)}, r"observations do not fit.*\(9,\).*\(4,\).*noise fits"),
        ({}, {"by": "doors"}, r"Dict\('colour'.*the agent's: Dict\('cue'"),
        ({}, {"by": "nope"}, "no stream 'nope'"),
        ({"stream_options": ("cues=3", "blanks=3")}, {"before": 4}, "no task was met within before=4 steps"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(
    settings: dict[str, object], changes: dict[str, object], said: str, tiny: Tiny
) -> None:
    folder = train(tiny(**settings)).folder
    with pytest.raises(UserError, match=said):
        main(InterferenceConfig(folder, most=16, lives=4, **changes))  # type: ignore[arg-type]


def test_greedy_answers_are_the_same_whatever_the_random_numbers(tiny: Tiny) -> None:
    folder = train(tiny()).folder
    said = asked(InterferenceConfig(folder, most=16, lives=20, actions="greedy"))
    assert "greedy actions" in " ".join(said.split())
    content = json.loads((folder / "report" / "interference-noise-16-greedy-lives20.json").read_text())
    assert content["settings"]["actions"] == "greedy"
    none = train(tiny(name="none", memory="none")).folder
    curve = main(InterferenceConfig(none, most=16, lives=20, actions="greedy"))
    assert curve.loss == (0.0,) * 2
