import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong.agents import CheckpointError, checkpoint as module, load_checkpoint, save_checkpoint
from lifelong.agents.checkpoint import (
    FORMAT,
    find_checkpoint,
    has_checkpoint,
    optimizer_tensors,
    read_facts,
    restore_optimizer,
    set_damaged_aside,
    with_names,
)

Killed = Callable[[int, Callable[[], object]], bool]

NAMES = ["weight", "bias"]
PARTS = {
    "policy": {"weight": torch.arange(6.0).reshape(2, 3), "scalar": torch.tensor(2.5)},
    "memory": {"0/state": torch.randn(2, 3, 4).transpose(1, 2), "0/count": torch.tensor([3, -1])},
    "random": {"torch": torch.get_rng_state()},
    "nothing": {},
}
FACTS = {"steps": 7, "seconds": 0.1 + 0.2, "shapes": {"task": [3]}}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "last", PARTS, FACTS)
    return tmp_path / "last"


def assert_whole(checkpoint: Path, facts: dict[str, Any] = FACTS) -> None:
    parts, found = load_checkpoint(checkpoint)
    assert found == facts
    assert parts.keys() == PARTS.keys()
    for name, tensors in PARTS.items():
        assert parts[name].keys() == tensors.keys()
        assert all(parts[name][key].equal(tensor) for key, tensor in tensors.items())
        assert all(parts[name][key].dtype == tensor.dtype for key, tensor in tensors.items())


def test_what_was_saved_wakes_to_the_same_bits(checkpoint: Path) -> None:
    assert_whole(checkpoint)
    assert [path.name for path in checkpoint.parent.iterdir()] == ["last"]


def test_a_new_checkpoint_replaces_the_old_one(checkpoint: Path) -> None:
    save_checkpoint(checkpoint, PARTS, {"steps": 8})
    assert_whole(checkpoint, {"steps": 8})
    assert [path.name for path in checkpoint.parent.iterdir()] == ["last"]


@pytest.mark.parametrize("keep", [0, -1])
def test_no_checkpoint_is_removed_for_a_wrong_number_to_keep(keep: int, checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=f"keep must be positive: keep={keep}"):
        save_checkpoint(checkpoint, PARTS, {"steps": 8}, keep=keep)
    assert_whole(checkpoint)


