"""Save and load checkpoints: directories of safetensors and JSON, without executable content.

    checkpoint/manifest.json        format version, SHA-256 and size of every file
    checkpoint/<part>.safetensors   one for each part, tensors by name
    checkpoint/facts.json           everything that is no tensor

| directory | what it is |
| --- | --- |
| .NAME.new | the checkpoint that is being written; once it is whole it is renamed to NAME |
| NAME | the last one |
| previous, previous-2, ... | those before it, as many as are kept |
| .NAME.old | the one that is no longer kept and is being removed |
| damaged | a newer one that could not be used when the run went on; it is never read |

Files are on the disk before their directory gets its name, and the new directory is before an older one is renamed or
removed: whenever the process is killed or the power fails, one of them is whole. Reading tries them in this order,
checks every sum before anything is used, and takes the first that is whole. A directory that is renamed while it is
read is read to its end all the same, and one that is removed meanwhile is no damage: all are tried again.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Required, TypedDict

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lifelong.agents.durable import sync_folder, write_synced, writing
from lifelong.agents.muon import Muon
from lifelong.agents.regular_files import open_regular
from lifelong.agents.saved_tensors import refuse_not_finite
from lifelong.schema import SchemaError, Within, read_fields, shown
from lifelong.tables import TableError, parse_json

__all__ = [
    "FORMAT",
    "Checkpoint",
    "CheckpointError",
    "find_checkpoint",
    "has_checkpoint",
    "load_checkpoint",
    "read_facts",
    "save_checkpoint",
    "set_damaged_aside",
]

FORMAT = 2
"""Version of the layout above; a reader refuses a newer one. In 1 an optimiser's state had numbers for names."""

_Sums = dict[str, tuple[str, int | None]]

_LARGEST = 2**30  # bytes of a file whose size no manifest tells


class _File(TypedDict, total=False):
    sha256: Required[str]
    bytes: Annotated[int, Within(0)]


class _Manifest(TypedDict):
    format: Annotated[int, Within(1)]
    files: dict[str, _File]


_TRIES = 100  # directories that are replaced faster than they are read


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the file and the reason."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Content of a checkpoint, and where it was found.

    Args:
        folder: the directory that was read.
        parts: tensors by name, for each part.
        facts: everything that is no tensor.
        damaged: why newer directories were not used, one sentence for each.
    """

    folder: Path
    parts: dict[str, dict[str, Tensor]]
    facts: dict[str, Any]
    damaged: tuple[str, ...] = ()

    def sentence(self) -> str:
        """Return why newer ones were not used, and which was."""
        step = f" of step {self.facts['steps']:,}" if "steps" in self.facts else ""
        return f"{'; '.join(self.damaged)}: {self.folder}{step} is used in its place"


def save_checkpoint(folder: Path, parts: dict[str, dict[str, Tensor]], facts: dict[str, Any], *, keep: int = 1) -> None:
    """Write a checkpoint; the one that was there becomes the previous one.

    Args:
        folder: the checkpoint's own directory.
        parts: tensors by name, for each part.
        facts: JSON-serialisable values.
        keep: checkpoints to keep, this one among them; older ones are removed.

    Raises:
        ValueError: if `keep` is not positive.
        WriteError: if it cannot be written; those that were there stay.
    """
    if keep < 1:
        raise ValueError(f"keep must be positive: keep={keep}")
    with writing(folder):
        _save(folder, parts, facts, keep)


def _save(folder: Path, parts: dict[str, dict[str, Tensor]], facts: dict[str, Any], keep: int) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _settle(folder, keep)
    fresh = _fresh(folder)
    fresh.mkdir()
    files = {
        f"{name}.safetensors": save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()})
        for name, tensors in parts.items()
    }
    files["facts.json"] = json.dumps(facts, indent=1).encode()
    sums = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in files.items()}
    files["manifest.json"] = json.dumps({"format": FORMAT, "files": sums}, indent=1).encode()
    for name, data in files.items():
        write_synced(fresh / name, data)
    sync_folder(fresh)
    _rotate(folder, keep)


def load_checkpoint(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Read the newest whole checkpoint; a warning names newer ones that are damaged, and which was used.

    Args:
        folder: the checkpoint's own directory.

    Returns:
        The parts and the facts given to `save_checkpoint`.

    Raises:
        CheckpointError: if there is none in which no file is missing, changed, or of a newer format.
    """
    found = find_checkpoint(folder)
    if found.damaged:
        warnings.warn(found.sentence(), stacklevel=2)
    return found.parts, found.facts


