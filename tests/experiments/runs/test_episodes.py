"""The episodes table: flushed rows persist, others are lost, and a checkpoint's row count is exact."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from lifelong.envs.stream import ROW
from lifelong.experiments.runs.episodes import MODES, EpisodeLog, read_episodes
from lifelong.experiments.runs.errors import UserError


def rows(first: int, count: int) -> dict[str, NDArray[Any]]:
    """Return rows that differ in every column."""
    numbers = np.arange(first, first + count)
    return {name: (numbers * (k + 1)).astype(dtype) for k, (name, dtype) in enumerate(ROW.items())}


def assert_rows(found: dict[str, NDArray[Any]], count: int) -> None:
    for name, column in rows(0, count).items():
        np.testing.assert_array_equal(found[name], column, strict=True)


def test_rows_come_back_in_order_and_type(tmp_path: Path) -> None:
    with EpisodeLog(tmp_path, part_rows=25) as log:
        for first in range(0, 100, 10):
            log.append(rows(first, 10))
        assert log.parts == (30, 30, 30)
        assert log.rows == 100
    assert_rows(read_episodes(tmp_path), 100)


def test_nan_survives(tmp_path: Path) -> None:
    with EpisodeLog(tmp_path) as log:
        log.append(rows(0, 2) | {"success": np.array([np.nan, 1], np.float32)})
    np.testing.assert_array_equal(read_episodes(tmp_path)["success"], np.array([np.nan, 1], np.float32))


def test_other_tools_read_the_mode_as_text(tmp_path: Path) -> None:
    with EpisodeLog(tmp_path, "sandbox") as log:
        log.append(rows(0, 2))
    assert pq.read_table(tmp_path / "episodes")["mode"].to_pylist() == ["sandbox"] * 2


def test_modes_stay_apart(tmp_path: Path) -> None:
    with EpisodeLog(tmp_path, "train") as train, EpisodeLog(tmp_path, "probe") as probe:
        train.append(rows(0, 3))
        probe.append(rows(0, 4))
    assert_rows(read_episodes(tmp_path, ["probe"]), 4)
    found = read_episodes(tmp_path, columns=["mode", "step"])
    assert list(found) == ["mode", "step"]
    assert [MODES[mode] for mode in found["mode"]] == ["train"] * 3 + ["probe"] * 4


def test_a_killed_process_loses_only_what_was_not_flushed(tmp_path: Path) -> None:
    log = EpisodeLog(tmp_path)
    log.append(rows(0, 5))
    log.flush()
    log.append(rows(5, 5))
    (tmp_path / "episodes" / ".train-000001.tmp").write_bytes(b"half a part")
    del log
    assert_rows(read_episodes(tmp_path), 5)
    with EpisodeLog(tmp_path) as again:
        assert again.rows == 5
        again.append(rows(5, 2))
    assert_rows(read_episodes(tmp_path), 7)
    assert not list((tmp_path / "episodes").glob(".*"))


@pytest.mark.parametrize("keep", [0, 1, 29, 30, 31, 60, 95, 100])
def test_truncate_is_exact_to_the_row(tmp_path: Path, keep: int) -> None:
    log = EpisodeLog(tmp_path, part_rows=30)
    for first in range(0, 100, 5):
        log.append(rows(first, 5))
    log.truncate(keep)
    assert log.rows == keep
    assert_rows(read_episodes(tmp_path), keep)
    log.append(rows(keep, 100 - keep))
    log.close()
    assert_rows(read_episodes(tmp_path), 100)
    assert EpisodeLog(tmp_path).rows == 100


@pytest.mark.parametrize("keep", [-1, 11])
def test_truncate_refuses_rows_that_are_not_there(tmp_path: Path, keep: int) -> None:
    log = EpisodeLog(tmp_path)
    log.append(rows(0, 10))
    with pytest.raises(ValueError, match=f"has 10 rows of mode train, the checkpoint counts {keep}"):
        log.truncate(keep)
    assert log.rows == 10


def test_append_refuses_other_columns(tmp_path: Path) -> None:
    log = EpisodeLog(tmp_path)
    whole = rows(0, 3)
    with pytest.raises(ValueError, match="missing or unknown: \\['cross'\\]"):
        log.append({name: column for name, column in whole.items() if name != "cross"})
    with pytest.raises(ValueError, match="one length, 3: \\['cross'\\]"):
        log.append(whole | {"cross": np.zeros(2, np.float32)})
    assert log.rows == 0


def test_unknown_modes_and_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mode must be one of train, probe, sandbox, frozen, empty, greedy, got"):
        EpisodeLog(tmp_path, "asleep")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown columns \\['reward'\\]"):
        read_episodes(tmp_path, columns=["reward"])


def test_rows_name_their_task_and_the_step_of_training(tmp_path: Path) -> None:
    with EpisodeLog(tmp_path, "sandbox", tasks=["door", "key"]) as log:
        log.append(rows(0, 3) | {"task": np.array([1, 0, 7], np.int32)}, train_step=500)
        log.append(rows(3, 1) | {"task": np.array([1], np.int32)})
    found = read_episodes(tmp_path, columns=["task_name", "train_step", "task"])
    assert found["task_name"].tolist() == ["key", "door", "task 7", "key"]
    assert found["train_step"].tolist() == [500, 500, 500, -1]
    assert pq.read_table(tmp_path / "episodes").to_pylist()[0]["task_name"] == "key"  # as anybody reads it


def test_parts_of_0_1_are_filled_in(tmp_path: Path) -> None:
    with EpisodeLog(tmp_path, part_rows=2) as log:
        log.append(rows(0, 2))
        log.append(rows(2, 2))
    (old, _) = sorted((tmp_path / "episodes").iterdir())
    later = ["meetings", "load", "old_answer", "since_change", "train_step", "task_name"]
    pq.write_table(pq.read_table(old).drop_columns(later), old)
    found = read_episodes(tmp_path)
    assert found["meetings"].tolist() == [-1, -1, *rows(2, 2)["meetings"]]
    assert found["old_answer"].tolist() == [-1, -1, *rows(2, 2)["old_answer"]]
    assert found["since_change"].tolist() == [-1, -1, *rows(2, 2)["since_change"]]
    assert found["load"].dtype == np.int32
    np.testing.assert_array_equal(found["return"], rows(0, 4)["return"])
    task = rows(0, 2)["task"]
    assert read_episodes(tmp_path, columns=["task_name"])["task_name"][:2].tolist() == [f"task {n}" for n in task]


def test_a_run_without_episodes_has_empty_columns(tmp_path: Path) -> None:
    found = read_episodes(tmp_path)
    assert set(found) == {*ROW, "train_step", "mode"}
    assert_rows(found, 0)


def test_a_bit_that_flipped_in_any_page_is_found(tmp_path: Path) -> None:
    with EpisodeLog(tmp_path) as log:
        log.append(rows(0, 400))
    part = tmp_path / "episodes" / "train-000000.parquet"
    whole, rng = part.read_bytes(), np.random.default_rng(0)
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    missed = 0
    for _ in range(60):
        data = bytearray(whole)
        data[int(rng.integers(4, len(data) - footer))] ^= 1 << int(rng.integers(8))
        part.write_bytes(data)
        log = EpisodeLog(tmp_path)
        faults = log.damaged()
        if not faults:  # a bit of a page's header that says nothing of its content
            missed += 1
            assert_rows(read_episodes(tmp_path), 400)
        assert all(fault.startswith(f"cannot read {part}: ") for fault in faults)
    assert missed < 6
    part.write_bytes(whole)
    assert EpisodeLog(tmp_path).damaged() == []


def test_a_part_in_the_place_of_another_is_found(tmp_path: Path) -> None:
    with EpisodeLog(tmp_path, part_rows=10) as log:
        for first in range(0, 40, 10):
            log.append(rows(first, 10))
    assert EpisodeLog(tmp_path).damaged() == []
    parts = sorted((tmp_path / "episodes").iterdir())
    parts[2].write_bytes(parts[0].read_bytes())
    assert EpisodeLog(tmp_path).damaged() == [
        f"{parts[2]} is not the table that was written: its steps begin before 19"
    ]
    parts[2].write_bytes(parts[3].read_bytes())
    assert EpisodeLog(tmp_path).damaged() == [
        f"{parts[3]} is not the table that was written: its steps begin before 39"
    ]


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    (tmp_path / "episodes").mkdir()
    part = tmp_path / "episodes" / "train-000000.parquet"
    part.write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot read .*train-000000\.parquet: "):
        read_episodes(tmp_path)
    with pytest.raises(UserError, match=r"cannot read .*train-000000\.parquet: "):
        EpisodeLog(tmp_path)


@pytest.mark.parametrize("first", [0, 1, 29, 30, 31, 89, 90])
def test_rows_from_one_on_are_read(first: int, tmp_path: Path) -> None:
    with EpisodeLog(tmp_path, part_rows=30) as log:
        for start in range(0, 90, 10):
            log.append(rows(start, 10))
        found = log.since(first)
    for name, column in rows(first, 90 - first).items():
        np.testing.assert_array_equal(found[name], column, strict=True)


def test_a_table_goes_on_in_a_folder_that_was_renamed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with EpisodeLog(tmp_path / "a", part_rows=4) as log:
        log.append(rows(0, 5))
        log.append(rows(5, 2))
        (tmp_path / "a").rename(tmp_path / "b")
        log.move(tmp_path / "b")
        log.truncate(6)
        log.append(rows(6, 3))
    assert_rows(read_episodes(tmp_path / "b"), 9)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("task", np.array([0, -1], np.int32), r"task must lie in 0 to \d+, got -1"),
        ("step", np.array([1, 2**60]), r"step must lie in 0 to \d+, got 1152921504606846976"),
        ("return", np.array([np.nan, 0], np.float32), "return must be finite, got nan"),
        ("life", np.array([0.0, 1.0]), "life must be int64, got double with 0 empty"),
        ("life", [None, 1], "life must be int64, got int64 with 1 empty"),
    ],
)
def test_harmed_columns_are_named(column: str, values: Any, said: str, tmp_path: Path) -> None:
    with EpisodeLog(tmp_path) as log:
        log.append(rows(0, 2))
    path = tmp_path / "episodes" / "train-000000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index(column), column, pa.array(values)), path)
    with pytest.raises(UserError, match=rf"cannot read .*train-000000\.parquet: {said}"):
        read_episodes(tmp_path)


def test_parts_that_are_no_regular_files_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "episodes").mkdir()
    os.mkfifo(tmp_path / "episodes" / "train-000000.parquet")
    with pytest.raises(UserError, match=r"cannot read .*train-000000\.parquet: .*it is no regular file"):
        read_episodes(tmp_path, ["train"])
    with pytest.raises(UserError, match="it is no regular file"):
        EpisodeLog(tmp_path)
