"""Several seeds of one configuration: how they are written, what is there already, and how a series goes on."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lifelong import cli
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.seed_ranges import parse_seeds
from lifelong.experiments.runs.seeds import of_seed, series_name, state_of
from lifelong.experiments.runs.trainer import Trainer
from lifelong.experiments.train import main

Configs = Callable[..., TrainConfig]

WORDS = ["train", "--memory", "gru", "--steps", "256", "--num-envs", "4", "--life-episodes", "16", "--segment", "16",
         "--width", "8", "--minibatches", "1", "--stream-options", "cues=3",
         "size=4", "--evaluation-lives", "64"]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0..4", (0, 1, 2, 3, 4)), ("0,1,2", (0, 1, 2)), ("3", (3,)), ("0..1,7", (0, 1, 7)), (" 2 .. 2 ", (2,))],
)
def test_seeds_are_read(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "seeds must be like 0..4 or 0,1,2: seeds="),
        ("x", "seeds must be like 0..4 or 0,1,2: seeds=x"),
        ("0-4", "seeds must be like 0..4 or 0,1,2: seeds=0-4"),
        ("0..", "seeds must be like 0..4 or 0,1,2: seeds=0.."),
        ("-1..2", "seeds must be like 0..4 or 0,1,2: seeds=-1..2"),
        ("1.5", "seeds must be like 0..4 or 0,1,2: seeds=1.5"),
        ("4..0", "seeds must be like 0..4 or 0,1,2, from the least to the greatest: seeds=4..0"),
        ("0..4,2", "seeds must differ, 2 is named twice: seeds=0..4,2"),
        ("0..1000000000000", "seeds may be at most 1,000"),
        ("9" * 30, "seeds must be like"),
    ],
)
def test_what_are_no_seeds_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_seeds(text)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("name", [None, "mine"])
def test_runs_of_a_series_have_the_seed_behind_their_name(name: str | None) -> None:
    config = TrainConfig(name=name, memory="gru")
    common = "mine" if name else "cued-recall-gru"
    assert series_name(config) == common
    assert of_seed(config, 7).run == Path("runs") / f"{common}-seed7"
    assert of_seed(config, 7).seed == 7


def test_a_run_is_new_interrupted_or_finished(tiny: Configs) -> None:
    config = tiny(evaluation_lives=8).resolved()
    assert state_of(config) == "new"
    folder = main(config).folder
    assert state_of(config) == "finished"
    assert state_of(replace(config, overwrite=True)) == "new"
    shutil.move(folder / "episodes" / "frozen-000000.parquet", folder / "away")
    assert state_of(config) == "interrupted", "without its evaluation it is not done"
    shutil.move(folder / "away", folder / "episodes" / "frozen-000000.parquet")
    facts = folder / "checkpoints" / "last" / "facts.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"steps": 32}))
    assert state_of(config) == "interrupted"
    shutil.rmtree(folder / "checkpoints")
    assert state_of(config) == "interrupted"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"memory": "gru"}, "exists with other settings (memory=gated_delta, asked gru)"),
        ({"lr": 0.5}, "exists with other settings (lr=0.002, asked 0.5)"),
        ({"stream": "doors", "stream_options": ()}, "stream=cued-recall, asked doors"),
        ({"steps": 320}, "exists with other settings (steps=160, asked 320)"),
    ],
)
def test_a_run_with_other_settings_is_not_taken_for_a_seed(
    changes: dict[str, Any], message: str, tiny: Configs
) -> None:
    main(tiny())
    with pytest.raises(UserError, match=re.escape(message)):
        state_of(tiny(**changes).resolved())


def test_a_run_of_other_code_is_not_taken_for_a_seed(tiny: Configs) -> None:
    path = main(tiny()).folder / "config.json"
    content = json.loads(path.read_text())
    assert re.fullmatch("[0-9a-f]{64}", content["origin"]["code"])
    content["origin"]["code"] = "0" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="was trained by other code, and seeds of one agent need the same"):
        state_of(tiny().resolved())


def test_a_stream_file_is_compared_by_its_content(tiny: Configs, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('stream = "cued-recall"\noptions = { cues = 3, size = 4 }\n')
    config = tiny(stream=str(path), stream_options=()).resolved()
    main(config)
    assert state_of(config) == "finished"
    path.write_text('stream = "cued-recall"\noptions = { cues = 4, size = 4 }\n')
    with pytest.raises(UserError, match="is another file than"):
        state_of(config)


def test_a_series_ends_with_the_report_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main([*WORDS, "--seeds", "0,1"]) == 0
    said = capsys.readouterr()
    assert "| gru | 2 |" in said.out
    assert "seed 1 (2 of 2): runs/cued-recall-gru-seed1, new" in said.err
    assert sorted(path.name for path in Path("runs").iterdir()) == [
        "cued-recall-gru-seed0", "cued-recall-gru-seed1", "cued-recall-gru.html", "cued-recall-gru.md",
    ]  # fmt: skip
    written = {path: path.stat().st_mtime_ns for path in Path("runs").glob("*seed*/**/*") if path.is_file()}
    assert cli.main([*WORDS, "--seeds", "0..2"]) == 0
    said = capsys.readouterr()
    assert "| gru | 3 |" in said.out
    assert "runs/cued-recall-gru-seed1, finished" in said.err
    assert {path: path.stat().st_mtime_ns for path in written} == written, "what is done stays as it is"


def test_an_interrupted_series_says_how_to_go_on_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*WORDS, "--seeds", "0..2"]
    assert cli.main([*words, "--runs", "whole"]) == 0
    whole = capsys.readouterr().out
    train, calls = Trainer.train, []

    def interrupted(self: Trainer) -> bool:
        calls.append(self.config.seed)
        if len(calls) != 2:
            return train(self)
        self.checkpoint()
        return False

    monkeypatch.setattr(Trainer, "train", interrupted)
    assert cli.main([*words, "--overwrite"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "interrupted in seed 1; done: seeds 0; go on with the same command: lifelong train --memory gru" in said.err
    assert "--overwrite" not in said.err
    assert not Path("runs", "cued-recall-gru-seed2").exists()
    assert cli.main(words) == 0
    assert calls == [0, 1, 1, 2]
    assert capsys.readouterr().out == whole, "as if it had never been interrupted"


def test_ctrl_c_in_an_evaluation_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def interrupted(self: Trainer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "evaluate", interrupted)
    assert cli.main([*WORDS, "--seeds", "0..2"]) == 130
    assert "interrupted in seed 0; no seed is done; go on with the same command" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--seeds 0..4 --seed 1", "--seeds and --seed exclude each other: --seeds=0..4"),
        ("--seed=0 --seeds=0..4", "--seeds and --seed exclude each other: --seeds=0..4"),
        ("--seeds 0..4 --resume runs/x", "--seeds and --resume exclude each other: --seeds=0..4"),
        ("--seeds 0..x", "seeds must be like 0..4 or 0,1,2: seeds=0..x"),
        ("--seeds 0,1 --memory nope", "no memory 'nope'"),
        ("--seeds 0,1 --width 0", "width must be positive: width=0"),
    ],
)
def test_wrong_words_are_answered_in_one_line(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", *words.split()]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.splitlines()[-1].startswith("lifelong: ")
    assert said.out == ""