def test_a_checkpoint_is_safetensors_and_json_and_nothing_else(checkpoint: Path) -> None:
    kinds = {path.suffix for path in checkpoint.iterdir()}
    assert kinds == {".safetensors", ".json"}
    assert not any(b"torch._utils" in path.read_bytes() for path in checkpoint.iterdir())


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("name", ["policy.safetensors", "facts.json"])
@pytest.mark.parametrize("harm", [flip, shorten])
def test_a_changed_file_is_found_and_named(harm: Callable[[Path], None], name: str, checkpoint: Path) -> None:
    harm(checkpoint / name)
    with pytest.raises(CheckpointError, match=rf"last/{name} is damaged: (SHA-256|it has)"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("name", ["policy.safetensors", "facts.json", "manifest.json"])
def test_a_missing_file_is_named(name: str, checkpoint: Path) -> None:
    (checkpoint / name).unlink()
    with pytest.raises(CheckpointError, match=rf"cannot read .*last/{name}: No such file"):
        load_checkpoint(checkpoint)


def test_no_checkpoint_at_all_is_an_error_that_names_where_it_was_sought(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read .*nowhere/manifest\.json"):
        load_checkpoint(tmp_path / "nowhere")


def test_a_truncated_manifest_is_named(checkpoint: Path) -> None:
    shorten(checkpoint / "manifest.json")
    with pytest.raises(CheckpointError, match=r"last/manifest\.json is no JSON"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"format": "x"}', '{"format": 1, "files": {"facts.json": {}}}', '"x"']
)
def test_a_manifest_that_is_none_is_named(content: str, checkpoint: Path) -> None:
    (checkpoint / "manifest.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"last/manifest\.json is no manifest"):
        load_checkpoint(checkpoint)


def test_a_newer_format_is_refused(checkpoint: Path) -> None:
    path = checkpoint / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": FORMAT + 1}))
    with pytest.raises(CheckpointError, match=rf"last/manifest.json has format {FORMAT + 1}, this .* up to {FORMAT}"):
        load_checkpoint(checkpoint)


def test_killed_between_the_two_renames_the_old_checkpoint_wakes(checkpoint: Path) -> None:
    shutil.copytree(checkpoint, checkpoint.with_name(".last.new"))
    checkpoint.rename(checkpoint.with_name(".last.old"))
    assert_whole(checkpoint)
    save_checkpoint(checkpoint, PARTS, {"steps": 8})  # and life goes on
    assert_whole(checkpoint, {"steps": 8})


def test_killed_while_the_old_one_was_removed_the_new_checkpoint_wakes(checkpoint: Path) -> None:
    old = checkpoint.with_name(".last.old")
    shutil.copytree(checkpoint, old)
    (old / "policy.safetensors").unlink()
    assert_whole(checkpoint)
    save_checkpoint(checkpoint, PARTS, {"steps": 8})
    assert_whole(checkpoint, {"steps": 8})


def test_killed_while_writing_the_old_checkpoint_stays(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def write(path: Path, data: bytes) -> None:
        if len(written) == 2:
            path.write_bytes(data[: len(data) // 2])
            raise OSError("the disk is full")
        written.append(path)
        path.write_bytes(data)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_synced", write)
        with pytest.raises(OSError, match="the disk is full"):
            save_checkpoint(checkpoint, PARTS, {"steps": 8})
    assert_whole(checkpoint)
    save_checkpoint(checkpoint, PARTS, {"steps": 8})
    assert_whole(checkpoint, {"steps": 8})


def test_files_are_on_the_disk_before_they_get_their_name(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    story: list[str] = []
    fsync, rename = os.fsync, Path.rename
    monkeypatch.setattr(os, "fsync", lambda handle: (story.append("sync"), fsync(handle))[1])
    monkeypatch.setattr(Path, "rename", lambda path, to: (story.append("rename"), rename(path, to))[1])
    save_checkpoint(checkpoint, PARTS, FACTS)
    files = len(list(checkpoint.iterdir()))
    assert story == ["sync"] * (files + 1) + ["sync"] + ["rename"] * 2 + ["sync"]  # files, their folder, its own


def steps_of(folder: Path) -> int:
    return int(load_checkpoint(folder)[1]["steps"])


def generations(folder: Path, *steps: int) -> Path:
    """Write checkpoints of these steps, all of which are kept."""
    shutil.rmtree(folder.parent, ignore_errors=True)
    for step in steps:
        save_checkpoint(folder, PARTS, {"steps": step}, keep=len(steps))
    return folder


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_as_many_checkpoints_are_kept_as_asked(keep: int, tmp_path: Path) -> None:
    folder = tmp_path / "all" / "last"
    for step in range(6):
        save_checkpoint(folder, PARTS, {"steps": step}, keep=keep)
    names = ["last", "previous", "previous-2"][:keep]
    assert sorted(path.name for path in folder.parent.iterdir()) == names
    assert [steps_of(folder.with_name(name)) for name in names] == [5, 4, 3][:keep]
    save_checkpoint(folder, PARTS, {"steps": 6})
    assert [path.name for path in folder.parent.iterdir()] == ["last"], "fewer are kept from now on"


@pytest.mark.parametrize("keep", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_killed_before_any_change_there_is_a_whole_checkpoint_and_the_next_is_written(
    keep: int, tmp_path: Path, killed_before: Killed
) -> None:
    before = generations(tmp_path / "before" / "last", *range(3 - keep, 3)).parent
    folder, change, found, killed = tmp_path / "all" / "last", 0, [], True
    while killed:
        shutil.rmtree(folder.parent, ignore_errors=True)
        shutil.copytree(before, folder.parent)
        killed = killed_before(change, lambda: save_checkpoint(folder, PARTS, {"steps": 3}, keep=keep))
        change += 1
        found.append(steps_of(folder))
        save_checkpoint(folder, PARTS, {"steps": 4}, keep=keep)
        assert steps_of(folder) == 4
        assert len(list(folder.parent.iterdir())) == keep
    assert change > 14
    assert found == sorted(found)
    assert set(found) == {2, 3}


@pytest.mark.slow
def test_killed_again_what_was_whole_is_not_lost(tmp_path: Path, killed_before: Killed) -> None:
    before = generations(tmp_path / "before" / "last", 1, 2).parent
    folder = tmp_path / "all" / "last"
    for first in range(0, 20, 3):
        for second in range(0, 20, 4):
            shutil.rmtree(folder.parent, ignore_errors=True)
            shutil.copytree(before, folder.parent)
            killed_before(first, lambda: save_checkpoint(folder, PARTS, {"steps": 3}, keep=2))
            found = steps_of(folder)
            killed_before(second, lambda: save_checkpoint(folder, PARTS, {"steps": 4}, keep=2))
            assert steps_of(folder) >= found >= 2


def test_killed_while_the_first_is_written_there_is_none_and_the_next_is_written(
    tmp_path: Path, killed_before: Killed
) -> None:
    folder = tmp_path / "all" / "last"
    for change in (1, 4, 7):
        assert killed_before(change, lambda: save_checkpoint(folder, PARTS, {"steps": 3}))
        assert not has_checkpoint(folder)
        with pytest.raises(CheckpointError, match=r"cannot read .*last/manifest\.json: No such file"):
            load_checkpoint(folder)
    save_checkpoint(folder, PARTS, {"steps": 4})
    assert steps_of(folder) == 4


def test_a_damaged_checkpoint_is_passed_over_and_what_was_used_is_named(tmp_path: Path) -> None:
    folder = generations(tmp_path / "all" / "last", 1, 2, 3)
    flip(folder / "policy.safetensors")
    with pytest.warns(UserWarning, match=r"last/policy.safetensors is damaged: SHA-256 .*/previous of step 2 is used"):
        assert steps_of(folder) == 2
    shorten(folder.with_name("previous") / "manifest.json")
    with pytest.warns(UserWarning, match=r"last/pol.*previous/manifest.json is no JSON.*/previous-2 of step 1 is used"):
        assert steps_of(folder) == 1
    (folder.with_name("previous-2") / "facts.json").unlink()
    with pytest.raises(CheckpointError, match=r"last/policy.*previous/manifest.*cannot read .*previous-2/facts\.json"):
        load_checkpoint(folder)


def test_what_is_damaged_is_set_aside_and_not_kept_in_place_of_what_is_whole(tmp_path: Path) -> None:
    folder = generations(tmp_path / "all" / "last", 1, 2)
    flip(folder / "policy.safetensors")
    set_damaged_aside(folder, find_checkpoint(folder).folder)
    assert steps_of(folder) == 1
    save_checkpoint(folder, PARTS, {"steps": 3}, keep=2)
    assert [steps_of(folder.with_name(name)) for name in ("last", "previous")] == [3, 1]
    assert folder.with_name("damaged").is_dir()


def test_a_reader_beside_a_writer_finds_a_whole_checkpoint_every_time(tmp_path: Path) -> None:
    folder, stop, wrong = generations(tmp_path / "all" / "last", 0, 1), threading.Event(), list[BaseException]()

    def write() -> None:
        step = 2
        try:
            while not stop.is_set():
                save_checkpoint(folder, PARTS, {"steps": step}, keep=1 + step % 2)
                step += 1
        except BaseException as error:  # noqa: BLE001  for the other thread
            wrong.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = [steps_of(folder)]  # a warning is an error here
        while (len(found) < 150 or found[-1] == found[0]) and not wrong:
            found.append(steps_of(folder))
    finally:
        stop.set()
        writer.join()
    assert not wrong
    assert found[-1] > found[0]


@pytest.mark.parametrize("read", [steps_of, lambda folder: read_facts(folder)["steps"]], ids=["all", "facts"])
def test_what_is_removed_while_the_next_gets_its_name_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], int]
) -> None:
    folder, sums = generations(tmp_path / "all" / "last", 2), module._sums
    folder.rename(tmp_path / "newer")
    save_checkpoint(folder, PARTS, {"steps": 1})
    folder.rename(folder.with_name(".last.old"))

    def late(path: Path, handle: int) -> Any:
        if path.name == ".last.old" and not folder.exists():  # listed between the two renames, read after them
            (path / "facts.json").unlink()
            (tmp_path / "newer").rename(folder)
        return sums(path, handle)

    monkeypatch.setattr(module, "_sums", late)
    assert read(folder) == 2


def test_an_optimizer_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    def made() -> tuple[torch.nn.Linear, torch.optim.Adam]:
        torch.manual_seed(0)
        linear = torch.nn.Linear(3, 2)
        return linear, torch.optim.Adam(linear.parameters(), lr=0.1, eps=1e-5)

    def learn(linear: torch.nn.Linear, optimizer: torch.optim.Adam) -> None:
        optimizer.zero_grad()
        linear(torch.arange(3.0)).square().sum().backward()
        optimizer.step()

    linear, optimizer = made()
    for _ in range(3):
        learn(linear, optimizer)
    other, woken = made()
    other.load_state_dict(linear.state_dict())
    save_checkpoint(tmp_path / "last", {"optimizer": optimizer_tensors(optimizer, NAMES)}, {})
    restore_optimizer(woken, load_checkpoint(tmp_path / "last")[0]["optimizer"], NAMES)
    for _ in range(3):
        learn(linear, optimizer)
        learn(other, woken)
    assert other.weight.equal(linear.weight)
    kept, found = optimizer_tensors(optimizer, NAMES), optimizer_tensors(woken, NAMES)
    assert kept.keys() == found.keys()
    assert all(value.equal(kept[name]) for name, value in found.items())


def test_an_optimizer_is_restored_by_the_names_of_its_parameters() -> None:
    sizes, step = {"b.c": 2, "a": 1}, torch.tensor(3.0)
    tensors = {f"{name}.{entry}": torch.ones(n) for name, n in sizes.items() for entry in ("exp_avg", "exp_avg_sq")}
    tensors |= {f"{name}.step": step for name in sizes}
    parameters = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1))]
    optimizer = torch.optim.Adam(parameters)
    restore_optimizer(optimizer, tensors, ["b.c", "a"])  # in another order than when it was saved
    assert optimizer.state[parameters[0]]["exp_avg"].equal(torch.ones(2))
    assert optimizer.state[parameters[1]]["step"].item() == 3
    assert optimizer_tensors(optimizer, ["b.c", "a"]).keys() == tensors.keys()
    with pytest.raises(CheckpointError, match=r"state of 'b\.c', the agent has no such parameter"):
        restore_optimizer(optimizer, tensors, ["x", "a"])


def test_an_optimizer_of_format_1_has_numbers_for_names() -> None:
    tensors = {"0.exp_avg": torch.ones(2), "1.step": torch.tensor(3.0)}
    assert with_names(tensors, ["b.c", "a"]).keys() == {"b.c.exp_avg", "a.step"}
    with pytest.raises(CheckpointError, match="state of parameter 1, there are 1"):
        with_names(tensors, ["b.c"])


def test_only_regular_files_are_opened(checkpoint: Path, tmp_path: Path) -> None:
    path, elsewhere = checkpoint / "policy.safetensors", tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    with pytest.raises(CheckpointError, match=r"cannot read .*policy\.safetensors: it is no regular file"):
        load_checkpoint(checkpoint)
    path.unlink()
    os.mkfifo(path)  # nobody writes to it
    with pytest.raises(CheckpointError, match="it is no regular file"):
        load_checkpoint(checkpoint)
    path.unlink()
    path.mkdir()
    with pytest.raises(CheckpointError, match="it is no regular file"):
        load_checkpoint(checkpoint)
    (checkpoint / "facts.json").unlink()
    (checkpoint / "facts.json").symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match="it is no regular file"):
        read_facts(checkpoint)


