"""What a result came of: the code of the memory, of the trial around it, and versions.

A result is reused only while all of it is as it was. The code of a memory is every module that its parts are defined
in, and what these import of the memories, the kernels, their own package, or the folder that they stand in, without
comments and docstrings.
"""

import ast
import hashlib
import json
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from lifelong.agents.backbone import Backbone
from lifelong.memory.registry import known_memories

__all__ = ["changes", "code", "provenance"]

_TRIAL = ("lifelong.agents.backbone", *(f"{__package__}.{name}" for name in ("equal_size", "sequences", "trial")))
_FOLLOWED = ("lifelong.kernels", "lifelong.memory")
_NAMES = ("lifelong.memory", "lifelong.memory.registry")  # tables: another memory in them changes none
_PACKAGES = ("torch", "numpy", "numba", "tensordict", "triton")


def provenance(name: str, backbone: Backbone, options: Mapping[str, Any]) -> dict[str, str]:
    """Return what results of a memory come of, by kind.

    Args:
        name: of the memory.
        backbone: in which it is trained.
        options: that it was made with.
    """
    entry = known_memories().get(name)
    settings = {**(entry.options if entry else {}), **options}
    made = {"memory": code(_modules(backbone.memories)), "trial": code(_TRIAL), "options": json.dumps(settings)}
    return made | {"python": platform.python_version()} | {package: _version(package) for package in _PACKAGES}


def changes(name: str, before: Mapping[str, str] | None, now: Mapping[str, str]) -> str:
    """Return in words what changed since a result of a memory; empty if nothing did."""
    if before is None:
        return f"what {name} was run with is not known"
    said = {
        "memory": f"the code of {name} changed",
        "trial": "the code of the benchmark changed",
        "options": f"the options of {name} changed from {before.get('options')} to {now['options']}",
    }
    differ = [kind for kind, value in now.items() if before.get(kind) != value]
    return ", ".join(said.get(kind, f"{kind} changed from {before.get(kind)} to {now[kind]}") for kind in differ)


def code(modules: Iterable[str]) -> str:
    """Return a hash of the code of modules, and of all of ours that they import, directly or not."""
    todo, files = [*modules], dict[str, Path]()
    plug_ins = {module.partition(".")[0] for module in todo} - {"lifelong"}
    folders = {_place(module) for module in plug_ins}
    while todo:
        module = todo.pop()
        path = None if module in files else _file(module)
        if path is not None:
            files[module] = path
            todo += [found for found in _imports(module, path) if _is_followed(found, plug_ins, folders)]
    digest = hashlib.sha256()
    for module in sorted(files):
        digest.update(f"{module}\n{_bare(files[module])}\n".encode())
    return digest.hexdigest()


def _modules(memories: nn.Module) -> set[str]:
    """Return the modules that the classes of all parts are defined in, but for torch's and Python's own."""
    found = {kind.__module__ for part in memories.modules() for kind in type(part).__mro__}
    return {module for module in found if module.partition(".")[0] not in {"torch", *sys.stdlib_module_names}}


def _is_followed(module: str, plug_ins: set[str], folders: set[Path | None]) -> bool:
    top = module.partition(".")[0]
    if top == "lifelong":
        ours = any(module == package or module.startswith(f"{package}.") for package in _FOLLOWED)
        return ours and module not in _NAMES
    place = _place(top)
    return top in plug_ins or (place in folders and place is not None and place.name != "site-packages")


def _place(top: str) -> Path | None:
    """Return the folder that a top-level module or package stands in."""
    path = _file(top)
    return path and (path.parent.parent if path.name == "__init__.py" else path.parent)


def _file(module: str) -> Path | None:
    """Return the Python file of a module, which is not imported for it; None if it has none."""
    top, *rest = module.split(".")
    spec = find_spec(top) if top not in ("", "__main__") else None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        base = Path(folder).joinpath(*rest)
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
    return None


def _imports(module: str, path: Path) -> Iterator[str]:
    """Yield the names that may be modules among what a file imports, inside functions too."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _bare(path: Path) -> str:
    """Return the code of a file without comments and docstrings."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = node.body[1:] if ast.get_docstring(node) else node.body
    return ast.dump(tree)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