def find_checkpoint(folder: Path) -> Checkpoint:
    """Return the newest whole checkpoint.

    Args:
        folder: the checkpoint's own directory; those beside it are tried, too.

    Raises:
        CheckpointError: if there is none.
    """
    found, damaged = None, list[str]()
    for _ in range(_TRIES):
        listed, damaged, found = _listing(folder), [], None
        for path in listed:
            try:
                with _directory(path) as handle:
                    parts, facts = _read_whole(path, handle)
            except (OSError, CheckpointError) as error:
                if path == _fresh(folder):  # it is being written, or its writer was killed
                    continue
                damaged.append(f"cannot read {path}: {error.strerror}" if isinstance(error, OSError) else str(error))
            else:
                found = Checkpoint(path, parts, facts, tuple(damaged))
                break
        if found and not damaged:
            return found
        if _same(folder, listed, _listing(folder)):
            break
    if not found:
        missing = f"cannot read {folder / 'manifest.json'}: No such file or directory"
        raise CheckpointError("; ".join(damaged) or missing)
    return found


def set_damaged_aside(folder: Path, used: Path) -> None:
    """Rename the checkpoint that was used to the last, and newer ones, which are damaged, to `damaged`.

    Args:
        folder: the checkpoint's own directory.
        used: the directory that `find_checkpoint` found.
    """
    if used in (folder, _fresh(folder)):
        return
    for path in _listing(folder):
        if path == used:
            break
        if path != _fresh(folder):
            aside = folder.with_name("damaged")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
    used.rename(folder)
    sync_folder(folder.parent)


def has_checkpoint(folder: Path) -> bool:
    """Return whether a checkpoint was ever written whole, be it damaged since.

    Args:
        folder: the checkpoint's own directory.
    """
    return any(path != _fresh(folder) for path in _listing(folder)) or _is_whole(_fresh(folder))


def read_facts(folder: Path) -> dict[str, Any]:
    """Return the facts of the last checkpoint that has whole ones; its tensors are neither read nor checked.

    Args:
        folder: the checkpoint's own directory.

    Raises:
        CheckpointError: if there are none that can be read.
    """
    wrong = ""
    for _ in range(_TRIES):
        listed, wrong = _listing(folder), f"cannot read {folder / 'facts.json'}: No such file or directory"
        for path in listed:
            if path == _fresh(folder):
                continue
            try:
                with _directory(path) as handle:
                    data = _read_summed(path, handle, "facts.json", _sums(path, handle))
                    return _table(data, path / "facts.json", "table of facts")
            except OSError as error:
                wrong = f"cannot read {path / 'facts.json'}: {error.strerror}"
            except CheckpointError as error:
                wrong = str(error)
        if _same(folder, listed, _listing(folder)):
            break
    raise CheckpointError(wrong)


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Sequence[str]) -> dict[str, Tensor]:
    """Return the optimiser's state of each parameter, by `<name of the parameter>.<entry>`.

    Args:
        optimizer: of one module's parameters.
        names: of these parameters, in the module's order.
    """
    state = optimizer.state_dict()["state"]
    return {f"{names[i]}.{entry}": torch.as_tensor(x) for i, entries in state.items() for entry, x in entries.items()}


