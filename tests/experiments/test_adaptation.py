import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from lifelong import cli
from lifelong.experiments.adaptation import AdaptationConfig, main
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.episodes import read_episodes
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.train import main as train

Tiny = Callable[..., TrainConfig]


def asked(config: AdaptationConfig) -> str:
    console = Console(file=io.StringIO(), width=100)
    main(config, console)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_answers_change_once_in_every_life_and_the_files_say_what_came_of_it(tiny: Tiny) -> None:
    folder = train(tiny()).folder
    before = (folder / "config.json").read_bytes()
    curves = main(AdaptationConfig(folder, lives=60))  # after the 8 episodes of a life of training; 32 steps
    name = folder / "report" / "adaptation-8-32-lives60"
    rows = read_episodes(name)
    assert np.bincount(rows["life"]).tolist() == [32] * 60
    assert np.array_equal(rows["since_change"], np.maximum(rows["episode"] - 8, -1))
    assert len(np.unique(rows["task"][(rows["life"] == 3) & (rows["old_answer"] >= 0)])) == 2  # of 3, rounded up
    content = json.loads(name.with_suffix(".json").read_text())
    assert content["settings"]["change_at"] == 8
    assert content["origin"].keys() >= {"git", "versions", "command", "code"}
    assert content["curves"]["meetings"]["new"]["mean"][1] == curves["meetings"].new.mean[1]
    assert curves["meetings"].bins == ("0", "1", "2-3", "4-7", "8-15")
    assert curves["steps"].chance == 0.25
    assert name.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert list((folder / name.name).glob("events.out.tfevents.*"))
    assert (folder / "config.json").read_bytes() == before


def test_the_same_question_again_replaces_the_files_and_says_so(tiny: Tiny) -> None:
    folder = train(tiny()).folder
    config = AdaptationConfig(folder, change_at=5, steps=40, lives=40)
    said = asked(config)
    assert said.count("\nwrote ") == 4
    assert "P(new) above P(old)" in said
    assert "by environment steps since" in said
    again = asked(config)
    assert (again.count("\nwrote "), again.count("\nreplaced ")) == (0, 4)
    main(AdaptationConfig(folder, change_at=5, steps=40, lives=40, carry="episode", seed=3))
    assert (folder / "report" / "adaptation-5-40-episode-seed3-lives40.json").exists()


def test_an_agent_that_learns_from_rewards_alone_can_be_asked_too(tiny: Tiny) -> None:
    folder = train(tiny(feedback="reward")).folder
    curves = main(AdaptationConfig(folder, change_at=5, steps=40, lives=40))  # two steps an episode
    assert max(curves["steps"].least) >= 16
    assert not curves["meetings"].reason


def test_an_agent_that_was_trained_with_a_change_is_asked_at_the_same_episode(tiny: Tiny) -> None:
    folder = train(tiny(stream_options=("cues=3", "size=4", "change_at=5"))).folder
    main(AdaptationConfig(folder, lives=3))
    main(AdaptationConfig(folder, lives=3, change_at=7))
    assert read_episodes(folder / "report" / "adaptation-5-20-lives3")["since_change"].max() == 14
    assert read_episodes(folder / "report" / "adaptation-7-28-lives3")["since_change"].max() == 20


def test_few_rows_have_a_reason(tiny: Tiny) -> None:
    folder = train(tiny()).folder
    said = asked(AdaptationConfig(folder, change_at=5, steps=9, lives=1))
    assert "no curve by meetings: no bin has 30 rows" in said


@pytest.mark.parametrize(
    ("settings", "changes", "said"),
    [
        ({"stream": "reversal", "stream_options": ()}, {}, "stream 'reversal' has no hidden answers that can change"),
        (
            {"stream_options": ("cues=3", "drifts=plain/reversed_actions", "drift_schedule=cyclic:2")},
            {},
            "with drifts do not tell which answer was meant",
        ),
        ({}, {"steps": 8}, "lives must be longer than the 8 steps until answers change: steps=8"),
        ({"stream_options": ("cues=3", "blanks=9")}, {"steps": 9, "change_at": 2}, "longer than the 20 steps"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    settings: dict[str, object], changes: dict[str, object], said: str, tiny: Tiny
) -> None:
    folder = train(tiny(**settings)).folder
    with pytest.raises(UserError, match=said):
        main(AdaptationConfig(folder, **changes))  # type: ignore[arg-type]


def test_the_refusal_is_one_line(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    folder: Path = train(tiny(stream="reversal", stream_options=())).folder
    capsys.readouterr()
    assert cli.main(["adaptation", str(folder)]) == 2
    assert capsys.readouterr().err == (
        "lifelong: stream 'reversal' has no hidden answers that can change within a life; adaptation is measured in "
        "streams with the setting change_at: cued-recall\n"
    )


def test_greedy_actions_are_named(tiny: Tiny) -> None:
    folder = train(tiny()).folder
    said = asked(AdaptationConfig(folder, change_at=5, steps=40, lives=5, actions="greedy"))
    assert "greedy actions" in " ".join(said.split())
    name = folder / "report" / "adaptation-5-40-greedy-lives5"
    assert json.loads(name.with_suffix(".json").read_text())["settings"]["actions"] == "greedy"
    assert read_episodes(name, ["greedy"])["step"].size == 5 * 40
