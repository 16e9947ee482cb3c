"""Code of others that names lead to: what a file may name, and where modules may be imported from.

| who names it | what is imported |
| --- | --- |
| a person, on the command line or in a program | whatever it is |
| a file: `config.json` of a run, a stream file, a study | what is registered: by this package, by installed ones |
| a file that is trusted: `--trust`, `trust=True` | whatever it is |

No module is imported that lies inside a run's folder, or in the folder `runs` of the working directory, whoever names
it.
"""

import json
import os
import sys
from collections.abc import Collection, Iterator
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["Trust", "foreign", "is_foreign", "leave_run_folders", "make_importable", "refusal"]

Trust = bool | Collection[str]
"""Whether code of others that a file names may be imported; or the names for which it may."""

_OURS = __name__.partition(".")[0]
_LONGEST = 60  # characters of a name in a message


def is_foreign(name: str) -> bool:
    """Return whether a name is `module:attribute` of a module that is not of this package."""
    module, colon, _ = name.partition(":")
    return bool(colon) and module.partition(".")[0] != _OURS


def foreign(value: Any) -> Iterator[str]:
    """Yield the foreign texts in a value of JSON, at any depth: a setting with a colon may be what is imported."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list | tuple):
            waiting += one
        elif isinstance(one, str) and is_foreign(one):
            yield one


def refusal(kind: str, name: str) -> str:
    """Return why a name in a file is refused, and the remedy, as a sentence.

    Args:
        kind: of what it names: "memory".
        name: `module:attribute`.
    """
    shown = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."
    return (
        f"{kind} {shown!r} is neither registered nor of an installed package, so its code would run: --trust, "
        "in Python trust=True, allows it"
    )


def make_importable(module: str) -> None:
    """Check where a module would be imported from, before any of it or of its packages runs.

    One that is only in the working directory becomes importable: that is added to the end of `sys.path`.

    Args:
        module: dotted name.

    Raises:
        ImportError: if it lies inside the folder of a run.
    """
    if module in sys.modules:
        return
    first, *rest = module.split(".")
    here = None if first in sys.modules or find_spec(first) is not None else [str(Path.cwd())]
    found = PathFinder.find_spec(first, here)
    for name in [*rest, ""]:
        if found is None:
            return
        inside = list(found.submodule_search_locations or ())
        for place in [*([found.origin] if found.has_location and found.origin else []), *inside]:
            if run := _run_around(Path(place)):
                raise ImportError(f"{module} lies inside the folder of a run, {run}, where no code is imported from")
        found = PathFinder.find_spec(name, inside) if name and inside else None
    if here is not None:
        sys.path += here


def leave_run_folders() -> None:
    """Remove folders of runs, and what is inside them, from `sys.path`."""
    here = Path.cwd()
    sys.path[:] = [entry for entry in sys.path if not any(map(_is_run, [here / entry, *(here / entry).parents]))]


def _run_around(place: Path) -> Path | None:
    """Return the folder of a run, or of runs, in which a file or folder is; None if it is in none."""
    of_runs = Path.cwd() / "runs"
    for path in (Path(os.path.abspath(place)), place.resolve()):  # noqa: PTH100  links are not followed
        for folder in (path, *path.parents):
            if folder in (of_runs, of_runs.resolve()) or _is_run(folder):
                return folder
    return None


def _is_run(folder: Path) -> bool:
    path = folder / "config.json"
    if not path.is_file():
        return False
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"format", "config"} <= content.keys()
