"""Training as blocks of one task each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifelong.experiments.exports.blocks import blocks_of
from lifelong.experiments.exports.source import Source, labels, open_source
from lifelong.experiments.runs.errors import UserError

Row = dict[str, str]
Run = Callable[..., Source]
FULL = {"task_name": "", "return": "0.5", "normalised": "nan", "within": "nan", "cross": "nan", "success": "1",
        "answer": "0"}  # fmt: skip


def episode(task: int, life: int, number: int, end: int, length: int, mode: str = "train", step: int = -1) -> Row:
    """Return a row; what is not said is 0."""
    ours = {"task": task, "life": life, "episode": number, "step": end, "length": length, "train_step": step}
    zero = dict.fromkeys(("visit", "index_in_visit", "lag_steps", "lag_episodes", "lag_tasks", "meetings", "load"), "0")
    return zero | FULL | {"task_name": "AB"[task], "mode": mode} | {k: str(v) for k, v in ours.items()}


@pytest.fixture
def run(tmp_path: Path, configs: dict[str, Any], write_run: Callable[..., None]) -> Callable[..., Source]:
    def make(episodes: list[Row], evaluations: list[int], **changes: Any) -> Source:
        config = configs["gru0"] | {"num_envs": 2, "segment": 5} | changes
        tests = [episode(task, 0, 0, 0, 1, "probe", step) for step in evaluations for task in (0, 1)]
        write_run(tmp_path / "run", config, episodes + tests)
        return open_source(tmp_path / "run")

    return make


def lives(*tasks: int, lengths: tuple[int, int] = (10, 10)) -> list[Row]:
    """Return two lives that go through the same tasks, an episode each."""
    rows = []
    for life, length in enumerate(lengths):
        rows += [episode(task, life, k, 2 * (k + 1) * length, length) for k, task in enumerate(tasks)]
    return rows


def test_evaluations_stand_at_the_changes_of_task(run: Run) -> None:
    # tasks change at step 80; a segment of both lives is 10 steps
    blocks = blocks_of(run(lives(0, 0, 0, 0, 1, 1, 1, 1), [88, 160]))
    assert blocks.task.tolist() == [0, 1]
    assert np.bincount(blocks.row).tolist() == [8, 8]
    assert blocks.after.tolist() == [0, 1]
    assert blocks.trained(np.array([0, 1])).tolist() == [[True, False], [False, True]]


def test_an_evaluation_within_a_visit_makes_it_two_blocks(run: Run) -> None:
    blocks = blocks_of(run(lives(0, 0, 0, 0, 1, 1, 1, 1), [40, 80, 125]))
    assert blocks.task.tolist() == [0, 0, 1, 1]
    assert blocks.visit.tolist() == [0, 0, 1, 1]
    assert np.bincount(blocks.row).tolist() == [4, 4, 6, 2]  # an episode counts to the block in which it began
    assert blocks.after.tolist() == [0, 1, 2]


def test_an_evaluation_before_all_training_follows_no_block(run: Run) -> None:
    blocks = blocks_of(run(lives(0, 0, 1, 1), [0, 40]))
    assert blocks.after.tolist() == [-1, 0]
    assert blocks.trained(np.array([0, 1])).tolist() == [[False, False], [True, False]]


@pytest.mark.parametrize(
    ("episodes", "reason"),
    [
        (lives(0, 0, 1, 1)[:4] + lives(1, 1, 0, 0)[4:], "are at different tasks at the same time"),
        (lives(0, 0, 1, 1, lengths=(10, 90)), "are at different tasks at the same time"),
        ([*lives(0, 1), episode(0, 2, 0, 60, 10)], "has lives that end"),
    ],
)
def test_lives_that_do_not_change_together_are_refused(episodes: list[Row], reason: str, run: Run) -> None:
    with pytest.raises(UserError, match=f"{reason}; .* with --schedule 'cyclic:20000 steps'"):
        blocks_of(run(episodes, []))


def test_the_fixture_has_nine_visits(runs: Path) -> None:
    blocks = blocks_of(open_source(runs / "gated_delta0"))
    visits = np.unique(blocks.visit)
    assert [int(blocks.task[blocks.visit == visit][0]) for visit in visits] == [0, 1, 2] * 3
    assert blocks.steps.size == 72


def test_a_method_is_the_memory_and_what_else_differs(runs: Path, run: Run) -> None:
    sources = [open_source(runs / name) for name in ("gru0", "gru1", "gated_delta0")]
    assert labels(sources) == ["gru", "gru", "gated_delta"]
    other = run(lives(0, 1), [], width=32, num_envs=8, segment=64)
    assert labels([sources[0], other]) == ["gru, width=64", "gru, width=32"]
