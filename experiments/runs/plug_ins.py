"""Which code of others a run was made with: the source file and the distribution of every plug-in memory."""

import hashlib
import inspect
from importlib.metadata import PackageNotFoundError, entry_points, packages_distributions, version
from pathlib import Path

from torch import nn

from lifelong.memory import Memory

__all__ = ["plug_in_memories"]

_OURS = __name__.partition(".")[0]


def plug_in_memories(agent: nn.Module) -> dict[str, dict[str, str | None]]:
    """Return where the memories in an agent come from that are not this package's, by `module:Class`.

    Args:
        agent: whatever holds them, at any depth.

    Returns:
        `file`, and `sha256` of its bytes, without what it imports; `distribution` and its `version`. None if unknown.
    """
    classes = {type(module) for module in agent.modules() if isinstance(module, Memory)}
    return {
        f"{kind.__module__}:{kind.__qualname__}": _source(kind) | _distribution(kind)
        for kind in sorted(classes, key=lambda kind: (kind.__module__, kind.__qualname__))
        if kind.__module__.partition(".")[0] != _OURS
    }


def _source(kind: type) -> dict[str, str | None]:
    try:
        path = Path(inspect.getfile(kind)).resolve()
        return {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    except (OSError, TypeError):  # defined where there is no file, such as in an interactive session
        return {"file": None, "sha256": None}


def _distribution(kind: type) -> dict[str, str | None]:
    """Return the distribution whose entry point leads to a class's package, else one that installs the package."""
    package = kind.__module__.partition(".")[0]
    points = [point for point in entry_points(group="lifelong.memories") if point.module.partition(".")[0] == package]
    names = [point.dist.name for point in points if point.dist] or packages_distributions().get(package, [])
    try:
        return {"distribution": names[0], "version": version(names[0])}
    except (IndexError, PackageNotFoundError):
        return {"distribution": None, "version": None}
