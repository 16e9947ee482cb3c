"""The table of tasks is readable in 80 columns, with long names and many lags."""

import io
import math

import pytest
from rich.console import Console

from lifelong.experiments.metrics.gain import TaskGain
from lifelong.experiments.runs.task_table import heading_of, show_tasks

LONG = ["MiniGrid-DoorKey-5x5-v0", "BabyAI-GoToRedBallGrey-v0", "lavagaps5, reversed_actions+sticky_actions:0.5"]


def gains(names: list[str], bins: int) -> list[TaskGain]:
    """Return tasks that came back at lags from 2 on, but for the bin of 8 to 15."""
    counts = tuple(0 if k in (0, 3) else 4 * k for k in range(bins))
    scores = tuple(0.5 + k / 100 if count else math.nan for k, count in enumerate(counts))
    return [TaskGain(name, 12_345, 0.125, 0.875, scores, counts, "") for name in names]


def shown(names: list[str], bins: int, width: int = 80) -> str:
    console = Console(record=True, width=width, file=io.StringIO())
    show_tasks("gru in training: normalised by task", gains(names, bins), console)
    return console.export_text()


@pytest.mark.parametrize("names", [LONG, [f"{LONG[0]} of seed {k}" for k in range(12)], ["a", "b"], ["x" * 90]])
@pytest.mark.parametrize("bins", [0, 3, 14])
def test_nothing_is_cut_off(names: list[str], bins: int) -> None:
    said = shown(names, bins)
    table = [line for line in said.splitlines() if set(line) & set("│┃━─")]
    assert max(map(len, table)) <= 80
    assert "…" not in said
    labels = "".join(line.split("│")[1] for line in said.splitlines() if "│" in line).replace(" ", "")
    for name in names:
        assert name.replace(" ", "") in labels or all(part in said for part in heading_of(name).splitlines())
    for value in ("12,345", "0.125", "0.875"):
        assert said.count(value) == len(names)


def test_a_line_for_each_task_where_that_fits() -> None:
    said = shown(["door", "key"], 5, width=100)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if "│" in line]
    assert rows == [
        [name, "12,345", "0.125", "0.875", "0.510 (4)", "0.520", "0.540", "0.345"] for name in ("door", "key")
    ]
    heading = " ".join(said.split("┡")[0].replace("┃", " ").split())
    assert heading.count("on return") == 3
    assert said.count("in brackets: how many returns") == 1


def test_a_column_for_each_task_where_it_does_not() -> None:
    said = shown(LONG, 12)
    labels = [line.split("│")[1].strip() for line in said.splitlines() if "│" in line]
    lags = [f"on return, lag {low}-{2 * low - 1}" for low in (2, 4, *(2**k for k in range(4, 12)))]
    assert labels == ["episodes", "first meeting", "end of visits", *lags, "forgetting"]
    assert said.count("┏") == 1  # one table


def test_words_are_explained_and_what_is_left_out_is_said() -> None:
    said = shown([f"room {k}" for k in range(20)], 3)
    assert said.count("lag: episodes since the task was last met · forgetting: end of visits less mean on return") == 1
    assert "and 8 tasks more" in said
    assert "room 12" not in said
