"""`lifelong study`: its parts, what they say of wrong words, and a whole study with a trial that is killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lifelong import cli

SMOKE = Path(__file__).resolve().parents[2] / "experiments" / "studies" / "smoke.toml"

TINY = """\
question = "Is it kept?"
train = {cues = 3, size = 4, num_envs = 4, steps = 160, life_episodes = 8, segment = 8, width = 16, \
evaluation_lives = 2}
seeds = "0..2"
arms = ["none", "gru"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept.toml").write_text(TINY)
    return tmp_path


def test_the_parts_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["study", "--help"])
    assert not ended.value.code
    said = capsys.readouterr().out
    for part in ("check", "register", "run", "judge", "report"):
        assert f"  {part} " in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "study what? known: check, register, run, judge, report"),
        (["chek", "kept.toml"], "study chek?; did you mean 'check'? known: check"),
        (["check"], "missing: STUDY.toml"),
        (["check", "none.toml"], "cannot read none.toml: No such file or directory"),
        (["run", "kept.toml", "--workers", "-1"], "workers must not be negative: workers=-1"),
        (["run", "kept.toml", "--ray", "auto", "--workers", "2"], "--ray auto excludes --workers 2"),
        (["judge", "kept.toml"], "study 'kept' has 0 of 6 trials"),
        (["report", "kept.toml", "--check"], "runs/studies/kept/report is no report of a study: cannot read"),
        (["report", ".", "--check"], ". is no report of a study: cannot read README.md"),
    ],
)
def test_a_wrong_word_is_answered_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert cli.main(["study", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (folder / "runs").exists()


def test_a_study_is_checked_and_registered(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["study", "check", "kept.toml", "--quick"]) == 0
    said = capsys.readouterr().out
    assert "| none | none | expansion=1 | 0 |" in said
    assert "- unequal in bytes of state: 0 (none) to 64 (gru)" in said
    assert "- 6 trials: 6 and 0 of tuning; tests of each: evaluation (retention)" in said
    assert "exploratory: it was not registered" in said
    assert not (folder / "runs").exists()
    assert cli.main(["study", "register", "kept.toml"]) == 0
    assert "kept: registered: hypotheses 0, arms 2, seeds 3, SHA-256 " in capsys.readouterr().out
    assert json.loads((folder / "runs/studies/kept/registered.json").read_text())["seeds"] == [0, 1, 2]
    assert cli.main(["study", "check", "kept.toml"]) == 0  # measures how fast arms train
    said = capsys.readouterr().out
    assert "- registered\n" in said
    assert " hours of training on one core" in said


def test_the_example_is_a_study(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["study", "check", str(SMOKE), "--quick"]) == 0
    said = capsys.readouterr().out
    assert "| emptied | gated_delta |" in said
    assert "unequal" not in said


@pytest.mark.slow  # every memory is measured
@pytest.mark.parametrize("path", sorted(SMOKE.parent.glob("*.toml")), ids=lambda path: path.stem)
def test_every_study_can_be_run(path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["study", "check", str(path), "--quick"]) == 0
    assert "trials" in capsys.readouterr().out


def test_the_page_shows_a_study_that_can_be_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (SMOKE.parents[2] / "docs" / "studies.md").read_text()
    text, plasticity = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (folder / "page.toml").write_text(text)
    (folder / "plasticity.toml").write_text(plasticity)
    assert cli.main(["study", "check", "plasticity.toml", "--quick"]) == 0
    assert "| l2-init | none |" in capsys.readouterr().out
    assert cli.main(["study", "check", "page.toml", "--quick"]) == 0
    said = capsys.readouterr().out
    assert said.count("| 4,") == 3, "bytes of gated_delta, window, and of the control"
    assert "- unequal in bytes of state: " in said
    assert "(gru)" in said


def study(folder: Path, *words: str) -> "subprocess.Popen[str]":
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "lifelong.cli", "study", *words],
        cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def pid_of(run: Path) -> int:
    """Return the process that writes to a run, once it has trained for a while."""
    for _ in range(1200):
        time.sleep(0.1)
        try:
            if any((run / "episodes").glob("train-*.parquet")):
                return int(json.loads((run / ".lock").read_text())["pid"])
        except (OSError, ValueError):
            continue
    raise AssertionError(f"{run} was not trained")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_whole_study_with_a_trial_that_is_killed_and_an_interrupt(tmp_path: Path) -> None:
    text = SMOKE.read_text().replace("steps = 50_000", 'steps = 50_000, checkpoint_every = "5000"')
    (tmp_path / "smoke.toml").write_text(text)
    place = tmp_path / "runs" / "studies" / "smoke"

    def done(*words: str) -> str:
        process = study(tmp_path, *words)
        out, err = process.communicate(timeout=1200)
        assert process.returncode == 0, err
        return out + err

    done("register", "smoke.toml")
    process = study(tmp_path, "run", "smoke.toml", "--workers", "1")
    for _ in range(1200):
        runs = [path for path in place.glob("runs/*") if path.is_dir() and not path.name.startswith(".")]
        if runs:
            break
        time.sleep(0.1)
    (run,) = runs
    try:
        os.kill(pid_of(run), signal.SIGKILL)
        time.sleep(8)  # the next trial has begun
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=300)
    finally:
        process.terminate()
    assert process.returncode == 130, err
    assert "failed: ended by signal SIGKILL" in err
    assert "interrupted with 0 of 4 trials finished; the same command goes on where they stopped" in err
    log = done("run", "smoke.toml")
    assert "4/4" in log
    (killed,) = place.glob(f"runs/{run.name}.log")
    assert "goes on from" in killed.read_text()
    said = done("judge", "smoke.toml")
    assert "| > 0 |" in said
    assert "not told apart" in said
    assert "2 seeds: the points" in said
    done("report", "smoke.toml")
    assert "numbers are what the rows say" in done("report", "smoke.toml", "--check")
    uninterrupted = study(tmp_path, "run", "smoke.toml", "--output", "again")
    uninterrupted.communicate(timeout=1200)
    assert uninterrupted.returncode == 0
    assert values(place) == values(tmp_path / "again")


def values(folder: Path) -> dict[str, Any]:
    """Return the measurements of a study by arm and seed, as text: NaN is equal to NaN then."""
    from lifelong.experiments.studies.store import read_rows

    lines = [json.loads(line) for line in (folder / "results" / "index.jsonl").read_text().splitlines()[1:]]
    return {
        f"{one['arm']} {one['seed']}": str(read_rows(folder / "results" / f"{one['key']}.parquet")) for one in lines
    }
