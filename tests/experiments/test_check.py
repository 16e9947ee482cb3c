"""`lifelong check`: what holds is said in a few lines, what does not in one sentence and exit code 1."""

import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest

from lifelong import cli

PLUG_INS = """
import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from lifelong.memory import GRU


class Fine(GRU):
    pass


class Clinging(GRU):
    def step(self, x, state, start):
        return super().step(x, state, torch.zeros_like(start))

    def forward(self, x, state, start):
        return super().forward(x, state, torch.zeros_like(start))


class Moody(GRU):  # one pass equals steps, but only under the same gradient mode
    def step(self, x, state, start):
        y, state = super().step(x, state, start)
        return (y if torch.is_grad_enabled() else 1.1 * y), state


class Crashing(GRU):
    def __init__(self, width):
        raise ZeroDivisionError("no width\\nis good")


class Broken(gymnasium.Env):
    observation_space, action_space = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        raise OSError("the wire is cut")


gymnasium.register("checked/Broken-v0", Broken)
"""
SMALL = ("--width", "16", "--segment", "8")


@pytest.fixture(autouse=True)
def plug_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "checked.py").write_text(PLUG_INS)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("checked", None)
    gymnasium.registry.pop("checked/Broken-v0", None)


@pytest.mark.parametrize(
    ("memory", "env", "carry"),
    [
        ("gated_delta", "cued-recall", "lifetime"),
        ("checked:Fine", "gym:CartPole-v1", "episode"),
        ("softmax", "gym:Pendulum-v1", "task"),
    ],
)
def test_what_holds_is_said_in_three_lines(
    memory: str, env: str, carry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", "--memory", memory, "--env", env, "--carry", carry, *SMALL]) == 0
    contract, ratio, state = capsys.readouterr().out.splitlines()
    assert contract.startswith(f"memory {memory}: contract ok (")
    assert f"in {env}, carry {carry}: max |ratio - 1| = " in ratio
    assert ratio.endswith("resets inside: ok")
    assert " 0 resets" not in ratio
    assert state.endswith("bytes per life and layer")


@pytest.mark.parametrize(
    ("memory", "env", "reason"),
    [
        ("checked:Clinging", "cued-recall", "memory 'checked:Clinging': nothing crosses a start"),
        ("checked:Crashing", "cued-recall", "memory 'checked:Crashing': ZeroDivisionError: no width is good"),
        ("checked:Moody", "cued-recall", "acting and learning differ first in segment 0, step 0 of life"),
        ("gru", "gym:checked:checked/Broken-v0", "the wire is cut"),
    ],
)
def test_what_fails_is_one_sentence_and_exit_code_1(
    memory: str, env: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["check", "--memory", memory, "--env", env, *SMALL])
    assert end.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("lifelong: ")
    assert error.count("\n") == 1
    assert reason in error


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--memory", "grru", "--env", "doors"], "no memory 'grru'; did you mean 'gru'?"),
        (["--memory", "gru", "--env", "dors"], "no stream 'dors'; did you mean 'doors'?"),
        (["--memory", "gru", "--env", "doors", "--segment", "1"], "segment must be 2 to 4096: segment=1"),
        ([], "missing: --memory, --env"),
    ],
)
def test_a_wrong_word_is_a_users_mistake(words: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", *words]) == 2
    assert reason in capsys.readouterr().err
