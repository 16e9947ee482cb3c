"""The programs of docs/examples, each with few steps; the slow tests let them learn."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "docs" / "examples"


def program(name: str) -> Callable[..., Any]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]


def stable_baselines() -> Callable[..., Any]:
    pytest.importorskip("sb3_contrib", reason="pip install 'lifelong-rl[examples]'")
    return program("stable_baselines")


def test_every_program_is_run_here() -> None:
    text = Path(__file__).read_text()
    names = [path.stem for path in EXAMPLES.glob("*.py")]
    assert len(names) == 6
    assert all(f'program("{name}")' in text for name in names)


def test_stable_baselines_train_on_streams(capsys: pytest.CaptureFixture[str]) -> None:
    assert stable_baselines()(steps=1024).keys() == {"PPO", "RecurrentPPO"}
    assert "RecurrentPPO: mean return" in capsys.readouterr().out


def test_a_loop_in_one_file_trains_on_streams() -> None:
    rights = program("cleanrl_ppo")(steps=4 * 1600)
    assert len(rights) == 4
    assert all(0.15 < right < 0.5 for right in rights)


def test_torchrl_trains_memories_of_both_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    curves = program("torchrl_ppo")(steps=2 * 1600)
    assert {name: len(curve) for name, curve in curves.items()} == {"gated_delta": 2, "LSTMModule": 2}
    assert "LSTMModule" in capsys.readouterr().out


def test_episodes_are_filmed(tmp_path: Path) -> None:
    pytest.importorskip("moviepy", reason="pip install 'lifelong-rl[examples]'")
    program("record_video")(steps=60, folder=str(tmp_path / "films"))
    films = sorted(tmp_path.glob("films/*.mp4"))
    assert len(films) > 1
    assert all(film.stat().st_size > 1000 for film in films)


@pytest.mark.parametrize("memory", ["gated_delta", "lstm"])
def test_a_language_model_takes_any_memory(memory: str, capsys: pytest.CaptureFixture[str]) -> None:
    losses = program("character_model")(steps=30, memory=memory)
    assert losses[-1] < losses[0] - 0.3
    assert capsys.readouterr().out.startswith(memory)


@pytest.mark.parametrize("memory", ["gated_delta", "none"])
def test_mqar_takes_any_memory(memory: str) -> None:
    assert 0 < program("mqar")(steps=20, memory=memory) < 0.3


@pytest.mark.slow
def test_a_loop_in_one_file_learns() -> None:
    assert sum(program("cleanrl_ppo")()[-5:]) / 5 > 0.85


@pytest.mark.slow
def test_a_carried_memory_learns_under_torchrl() -> None:
    assert sum(program("torchrl_ppo")()["gated_delta"][-5:]) / 5 > 0.95


@pytest.mark.slow
def test_mqar_is_learned() -> None:
    assert program("mqar")() > 0.95
