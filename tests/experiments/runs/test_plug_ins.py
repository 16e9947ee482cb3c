"""Where a plug-in memory came from stands in the run's config.json."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.plug_ins import plug_in_memories
from lifelong.experiments.train import main
from lifelong.memory import GRU, make_memory

LEAKY = "from lifelong.memory import GRU\n\n\nclass Leaky(GRU):\n    pass\n"
METADATA = "Metadata-Version: 2.1\nName: leaky-memories\nVersion: 1.2.3\n"


@pytest.fixture
def leaky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of a module `leaky` that can be imported."""
    path = tmp_path / "site" / "leaky.py"
    path.parent.mkdir()
    path.write_text(LEAKY)
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.delitem(sys.modules, "leaky", raising=False)
    return path


def install(path: Path, **files: str) -> None:
    """Write the metadata of a distribution that holds a module."""
    metadata = path.parent / "leaky_memories-1.2.3.dist-info"
    metadata.mkdir()
    for name, text in {"METADATA": METADATA, **files}.items():
        (metadata / name).write_text(text)


def origin(config: TrainConfig) -> dict[str, dict[str, str | None]]:
    found = json.loads((main(config).folder / "config.json").read_text())["origin"]["plug_ins"]
    assert isinstance(found, dict)
    return found


def test_a_file_of_ones_own_is_known_by_its_hash(leaky: Path, tiny: Callable[..., TrainConfig]) -> None:
    assert origin(tiny(memory="leaky:Leaky", layers=2)) == {
        "leaky:Leaky": {
            "file": str(leaky.resolve()),
            "sha256": hashlib.sha256(LEAKY.encode()).hexdigest(),
            "distribution": None,
            "version": None,
        }
    }


def test_the_hash_is_that_of_the_file_the_run_was_made_with(leaky: Path, tiny: Callable[..., TrainConfig]) -> None:
    leaky.write_text(LEAKY + "# changed\n")
    found = origin(tiny(memory="leaky:Leaky"))["leaky:Leaky"]
    assert found["sha256"] == hashlib.sha256(LEAKY.encode() + b"# changed\n").hexdigest()


def test_one_inside_another_memory_is_found(leaky: Path, tiny: Callable[..., TrainConfig]) -> None:
    found = origin(tiny(memory="hybrid", memory_options=("a=leaky:Leaky", "b=gru")))
    assert list(found) == ["leaky:Leaky"]


@pytest.mark.parametrize(
    "files",
    [
        {"top_level.txt": "leaky\n"},
        {"RECORD": "leaky.py,,\n"},
        {"entry_points.txt": "[lifelong.memories]\nleaky = leaky:Leaky\n"},  # an editable install lists no modules
    ],
)
def test_the_distribution_is_named(leaky: Path, files: dict[str, str], tiny: Callable[..., TrainConfig]) -> None:
    install(leaky, **files)
    found = origin(tiny(memory="leaky:Leaky"))["leaky:Leaky"]
    assert (found["distribution"], found["version"]) == ("leaky-memories", "1.2.3")


def test_our_own_memories_are_none(tiny: Callable[..., TrainConfig]) -> None:
    assert origin(tiny(memory="palimpsa")) == {}
    assert plug_in_memories(make_memory("metaplastic:linear_attention", 8)) == {}


def test_a_class_without_a_file_is_named_all_the_same() -> None:
    kind = type("Fleeting", (GRU,), {"__module__": "no_such_file"})
    nothing = dict.fromkeys(("file", "sha256", "distribution", "version"))
    assert plug_in_memories(kind(8)) == {"no_such_file:Fleeting": nothing}