def test_facts_that_were_changed_are_not_believed(checkpoint: Path) -> None:
    save_checkpoint(checkpoint, PARTS, {"steps": 8})
    (checkpoint / "facts.json").write_text('{"steps": 9}')
    with pytest.raises(CheckpointError, match=r"facts\.json is damaged"):
        read_facts(checkpoint)


def test_a_file_of_another_size_is_not_read(checkpoint: Path) -> None:
    with (checkpoint / "policy.safetensors").open("r+b") as file:
        file.truncate(2**42)  # of holes
    with pytest.raises(CheckpointError, match=r"is damaged: it has 4398046511104 bytes, the manifest says \d+"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("entry", "harm", "said"),
    [
        ("exp_avg", lambda x: x[:0], r"weight\.exp_avg must be torch\.float32 \[2, 3\], got torch\.float32 \[0, 3\]"),
        ("exp_avg_sq", lambda x: x - 1, r"weight\.exp_avg_sq must not be negative, got -1"),
        ("exp_avg_sq", lambda x: x.double(), r"weight\.exp_avg_sq must be torch\.float32 .* got torch\.float64"),
        ("step", lambda x: x * float("nan"), r"weight\.step must be finite, got nan"),
        ("step", lambda x: -x, r"weight\.step must not be negative, got -1"),
    ],
)
def test_moments_fit_their_parameters(entry: str, harm: Callable[[torch.Tensor], torch.Tensor], said: str) -> None:
    linear = torch.nn.Linear(3, 2)
    optimizer, names = torch.optim.Adam(linear.parameters(), fused=True), ["weight", "bias"]
    linear(torch.zeros(1, 3)).sum().backward()
    optimizer.step()
    tensors = optimizer_tensors(optimizer, names)
    with pytest.raises(CheckpointError, match=said):
        restore_optimizer(optimizer, tensors | {f"weight.{entry}": harm(tensors[f"weight.{entry}"])}, names)
    del tensors[f"weight.{entry}"]
    with pytest.raises(CheckpointError, match="state of weight must be step, exp_avg, exp_avg_sq"):
        restore_optimizer(optimizer, tensors, names)