_OF_ADAM, _OF_MUON = ("step", "exp_avg", "exp_avg_sq"), ("momentum_buffer",)
"""Entries of an optimiser's state of one parameter."""


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], names: Sequence[str]) -> None:
    """Load the state that `optimizer_tensors` returned into an optimiser, whatever the order of its parameters.

    Args:
        optimizer: of one module's parameters.
        tensors: also those of format 1.
        names: of these parameters, in the module's order.

    Raises:
        CheckpointError: if there is state of a parameter that the module does not have, or state that does not fit its
            parameter: fused steps write wherever the parameter is.
    """
    parameters = [x for group in optimizer.param_groups for x in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    numbers = {name: number for number, name in enumerate(names)}
    for key, tensor in with_names(tensors, names).items():
        name, _, entry = key.rpartition(".")
        if name not in numbers:
            raise CheckpointError(f"the optimiser has state of {name!r}, the agent has no such parameter")
        state.setdefault(numbers[name], {})[entry] = tensor
    for number, entries in state.items():
        by_muon = isinstance(optimizer, Muon) and id(parameters[number]) in optimizer.matrices
        _check_moments(names[number], entries, parameters[number], _OF_MUON if by_muon else _OF_ADAM)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _check_moments(name: str, entries: Mapping[str, Tensor], parameter: Tensor, wanted: Sequence[str]) -> None:
    """Validate the state of an optimiser for one parameter.

    Raises:
        CheckpointError: if an entry is missing or unknown, has another dtype or shape than the parameter, or is not
            finite; if squares or steps are negative.
    """
    if entries.keys() != set(wanted):
        raise CheckpointError(f"the optimiser's state of {name} must be {', '.join(wanted)}: {sorted(entries)}")
    for entry, tensor in entries.items():
        dtype, shape = (torch.float32, []) if entry == "step" else (parameter.dtype, list(parameter.shape))
        if tensor.dtype != dtype or list(tensor.shape) != shape:
            raise CheckpointError(
                f"the optimiser's {name}.{entry} must be {dtype} {shape}, got {tensor.dtype} {list(tensor.shape)}"
            )
        try:
            refuse_not_finite(f"the optimiser's {name}.{entry}", tensor)
        except ValueError as error:
            raise CheckpointError(str(error)) from error
        if entry in ("step", "exp_avg_sq") and tensor.numel() and tensor.min().item() < 0:
            raise CheckpointError(f"the optimiser's {name}.{entry} must not be negative, got {tensor.min().item()}")


def with_names(tensors: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """Return an optimiser's state by names of parameters, where it may be that of format 1, by their numbers.

    Args:
        tensors: by `<parameter>.<entry>`.
        names: of the parameters by number.

    Raises:
        CheckpointError: if there is state of a parameter that is not there.
    """
    named: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        parameter, _, entry = key.rpartition(".")
        if parameter.isdecimal():
            if int(parameter) >= len(names):
                raise CheckpointError(f"the optimiser has state of parameter {parameter}, there are {len(names)}")
            parameter = names[int(parameter)]
        named[f"{parameter}.{entry}"] = tensor
    return named


def _fresh(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.new")


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _generation(folder: Path, number: int) -> Path:
    """Return the directory of the checkpoint `number` before the last."""
    return folder if not number else folder.with_name("previous" if number == 1 else f"previous-{number}")


def _numbers(folder: Path) -> list[int]:
    """Return the numbers that directories before the last may have, the newest first."""
    older = (path.name.removeprefix("previous-") for path in folder.parent.glob("previous-*"))
    return sorted({0, 1, *(int(number) for number in older if number.isdecimal())})


def _generations(folder: Path) -> dict[int, Path]:
    """Return the directories that are there by how many checkpoints before the last they are, the newest first."""
    paths = {number: _generation(folder, number) for number in _numbers(folder)}
    return {number: path for number, path in paths.items() if path.is_dir()}


def _listing(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return inode and time of change of each directory that may hold a checkpoint, the newest first.

    They are looked at in the order in which a writer renames them, so that none is missed on its way.
    """
    listed: dict[Path, tuple[int, int]] = {}

    for path in (_fresh(folder), *(_generation(folder, number) for number in _numbers(folder)), _old(folder)):
        with suppress(FileNotFoundError):  # renamed or removed between the two
            if path.is_dir():
                found = path.stat()
                listed[path] = found.st_ino, found.st_mtime_ns
    return listed


def _same(folder: Path, one: dict[Path, tuple[int, int]], other: dict[Path, tuple[int, int]]) -> bool:
    """Return whether nothing but the checkpoint that is being written changed between two listings."""
    fresh = {_fresh(folder): None}
    return one | fresh == other | fresh


def _rotate(folder: Path, keep: int) -> None:
    """Give the checkpoint that has been written its name, and those before it the next."""
    sync_folder(folder.parent)  # it is there before any other is renamed
    old, generations = _old(folder), _generations(folder)
    shutil.rmtree(old, ignore_errors=True)
    for number in sorted((number for number in generations if number >= keep), reverse=True):
        shutil.rmtree(generations[number])
    gap = next(number for number in range(keep + 1) if number not in generations or number == keep)
    if gap == keep:
        gap -= 1
        generations[gap].rename(old)
    for number in range(gap - 1, -1, -1):
        generations[number].rename(_generation(folder, number + 1))
    _fresh(folder).rename(folder)
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _settle(folder: Path, keep: int) -> None:
    """Finish what a killed process began, so that a whole checkpoint is never removed for one that is not written."""
    fresh, old = _fresh(folder), _old(folder)
    if _is_whole(fresh):
        _rotate(folder, keep)
    shutil.rmtree(fresh, ignore_errors=True)
    if not _generations(folder) and old.exists():
        old.rename(folder)


def _is_whole(path: Path) -> bool:
    try:
        with _directory(path) as handle:
            _read_whole(path, handle)
    except (OSError, CheckpointError):
        return False
    return True


def _read_whole(path: Path, handle: int) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Return parts and facts of a directory that is open, whatever its name is by now."""
    sums = _sums(path, handle)
    parts: dict[str, dict[str, Tensor]] = {}
    facts: dict[str, Any] = {}
    for name in sums:
        data = _read_summed(path, handle, name, sums)
        if name == "facts.json":
            facts = _table(data, path / name, "table of facts")
        else:
            try:
                parts[name.removesuffix(".safetensors")] = load(data)
            except SafetensorError as error:
                raise CheckpointError(f"{path / name} is no safetensors file: {error}") from error
    return parts, facts


def _sums(path: Path, handle: int) -> _Sums:
    """Return what the manifest of a directory says of its files, by their names: SHA-256 and size."""
    content = _table(_read(path, handle, "manifest.json"), path / "manifest.json", "manifest")
    if type(version := content.get("format")) is int and version > FORMAT:
        raise CheckpointError(
            f"{path / 'manifest.json'} has format {shown(version)}, this version reads up to {FORMAT}: upgrade "
            "lifelong-rl"
        )
    try:
        manifest = read_fields(_Manifest, content)
    except SchemaError as error:
        raise CheckpointError(f"{path / 'manifest.json'} is no manifest: {error}") from error
    return {Path(name).name: (entry["sha256"], entry.get("bytes")) for name, entry in manifest["files"].items()}


def _read_summed(path: Path, handle: int, name: str, sums: _Sums) -> bytes:
    """Return the content of a file that is as the manifest says."""
    if name not in sums:
        raise CheckpointError(f"{path / 'manifest.json'} does not name {name}")
    wanted, size = sums[name]
    data = _read(path, handle, name, size)
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        raise CheckpointError(f"{path / name} is damaged: SHA-256 {found}, the manifest says {wanted}")
    return data


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    """Keep a directory open: its files can be read however it is renamed."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield handle
    finally:
        os.close(handle)


def _read(path: Path, handle: int, name: str, size: Any = None) -> bytes:
    """Return the content of a regular file of a directory that is open, of so many bytes; None: of a few."""
    try:
        with os.fdopen(open_regular(name, handle), "rb") as file:
            found = os.fstat(file.fileno()).st_size
            if size is not None and found != size:
                raise CheckpointError(f"{path / name} is damaged: it has {found} bytes, the manifest says {size}")
            if size is None and found > _LARGEST:
                raise CheckpointError(f"{path / name} has {found} bytes, at most {_LARGEST} are read")
            return file.read()
    except OSError as error:
        raise CheckpointError(f"cannot read {path / name}: {error.strerror}") from error


def _table(data: bytes, path: Path, what: str) -> dict[str, Any]:
    try:
        content = parse_json(data)
    except TableError as error:
        raise CheckpointError(f"{path} {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is no {what}: it must be a table, got {shown(content)}")
    return content
