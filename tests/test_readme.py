import re
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_a_memory_of_your_own_trains_as_the_readme_says(tmp_path, monkeypatch, capsys):
    memory, training, _ = blocks()
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
    exec(blocks()[2], names)  # noqa: S102  the README's own lines
    worlds = names["worlds"]
    _, info = worlds.reset(seed=0)
    assert worlds.num_envs == 256
    assert info["life_start"].all()


@pytest.mark.parametrize("verb", ["train", "retention", "list"])
def test_every_verb_in_the_readme_exists(verb):
    from lifelong.experiments.cli import VERBS

    assert verb in VERBS
    assert f"lifelong {verb}" in README.read_text()
