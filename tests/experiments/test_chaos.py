"""Campaigns find what is lost, and find nothing where nothing is."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from lifelong import cli
from lifelong.experiments import chaos
from lifelong.experiments.campaigns import damages
from lifelong.experiments.campaigns.children import changes_of, fail_at, in_child, in_children
from lifelong.experiments.campaigns.damages import HARMS
from lifelong.experiments.campaigns.lives import config_of, differences, elsewhere, go_on, train
from lifelong.experiments.campaigns.trial import Trial
from lifelong.experiments.chaos import ChaosConfig, main, table
from lifelong.experiments.runs.errors import UserError


def refuse() -> None:
    raise UserError("no such thing")


def test_how_something_ends_is_told_apart(tmp_path: Path) -> None:
    assert in_child(lambda: print("done so")).said == "done so\n"  # noqa: T201
    refused, broken = in_children([refuse, lambda: [][0]])
    assert (refused.how, refused.said) == ("refused", "lifelong: no such thing\n")
    assert broken.how == "traceback"
    assert "IndexError" in broken.said
    assert in_child(lambda: os.kill(os.getpid(), signal.SIGTERM)).how == "crash"
    assert in_child(lambda: time.sleep(60), limit=0.1).how == "hang"
    assert in_child(lambda: time.sleep(60), kill_after=0.1).how == "killed"


def test_changes_of_the_file_system_are_counted_and_one_can_be_the_last(tmp_path: Path) -> None:
    def write() -> None:
        for name in "abc":
            (tmp_path / name).write_text(name)
        (tmp_path / "a").rename(tmp_path / "d")

    assert changes_of(write) == 4
    assert in_child(write, kill_before=3).how == "killed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "d"]  # of the first time, and again


def test_a_training_that_was_killed_is_the_same_and_another_one_is_not(tmp_path: Path) -> None:
    whole = config_of("cued-recall", tmp_path / "whole")
    killed = elsewhere(whole, tmp_path / "killed")
    other = elsewhere(config_of("cued-recall", tmp_path / "other", seed=1), tmp_path / "other")
    assert in_child(lambda: train(whole)).how == "done"
    assert in_child(lambda: train(other)).how == "done"
    assert in_child(go_on(killed), kill_before=20).how == "killed"
    assert in_child(go_on(killed)).how == "done"
    assert differences(killed.run, whole.run) == []
    assert [said.partition(":")[0] for said in differences(other.run, whole.run)] == [
        "rows", "tensors", "curves", "scalars.csv",
    ]  # fmt: skip


@pytest.mark.parametrize("harm", sorted(set(HARMS), key=lambda harm: harm.__name__))
def test_a_harm_changes_its_file(harm: damages.Callable[[Path, np.random.Generator], None], tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"x": [1, 2, 3], "y": {"z": "word"}}')
    (tmp_path / "b.json").write_text("{}")
    before = path.read_bytes()
    harm(path, np.random.default_rng(0))
    assert not path.is_file() or path.is_symlink() or path.read_bytes() != before


@pytest.mark.parametrize("count", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_an_environment_that_breaks_and_a_file_system_that_refuses_lose_nothing(count: int) -> None:
    trials = main(ChaosConfig(("environments", "faults"), count=count, seed=1))
    assert [trial.said for trial in trials if not trial.good] == []
    met = [trial.campaign for trial in trials if trial.outcome == "one line, then the same bits"]
    assert met.count("environments") == count


def test_a_change_of_the_file_system_can_fail(tmp_path: Path) -> None:
    fail_at(1, lambda path: OSError(28, "No space left on device", path))
    (tmp_path / "a").touch()
    with pytest.raises(OSError, match=r"No space left on device: '.*b'"):
        (tmp_path / "b").touch()
    (tmp_path / "b").touch()


def test_random_words_are_answered_and_write_nothing() -> None:
    trials = main(ChaosConfig(("words",), count=150))
    assert [trial.said for trial in trials if not trial.good] == []
    assert len({trial.kind for trial in trials}) > 10
    assert {trial.outcome for trial in trials} >= {"read", "refused", "help"}


def test_the_table_counts_outcomes_and_a_bad_one_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def campaign(folder: Path, numbers: Sequence[int], seed: int) -> Iterator[Trial]:
        assert folder.parent == tmp_path / "here"
        for number in numbers:
            yield Trial("kills", "rooms", number, "lost" if number == 1 else "same", number != 1, "row 3")

    monkeypatch.setitem(chaos._CAMPAIGNS, "kills", campaign)
    words = ["chaos", "kills", "--count", "3", "--folder", str(tmp_path / "here"), "--output", str(tmp_path / "t.md")]
    with pytest.raises(SystemExit, match="1"):
        cli.main(words)
    out, err = capsys.readouterr()
    assert "| kills | rooms | 3 | same: 2, lost: 1 | 1 |" in out
    assert (tmp_path / "t.md").read_text() == out
    assert "kills 1 (rooms): lost: row 3" in err
    assert list((tmp_path / "here").iterdir()) == []
    with pytest.raises(SystemExit, match="1"):
        cli.main([*words[:2], "--trials", "7", "1", *words[4:]])
    assert "| kills | rooms | 2 | same: 1, lost: 1 | 1 |" in capsys.readouterr().out
    with pytest.raises(UserError, match="--trials says which trials, --count how many"):
        ChaosConfig(count=3, trials=(7,))
    assert table([]) == "| campaign | of | trials | outcomes | bad |\n| --- | --- | ---: | --- | ---: |\n"


@pytest.mark.slow
def test_nothing_is_lost() -> None:
    trials = main(ChaosConfig(count=60))
    assert [(trial.campaign, trial.number, trial.outcome, trial.said) for trial in trials if not trial.good] == []
