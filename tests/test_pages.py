"""The programs of the pages in docs/, in order, in a folder of their own; and the links between the pages."""

import importlib
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def blocks(page: str, language: str = "python") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def run(programs: list[str]) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "page"}
    for program in programs:
        exec(program, names)  # noqa: S102  the page's own lines
    return names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty working directory whose modules are found, and forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("guess", "leaky_memory"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_measures_of_ones_own_scores(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(blocks("measures.md"))
    assert capsys.readouterr().out.startswith("0.70 -0.25 0.15\n[0.4 0.1]\n[[nan 0.1 0. ]")
    named = re.findall(r"`(\w+)\.(\w+)`", (DOCS / "measures.md").read_text())
    assert len(named) > 30
    for module, function in named:
        assert callable(getattr(importlib.import_module(f"lifelong.experiments.metrics.{module}"), function))


def test_a_task_sequence_and_its_figure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = run(blocks("task-sequence.md"))
    assert "8 tasks: cue 0 cue 1" in capsys.readouterr().out
    assert len(names["met"]) > 4000
    assert (folder / "turns.html").stat().st_size > 10_000
    assert (folder / "turns.png").stat().st_size > 10_000


def test_a_memory_is_a_package(folder: Path) -> None:
    module, *programs = blocks("memory-package.md")
    (project,) = (tomllib.loads(text) for text in blocks("memory-package.md", "toml"))
    (folder / "leaky_memory.py").write_text(module)
    points = project["project"]["entry-points"]["lifelong.memories"]
    installed = folder / "leaky_memory-0.1.dist-info"  # what pip makes of that pyproject.toml
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: leaky-memory\nVersion: 0.1\n")
    lines = [f"{name} = {target}\n" for name, target in points.items()]
    (installed / "entry_points.txt").write_text("[lifelong.memories]\n" + "".join(lines))
    run(programs)
    assert (folder / "runs" / "leaky" / "config.json").exists()


def test_an_environment_is_trained_loaded_kept_and_saved(folder: Path) -> None:
    module, *programs = blocks("own-environment.md")
    (folder / "guess.py").write_text(module)
    names = run(programs)
    assert sum(names["paid"]) > 15  # chance is 12.5
    assert (folder / "life.safetensors").exists()


def test_loops(capsys: pytest.CaptureFixture[str]) -> None:
    for program in blocks("own-loop.md"):
        run([program])
    assert "2048" in capsys.readouterr().out


@pytest.mark.parametrize(
    "page", ["task-sequence", "memory-package", "own-environment", "own-loop", "words", "library", "studies"]
)
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\((?!http)([^)]+)\)", (DOCS / f"{page}.md").read_text()):
        path, _, anchor = link.partition("#")
        target = (DOCS / path).resolve() if path else DOCS / f"{page}.md"
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, link
