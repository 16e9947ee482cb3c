"""The repository's shape: one link per folder, every folder shipped, imports only downwards, one idea per file."""

import ast
import importlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("agents", "envs", "experiments", "kernels", "memory")
NAMES = {
    "one_line",
    "registry",
    "schema",
    "tables",
    "trust",
}  # the lowest floor; `kernels` needs nothing but torch, triton and numba
LOOPS = {"compiled_cache"}  # `envs` and `kernels` never meet: what both know of compiled loops
SPACES = {
    "action_spaces",
    "hashed_words",
    "mask_entry",
    "readable",
}  # `envs` and `agents` never meet: what both know of spaces
MAY_IMPORT = {
    "kernels": LOOPS,
    "memory": {"kernels"} | NAMES,
    "envs": NAMES | SPACES | LOOPS,
    "agents": {"memory", "kernels"} | NAMES | SPACES,
    "experiments": {"agents", "envs", "memory", "kernels"} | NAMES | SPACES,
}
MUST_NOT_IMPORT = {  # other people's packages that a floor does without
    "kernels": {"gymnasium", "minigrid", "tensordict", "torchrl"},
    "memory": {"gymnasium", "minigrid"},
    "envs": {"tensordict", "torch", "torchrl", "triton"},
    "agents": {"minigrid"},
    "experiments": set(),
}
SAYS_NOTHING = {"common", "core", "helper", "helpers", "misc", "util", "utils"}
FILES = {f: sorted((ROOT / f).rglob("*.py")) for f in FOLDERS}
LIBRARY = [path for folder in FOLDERS for path in FILES[folder]]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of every absolute import; a relative one stays inside its folder (ruff TID252)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def module_graph() -> dict[str, set[str]]:
    """Return what every module imports of ours: at the top, inside functions, and for type checkers only."""
    sources = [*LIBRARY, *(ROOT / "src" / "lifelong").glob("*.py")]
    names = {}
    for path in sources:
        parts = path.relative_to(ROOT / "src" if "src" in path.relative_to(ROOT).parts else ROOT).with_suffix("").parts
        parts = parts if parts[0] == "lifelong" else ("lifelong", *parts)
        names[".".join(parts).removesuffix(".__init__")] = path
    graph: dict[str, set[str]] = {name: set() for name in names}
    for module, path in names.items():
        package = module.split(".") if path.stem == "__init__" else module.split(".")[:-1]
        for node in ast.walk(ast.parse(path.read_text())):
            wanted = []
            if isinstance(node, ast.Import):
                wanted = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else []
                wanted = [".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names]
            for name in wanted:
                while name and name not in names:
                    name = name.rpartition(".")[0]
                if name and name != module:
                    graph[module].add(name)
    return graph


def run_python(code: str, cwd: Path) -> None:
    """Run code in a fresh interpreter that finds what this one finds."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
    result = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("folder", FOLDERS)
def test_folder_is_linked_and_shipped(folder: str) -> None:
    link = ROOT / "src" / "lifelong" / folder
    assert link.is_symlink(), f"ln -s ../../{folder} src/lifelong/{folder}"
    assert link.resolve() == ROOT / folder, f"ln -s ../../{folder} src/lifelong/{folder}"
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert folder in wheel["only-include"]
    assert wheel["sources"][folder] == f"lifelong/{folder}"


def test_modules_of_the_lowest_floor_are_shipped() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    there = {f"src/lifelong/{path.name}" for path in (ROOT / "src" / "lifelong").iterdir() if path.is_file()}
    assert there <= set(wheel["only-include"])


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_point_down(folder: str) -> None:
    for path in FILES[folder]:
        for line, name in imported(path):
            head, _, rest = name.partition(".")
            target = rest.split(".")[0]
            where = f"{relative(path)}:{line}"
            assert head not in FOLDERS, f"{where} imports bare {name}; write lifelong.{name}"
            assert head != "tests", f"{where} imports tests"
            assert head not in MUST_NOT_IMPORT[folder], f"{where} {folder} may not import {head}"
            if head == "lifelong" and target != folder:
                assert target in MAY_IMPORT[folder], f"{where} {folder} may not import {name}"


def test_no_circles_not_even_inside_functions_or_for_types() -> None:
    with_nothing_below = {module: set(below) for module, below in module_graph().items()}
    while free := [module for module, below in with_nothing_below.items() if not below]:
        with_nothing_below = {m: below - set(free) for m, below in with_nothing_below.items() if m not in free}
    assert not with_nothing_below, f"in or above a circle: {with_nothing_below}"


def test_a_circle_would_be_found() -> None:
    graph = module_graph()
    assert "lifelong.memory.registry" in graph["lifelong.memory"], "package to module"
    assert "lifelong.kernels.fast_weight.turns" in graph["lifelong.kernels.fast_weight.cpu"], "relative imports"
    assert "lifelong.memory.memory" in graph["lifelong.memory.registry"], "imports for type checkers only"


@pytest.mark.parametrize("folder", FOLDERS)
def test_entry_points_into_a_folder_are_short(folder: str) -> None:
    for path in FILES[folder]:
        if path.stem == "__init__":
            lines = len(path.read_text().splitlines())
            assert lines <= 120, f"{relative(path)} has {lines} lines: tables belong in a registry"


def test_a_memory_is_120_lines() -> None:
    longer = {"memory/bayesian/palimpsa.py": 149}  # four forms of one posterior, which share all but a line or two
    for path in (ROOT / "memory").glob("*/*.py"):
        lines, name = len(path.read_text().splitlines()), relative(path)
        assert lines <= longer.get(name, 120), f"{name} has {lines} lines: a kernel or a base is missing"


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder != "kernels"])
def test_kernels_choose_their_back_ends_themselves(folder: str) -> None:
    back_ends = {"reference", "chunk", "cpu", "triton_step", "triton_chunk"}
    for path in FILES[folder]:
        for line, name in imported(path):
            if name.startswith("lifelong.kernels."):
                assert not back_ends & set(name.split(".")), f"{relative(path)}:{line} imports {name}; call the kernel"


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_is_a_package(folder: str) -> None:
    for path in FILES[folder]:
        assert (path.parent / "__init__.py").is_file(), f"{relative(path.parent)} has no __init__.py"


def test_names_say_what_is_inside() -> None:
    for path in [*LIBRARY, *(ROOT / "tests").rglob("*.py")]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        assert not SAYS_NOTHING & set(parts), f"{relative(path)}: name the idea"


def test_no_star_imports() -> None:
    for path in LIBRARY:
        for line, name in imported(path):
            assert not name.endswith(".*"), f"{relative(path)}:{line} imports {name}"


def test_every_file_says_what_it_is() -> None:
    for path in [*LIBRARY, ROOT / "src" / "lifelong" / "__init__.py"]:
        assert ast.get_docstring(ast.parse(path.read_text())), f"{relative(path)} has no docstring"


def test_every_memory_names_its_source() -> None:
    modules = {path: ast.parse(path.read_text()) for path in FILES["memory"]}
    bases = {  # class -> (its file, names of the classes it extends)
        node.name: (path, {ast.unparse(base).rpartition(".")[2] for base in node.bases})
        for path, module in modules.items()
        for node in module.body
        if isinstance(node, ast.ClassDef)
    }
    memories = {"Memory"}
    while more := {name for name, (_, parents) in bases.items() if parents & memories} - memories:
        memories |= more
    for path in {bases[name][0] for name in memories - {"Memory"}}:
        docstring = ast.get_docstring(modules[path]) or ""
        lines = docstring.splitlines()
        assert any(line.startswith("Source:") for line in lines), f"{relative(path)}: no line 'Source: ...'"


def test_the_page_of_memories_is_what_the_registry_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    page = importlib.import_module("memories").page()
    assert (ROOT / "docs" / "memories.md").read_text() == page, "run python -P docs/memories.py"


def test_names_of_memories_come_without_torch(tmp_path: Path) -> None:
    code = "import sys; import lifelong.memory as m; assert m.known_memories(); assert 'torch' not in sys.modules"
    run_python(code, tmp_path)


def test_memories_work_without_triton_and_numba(tmp_path: Path) -> None:
    code = """
import sys
sys.modules |= {"triton": None, "numba": None}  # importing either now raises ImportError
import torch
import lifelong.memory
for name in lifelong.memory.__all__:
    getattr(lifelong.memory, name)
for name in lifelong.memory.MEMORIES:
    memory = lifelong.memory.make_memory(name, 8)
    memory.step(torch.zeros(1, 8), memory.initial_state(1), torch.zeros(1, dtype=torch.bool))
assert not torch.cuda.is_initialized()
"""
    run_python(code, tmp_path)
