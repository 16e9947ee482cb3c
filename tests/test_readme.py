import re
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"


def blocks(path: Path = README) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)


def test_examples_of_the_library_are_those_that_are_tested():
    docs = README.parent / "docs"  # run by tests/test_public_api.py
    assert blocks()[:2] == [blocks(docs / "own-loop.md")[0], blocks(docs / "library.md")[0]]


def test_a_memory_of_your_own_trains_as_the_readme_says(tmp_path, monkeypatch, capsys):
    _, _, memory, training, _ = blocks()
    (tmp_path / "leaky.py").write_text(memory)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict[str, object] = {}
    try:
        exec(memory, names)  # noqa: S102  the README's own lines
        exec(training, names)  # noqa: S102
    finally:
        sys.modules.pop("leaky", None)
    outcome = names["outcome"]
    assert outcome.steps >= 20_000
    assert outcome.finished
    assert "retention" in capsys.readouterr().out


def test_streams_are_made_by_gymnasium_as_the_readme_says():
    names: dict[str, object] = {}
    exec(blocks()[4], names)  # noqa: S102  the README's own lines
    envs = names["envs"]
    _, info = envs.reset(seed=0)
    assert envs.num_envs == 256
    assert info["life_start"].all()


@pytest.mark.parametrize("verb", ["train", "retention", "list"])
def test_every_verb_in_the_readme_exists(verb):
    from lifelong.cli import VERBS

    assert verb in VERBS
    assert f"lifelong {verb}" in README.read_text()
