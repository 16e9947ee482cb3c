"""What `--help` shows of a verb's settings, and what `help()` says of the public configs."""

import importlib
import pkgutil
import pydoc
import re
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import tyro

import lifelong.experiments
from lifelong import cli
from lifelong.agents.ppo_config import PPOConfig
from lifelong.experiments.bench import SUBJECTS
from lifelong.experiments.runs.arguments import flags
from lifelong.experiments.runs.config import PPOOverrides, TrainConfig
from lifelong.experiments.runs.docstrings import documented_arguments
from lifelong.experiments.runs.help_page import Heading, help_page

VERBS = ["train", "retention", "swap", "report", "capacity", "recall", "cost", "stream show", "certify",
         *(f"bench {subject}" for subject in SUBJECTS if subject != "kernels")]  # fmt: skip


def configs() -> list[type]:
    """Return the public dataclasses of settings."""
    modules = pkgutil.walk_packages(lifelong.experiments.__path__, "lifelong.experiments.")
    found = [vars(importlib.import_module(module.name)) for module in modules]
    kinds = {kind for names in found for kind in names.values() if isinstance(kind, type) and is_dataclass(kind)}
    named = {(kind.__module__, kind.__name__): kind for kind in kinds if kind.__name__.endswith("Config")}
    return [named[name] for name in sorted(named)]


@dataclass(frozen=True)
class Settings:
    """Do one thing well.

    This is for readers of the code.

    Args:
        run: directory of the run.
        count: number of things, of which there are too many for one line.
        kinds: kinds of things
            in two lines.
        loud: say it.
        quiet: do not.
    """

    run: tyro.conf.Positional[Path]
    count: int = 20_000
    kinds: Annotated[tuple[Literal["a", "b"], ...], Heading("others")] = ("a", "b")
    loud: bool = False
    quiet: bool = True
    rate: float | None = None


PAGE = """\
usage: lifelong do RUN [OPTIONS]

Do one thing well.
A note.

examples:
  one

settings:
  RUN                directory of the run (required)
  --count INT        number of things, of which there are too many for
                     one line (default: 20_000)

others:
  --kinds {a,b} ...  kinds of things in two lines (default: a b)
  --loud             say it
  --no-quiet         do not
  --rate FLOAT
"""


def page_of(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what the command shows, a setting in one line."""
    with pytest.raises(SystemExit) as ended:
        cli.main(words.split())
    assert ended.value.code == 0
    return re.sub(r"\n {5,}", " ", capsys.readouterr().out)


def default_of(flag: str, page: str) -> str:
    (found,) = re.findall(rf"^  {flag} .*\(default: (\S+)\)$", page, re.MULTILINE)
    return str(found)


def test_a_page_is_what_it_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    assert help_page(Settings, "do", note="A note.", examples="examples:\n  one") == PAGE


def test_the_settings_of_training_are_grouped_by_subject_the_most_used_first(capsys: Any) -> None:
    page = page_of("train --help", capsys)
    headings = re.findall(r"^(\w.*):$", page, re.MULTILINE)
    assert headings == ["examples", "most used", "the stream", "the memory and the agent", "learning (PPO)",
                        "evaluation", "the run and its files", "the machine", "several runs"]  # fmt: skip
    first = page.partition("most used:\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in first.splitlines()] == ["STREAM", "--memory", "--steps", "--num-envs", "--seed"]
    learning = page.partition("learning (PPO):\n")[2].partition("\n\n")[0]
    assert {f"--{field.name.replace('_', '-')}" for field in fields(PPOConfig)} < set(learning.split())
    for flag in flags(TrainConfig):
        assert len(re.findall(rf"^  {flag}\b(?!-)", page, re.MULTILINE)) == (not flag.startswith("--no-"))
    assert page.count("lifelong train ") == 5  # usage, three examples, and where other defaults are


@pytest.mark.parametrize(
    "words", ["cued-recall", "rooms", "doors", "gym:CartPole-v1", "cued-recall --feedback reward", "--seed 3"]
)
def test_the_defaults_of_training_are_those_of_the_streams_preset(words: str, capsys: Any) -> None:
    page = page_of(f"train {words} --help", capsys)
    stream = "cued-recall" if words.startswith("--") else words.partition(" ")[0]
    resolved = TrainConfig(stream, feedback="reward" if "reward" in words else None).resolved()
    for name in ("steps", "num_envs", "life_episodes", "segment", "evaluation_lives", "seed"):
        assert int(default_of(f"--{name.replace('_', '-')}", page)) == getattr(resolved, name)
    for field in fields(PPOConfig):
        said, value = default_of(f"--{field.name.replace('_', '-')}", page), getattr(resolved.ppo, field.name)
        assert type(value)(said) == value
    assert page.count("Defaults are those of ") == 1
    assert f"Defaults are those of {'cued-recall' if words.startswith('--') else words};" in page
    assert default_of("STREAM", page) == "cued-recall"


def test_help_comes_whatever_else_is_wrong(capsys: Any) -> None:
    assert "Defaults are those of cued-recall;" in page_of("train rooms --bogus --help", capsys)


@pytest.mark.parametrize("verb", VERBS)
def test_every_setting_of_every_verb_is_explained(verb: str, capsys: Any) -> None:
    page = page_of(f"{verb} -h", capsys)
    assert page.startswith(f"usage: lifelong {verb}")
    assert "None" not in page
    settings = [line for line in page.splitlines() if re.match(r"  (--|[A-Z]+\b)", line)]
    assert settings
    assert [line for line in settings if not re.search(r"\S  ?[a-z]+ ", line)] == []  # flag and explanation


@pytest.mark.parametrize("config", [PPOConfig, *configs()], ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_field_of_a_public_config_is_documented_where_help_shows_it(config: type) -> None:
    said = documented_arguments(config)
    assert set(said) == {field.name for field in fields(config)}
    shown = pydoc.plain(pydoc.render_doc(config))
    assert all(f"{name}: " in shown for name in said)


def test_the_public_configs_are_found() -> None:
    names = {"Train", "Retention", "Swap", "Report", "Capacity", "Recall", "Cost", "Certify", "Show", "Bench"}
    assert {f"{name}Config" for name in names} <= {kind.__name__ for kind in configs()}


def test_what_can_override_ppo_is_what_ppo_has() -> None:
    assert [field.name for field in fields(PPOOverrides)] == [field.name for field in fields(PPOConfig)]
