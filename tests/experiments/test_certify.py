"""`lifelong certify`: tables, and checks that can fail."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lifelong import cli
from lifelong.envs.references.certificate import FIRST, PLANS, Score, load
from lifelong.experiments.certify import table


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep certificates in an empty folder."""
    monkeypatch.setattr("lifelong.envs.references.certificate._STORED", tmp_path)
    return tmp_path


SMALL = ["certify", "reversal", "--lives", "40", "--episodes", "10"]


def test_a_table_for_every_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(SMALL) == 0
    said = capsys.readouterr().out
    assert said.count("| policy | mean | expected | difference |") == 4
    assert "## reversal, hazard=0.02, reward_probability=1.0" in said
    assert "\n| oracle | 1.0000 ± 0.0000 | 1.0000 | +0.0000 |" in said
    assert said.count("memory across episodes is worth") == 4


def test_settings_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SMALL, "--stream-options", "hazard=0.5", "reward_probability=0.8"]) == 0
    said = capsys.readouterr().out
    assert "## reversal, hazard=0.5, reward_probability=0.8" in said
    assert "**a control**" in said, "what changes at every episode with 1/2 cannot be known"


def test_what_is_not_sealed_is_told() -> None:
    sealed = load("colour-rule")[0]
    assert "**not sealed**" not in table(sealed)
    within = sealed.scores["within"].mean
    open_ = replace(sealed, scores=dict(sealed.scores) | {FIRST: Score(within + 0.25, 0.001)})
    assert "**not sealed**: what an episode's first observation shows of the one before is worth 0.2500" in table(open_)


def test_streams_of_other_people_are_measured_and_what_was_given_up_is_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stream = ["gym:BabyAI-KeyInBox-v0", "--stream-options", "life_episodes=1"]
    assert cli.main(["certify", *stream, "--lives", "2", "--episodes", "1"]) == 0
    said = capsys.readouterr().out
    assert "\n| oracle | 0.0000 ± 0.0000 |  |  |" in said
    assert "what memory across episodes is worth is not known" in said
    assert "oracle knew no way in 2 episodes of 2, and did nothing there" in said


def test_streams_that_need_what_is_not_installed_are_left_out_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lifelong.experiments.certify.PLANS", {"reacher-sign": PLANS["reacher-sign"]})
    monkeypatch.setattr("lifelong.experiments.certify.is_installed", lambda extra: extra != "mujoco")
    assert cli.main(["certify"]) == 0
    assert "## reacher-sign\n\nleft out: it needs pip install 'lifelong-rl[mujoco]'" in capsys.readouterr().out


def test_a_check_holds_or_fails(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SMALL, "--check"]) == 2
    assert "'reversal' has no stored certificate" in capsys.readouterr().err
    assert cli.main([*SMALL, "--store"]) == 0
    assert [kept.lives for kept in load("reversal")] == [40] * 4
    assert cli.main([*SMALL, "--check"]) == 0
    assert capsys.readouterr().out.count("agrees with the stored certificate") == 4
    path = elsewhere / "reversal.json"
    content = json.loads(path.read_text())
    content["certificates"][1]["scores"]["cross"]["mean"] -= 0.2
    path.write_text(json.dumps(content))
    with pytest.raises(SystemExit) as ended:
        cli.main([*SMALL, "--check"])
    assert ended.value.code == 1
    said = capsys.readouterr().out
    assert said.count("agrees with the stored certificate") == 3
    assert "**differs** from the stored certificate: cross by +0.2" in said
    content["certificates"].pop()
    path.write_text(json.dumps(content))
    assert cli.main([*SMALL, "--check"]) == 2
    assert "3 stored certificates and 4 plans" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "no stream 'nowhere'"),
        (["gym:CartPole-v1"], "'gym:CartPole-v1' has no reference policies"),
        (["reversal", "--lives", "1"], "lives must be at least 2: lives=1"),
        (["reversal", "--check", "--store"], "check and store exclude each other"),
        (["reversal", "--check", "--stream-options", "hazard=0.1"], "stream_options cannot be checked"),
        (["--stream-options", "hazard=0.1"], "stream_options are those of one stream"),
        (["reversal", "--stream-options", "hazard=2"], "hazard must lie in"),
        (["reversal", "--stream-options", "danger=2"], "danger"),
    ],
)
def test_wrong_words_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["certify", *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
