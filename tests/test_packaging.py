"""The installed package agrees with pyproject.toml."""

import ast
import importlib.util
import re
import sys
import tomllib
from importlib import metadata, resources
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FOLDERS = ("agents", "envs", "experiments", "kernels", "memory")


@pytest.fixture
def installed() -> metadata.Distribution:
    try:
        return metadata.distribution("lifelong-rl")
    except metadata.PackageNotFoundError:
        pytest.skip("tests run from a bare clone: lifelong-rl is not installed")


def module_of(requirement: str) -> str:
    """Return the import name of a requirement; every distribution we use has the same one but for hyphens."""
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].replace("-", "_")


def test_name_and_version(installed: metadata.Distribution) -> None:
    assert installed.metadata["Name"] == PROJECT["name"] == "lifelong-rl"
    assert installed.version == PROJECT["version"]
    assert installed.metadata["License-Expression"] == PROJECT["license"] == "MIT"
    assert installed.metadata["Requires-Python"] == PROJECT["requires-python"]


def test_extras(installed: metadata.Distribution) -> None:
    assert set(installed.metadata.get_all("Provides-Extra") or ()) == set(PROJECT["optional-dependencies"])


def test_command(installed: metadata.Distribution) -> None:
    commands = {e.name: e.value for e in installed.entry_points if e.group == "console_scripts"}
    assert commands == PROJECT["scripts"] == {"lifelong": "lifelong.cli:main"}


def test_command_exists() -> None:
    module, _, function = PROJECT["scripts"]["lifelong"].partition(":")
    assert importlib.util.find_spec(module)
    assert callable(getattr(importlib.import_module(module), function))


def test_types_are_shipped() -> None:
    assert resources.files("lifelong").joinpath("py.typed").is_file()


def test_files_named_by_the_project_exist() -> None:
    for name in (PROJECT["readme"], *PROJECT["license-files"]):
        assert (ROOT / name).is_file(), name


def test_version_is_in_the_changelog() -> None:
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_torch_is_bounded_above() -> None:
    for name in ("torch", "torchrl", "tensordict"):
        bound = next(r for r in PROJECT["dependencies"] if module_of(r) == name)
        assert "<" in bound, f"{bound}: a release with new defaults must not arrive by itself"


def test_every_import_is_declared() -> None:
    extras = [r for group in PROJECT["optional-dependencies"].values() for r in group]
    known = {module_of(r) for r in [*PROJECT["dependencies"], *extras]} | set(sys.stdlib_module_names) | {"lifelong"}
    for path in (p for folder in FOLDERS for p in sorted((ROOT / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            for name in names:
                root = name.partition(".")[0]
                assert root in known, f"{path.relative_to(ROOT)}:{node.lineno} imports {root}, which is not declared"
