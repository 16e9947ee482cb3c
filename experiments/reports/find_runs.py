"""From words on the command line to run directories: folders, globs, or folders of runs."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

from lifelong.experiments.runs.errors import UserError

__all__ = ["find_runs", "listed"]

_MOST = 8  # names in a message


def find_runs(words: Sequence[str]) -> list[Path]:
    """Return the run directories that words name, each once.

    Args:
        words: paths of runs or of folders of runs, or patterns with `*`, `?` and `[...]`. Files among them, such as
            an earlier report that the shell found too, are left out.

    Raises:
        UserError: if a word names nothing, or a folder without runs; says what is there.
    """
    found: dict[Path, Path] = {}
    files = [word for word in words if Path(word).is_file()]
    for word in words if len(files) == len(words) else [word for word in words if word not in files]:
        for folder in _folders(word):
            for run in [folder] if _is_run(folder) else _runs_in(folder):
                found.setdefault(run.resolve(), run)
    return list(found.values())


def listed(names: Iterable[str]) -> str:
    """Return names with commas between, the first few of many; `nothing` if there are none."""
    names = list(names)
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more if names else "nothing"


def _folders(word: str) -> list[Path]:
    """Return the folders that a word names."""
    path = Path(word)
    if path.is_dir():
        return [path]
    if path.exists():
        raise UserError(f"{word} is no folder of a run")
    if matches := [Path(name) for name in sorted(glob.glob(word, recursive=True)) if Path(name).is_dir()]:  # noqa: PTH207  a pattern may be absolute
        return [match for match in matches if _is_run(match)] or matches
    parent = path.parent
    while not parent.is_dir():
        parent = parent.parent
    raise UserError(f"no run {word}: {_holds(parent)}")


def _runs_in(folder: Path) -> list[Path]:
    there = (path for path in folder.iterdir() if not path.name.startswith("."))  # such is a run that is being made
    if runs := sorted(path for path in there if path.is_dir() and _is_run(path)):
        return runs
    raise UserError(f"no run in {folder}: {_holds(folder)}")


def _is_run(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _holds(folder: Path) -> str:
    return f"{folder} holds {listed(sorted(path.name for path in folder.iterdir()))}"
