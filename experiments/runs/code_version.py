"""Version of the code that trains agents: its git hash, its own hash, and whether it changed since a run."""

import hashlib
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["changed_since", "code_hash", "git_hash", "package_version"]

_HERE = Path(__file__).resolve()
_TOP = _HERE.parents[2]  # of a clone, or of the installed package
_CODE = ("agents", "envs", "kernels", "memory", "experiments/runs", "experiments/train.py")
"""What episode rows depend on; metrics and reports are computed anew."""


@cache
def git_hash() -> str | None:
    """Return the hash of the commit that this code was checked out from; None without git."""
    tracked = _git("ls-files", "--error-unmatch", _HERE.name)  # installed, it may lie in another project's clone
    return None if tracked is None else _git("rev-parse", "HEAD")


@cache
def code_hash() -> str:
    """Return the SHA-256 of all Python files that train agents, edits that are not committed included."""
    digest = hashlib.sha256()
    for place in (_TOP / name for name in _CODE):
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(f"{path.relative_to(_TOP).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def package_version(package: str) -> str:
    """Return the version of an installed package, or `not installed`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def changed_since(origin: Mapping[str, Any]) -> bool | None:
    """Return whether the code that trains agents is another one than that of a run.

    Args:
        origin: of the run: `code_hash` and plug-ins; runs of before there was such a hash are compared by their commit.

    Returns:
        None if that cannot be told: neither hash, no git here, or a commit that this clone does not have.
    """
    if any(map(_differs, (origin.get("plug_ins") or {}).values())):
        return True
    if origin.get("code"):
        return bool(origin["code"] != code_hash())
    commit = origin.get("git")
    if not commit or git_hash() is None or _git("cat-file", "-e", f"{commit}^{{commit}}") is None:
        return None
    untracked = _git("ls-files", "--others", "--exclude-standard", "--", *_CODE, cwd=_TOP)
    return bool(untracked) or _git("diff", "--quiet", commit, "--", *_CODE, cwd=_TOP) is None


def _differs(plug_in: Mapping[str, Any]) -> bool:
    """Return whether the file of a plug-in is there and another one."""
    path = Path(plug_in.get("file") or "")
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != plug_in.get("sha256")


def _git(*words: str, cwd: Path = _HERE.parent) -> str | None:
    """Return what git says; None if it fails or is not there."""
    try:
        said = subprocess.run(["git", *words], cwd=cwd, capture_output=True, text=True, check=True)  # noqa: S603, S607
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()
