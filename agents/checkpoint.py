"""Save and load checkpoints: directories of safetensors and JSON, without executable content.

    checkpoint/manifest.json        format version, SHA-256 and size of every file
    checkpoint/<part>.safetensors   one for each part, tensors by name
    checkpoint/facts.json           everything that is no tensor

It is written under a temporary name, flushed to the disk, and then renamed: at any moment there is either the old
checkpoint or the new one, whole. Reading checks every sum before anything is used.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

__all__ = ["FORMAT", "CheckpointError", "load_checkpoint", "save_checkpoint"]

FORMAT = 1
"""Version of the layout above; a reader refuses a newer one."""


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the file and the reason."""


def save_checkpoint(folder: Path, parts: dict[str, dict[str, Tensor]], facts: dict[str, Any]) -> None:
    """Write a checkpoint, replacing the one that was there.

    Args:
        folder: the checkpoint's own directory.
        parts: tensors by name, for each part.
        facts: JSON-serialisable values.
    """
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    files = {
        f"{name}.safetensors": save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()})
        for name, tensors in parts.items()
    }
    files["facts.json"] = json.dumps(facts, indent=1).encode()
    sums = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in files.items()}
    files["manifest.json"] = json.dumps({"format": FORMAT, "files": sums}, indent=1).encode()
    for name, data in files.items():
        _write(fresh / name, data)
    _sync(fresh)
    if folder.exists():
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old)
    else:
        fresh.rename(folder)
    _sync(folder.parent)


def load_checkpoint(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Read a checkpoint.

    Args:
        folder: the checkpoint's own directory.

    Returns:
        The parts and the facts given to `save_checkpoint`.

    Raises:
        CheckpointError: if a file is missing, changed, or of a newer format.
    """
    kept = folder.with_name(f".{folder.name}.old")
    if not folder.exists() and kept.exists():  # killed between two renames
        folder = kept
    path = folder / "manifest.json"
    manifest = _json(_read(path), path)
    try:
        version, files = int(manifest["format"]), manifest.get("files", {})
        sums = {Path(name).name: entry["sha256"] for name, entry in files.items()} if version <= FORMAT else {}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is no manifest: {error!r}") from error
    if version > FORMAT:
        raise CheckpointError(f"{path} has format {version}, this version reads up to {FORMAT}: upgrade lifelong-rl")
    parts: dict[str, dict[str, Tensor]] = {}
    facts: dict[str, Any] = {}
    for name, wanted in sums.items():
        data = _read(folder / name)
        found = hashlib.sha256(data).hexdigest()
        if found != wanted:
            raise CheckpointError(f"{folder / name} is damaged: SHA-256 {found}, the manifest says {wanted}")
        if name == "facts.json":
            facts = _json(data, folder / name)
        else:
            try:
                parts[name.removesuffix(".safetensors")] = load(data)
            except SafetensorError as error:
                raise CheckpointError(f"{folder / name} is no safetensors file: {error}") from error
    return parts, facts


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state of each parameter, by `<parameter>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": torch.as_tensor(value) for i, entry in state.items() for name, value in entry.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Load the state that `optimizer_tensors` returned into an optimiser."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def _json(data: bytes, path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(data)
    except ValueError as error:
        raise CheckpointError(f"{path} is no JSON: {error}") from error
    return content
