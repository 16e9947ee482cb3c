import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong.agents import CheckpointError, checkpoint as module, load_checkpoint, save_checkpoint
from lifelong.agents.checkpoint import FORMAT, optimizer_tensors, restore_optimizer

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
    with pytest.raises(CheckpointError, match=rf"last/{name} is damaged: SHA-256"):
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
        patch.setattr(module, "_write", write)
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
    assert story == ["sync"] * (files + 1) + ["rename"] * 2 + ["sync"]


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
    save_checkpoint(tmp_path / "last", {"optimizer": optimizer_tensors(optimizer)}, {})
    restore_optimizer(woken, load_checkpoint(tmp_path / "last")[0]["optimizer"])
    for _ in range(3):
        learn(linear, optimizer)
        learn(other, woken)
    assert other.weight.equal(linear.weight)
    kept, found = optimizer_tensors(optimizer), optimizer_tensors(woken)
    assert kept.keys() == found.keys()
    assert all(value.equal(kept[name]) for name, value in found.items())
