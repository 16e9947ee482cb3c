"""Provenance of a result: hashes of the code of the memory and of the trial, options, and versions.

A result is reused only if its provenance is unchanged. The code of a memory is the modules that define its classes, and
what they import, directly or not, from the memories, the kernels, their own package or their own folder; comments and
docstrings do not count.
"""

import ast
import hashlib
import json
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from lifelong.agents.backbone import Backbone
from lifelong.experiments.runs.code_version import package_version
from lifelong.memory.registry import known_memories

__all__ = ["changes", "code", "provenance"]

_TRIAL = ("lifelong.agents.backbone", *(f"{__package__}.{name}" for name in ("equal_size", "sequences", "trial")))
_FOLLOWED = ("lifelong.kernels", "lifelong.memory")
_NAMES = ("lifelong.memory", "lifelong.memory.registry")  # tables of names: a new entry changes no memory
_PACKAGES = ("torch", "numpy", "numba", "tensordict", "triton")


def provenance(name: str, backbone: Backbone, options: Mapping[str, Any]) -> dict[str, str]:
    """Return the provenance of a memory's results, by kind.

    Args:
        name: of the memory.
        backbone: that contains it.
        options: of the memory.
    """
    entry = known_memories().get(name)
    settings = {**(entry.options if entry else {}), **options}
    made = {"memory": code(_modules(backbone.memories)), "trial": code(_TRIAL), "options": json.dumps(settings)}
    return made | {"python": platform.python_version()} | {package: package_version(package) for package in _PACKAGES}


def changes(name: str, before: Mapping[str, str] | None, now: Mapping[str, str]) -> str:
    """Return what changed since a result, in words; empty if nothing did."""
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
    """Return a hash of the code of modules and of what they import, directly or not."""
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
    """Return the modules that define the classes of all submodules, without torch and the standard library."""
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
    """Return the folder that contains a top-level module or package."""
    path = _file(top)
    return path and (path.parent.parent if path.name == "__init__.py" else path.parent)


def _file(module: str) -> Path | None:
    """Return the Python file of a module without importing it; None if it has none."""
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
    """Yield the imported names of a file that may be modules, imports inside functions included."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _bare(path: Path) -> str:
    """Return the syntax tree of a file as text, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = node.body[1:] if ast.get_docstring(node) else node.body
    return ast.dump(tree)
