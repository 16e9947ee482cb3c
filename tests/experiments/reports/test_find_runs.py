"""Words on the command line: folders, patterns, folders of runs, and words that name nothing."""

from pathlib import Path

import pytest

from lifelong.experiments.reports.find_runs import find_runs, listed
from lifelong.experiments.runs.errors import UserError


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("runs/a-seed0", "runs/a-seed1", "runs/b-seed0", "more/c", "runs/no run", "empty"):
        Path(name).mkdir(parents=True)
        if "no" not in name and name != "empty":
            Path(name, "config.json").write_text("{}")
    Path("file").write_text("")
    for number in range(12):
        Path(f"many/{number:02}").mkdir(parents=True)


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        (["runs"], ["runs/a-seed0", "runs/a-seed1", "runs/b-seed0"]),
        (["runs/a-seed1"], ["runs/a-seed1"]),
        (["runs/a*"], ["runs/a-seed0", "runs/a-seed1"]),
        (["runs/*"], ["runs/a-seed0", "runs/a-seed1", "runs/b-seed0"]),
        (["runs/?-seed0", "more"], ["runs/a-seed0", "runs/b-seed0", "more/c"]),
        (["runs/b-seed0", "runs", "./runs/b-seed0/"], ["runs/b-seed0", "runs/a-seed0", "runs/a-seed1"]),
        (["more*"], ["more/c"]),
        (["**/c"], ["more/c"]),
        (["runs/a-seed0", "file"], ["runs/a-seed0"]),  # as a shell writes runs/* where a report lies beside
    ],
)
def test_words_name_runs_each_once(words: list[str], runs: list[str]) -> None:
    assert [path.as_posix() for path in find_runs(words)] == runs


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("nope", "no run nope: . holds empty, file, many, more, runs"),
        ("runs/x*", "no run runs/x*: runs holds a-seed0, a-seed1, b-seed0, no run"),
        ("runs/x/y/z", "no run runs/x/y/z: runs holds a-seed0, a-seed1, b-seed0, no run"),
        ("file", "file is no folder of a run"),
        ("empty", "no run in empty: empty holds nothing"),
        ("many", "no run in many: many holds 00, 01, 02, 03, 04, 05, 06, 07 and 4 more"),
        ("/nowhere/at/all", "no run /nowhere/at/all: / holds"),
    ],
)
def test_a_word_that_names_no_run_says_what_is_there(word: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        find_runs([word])
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_run_may_be_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("runs/a-seed0")
    assert find_runs(["."]) == [Path()]


def test_lists_are_short() -> None:
    assert listed([]) == "nothing"
    assert listed(map(str, range(10))) == "0, 1, 2, 3, 4, 5, 6, 7 and 2 more"
