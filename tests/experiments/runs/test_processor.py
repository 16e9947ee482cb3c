"""A processor without AVX2 is told of, and trains all the same."""

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.processor import without_avx2
from lifelong.experiments.train import main


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"architecture": "x86_64", "avx2": True}, False),
        ({"architecture": "x86_64", "avx2": False}, True),
        ({"architecture": "aarch64", "neon": True}, False),
        ({}, False),
    ],
)
def test_only_x86_without_avx2_is_told_of(
    found: dict[str, object], told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert bool(without_avx2()) == told


def test_a_training_says_it_in_one_line_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64", "avx2": False})
    out = io.StringIO()
    config = TrainConfig("reversal", "none", 256, num_envs=4, evaluation_lives=0, evaluate_every="off", runs=tmp_path)
    assert main(config, Console(file=out, width=120)).finished
    assert out.getvalue().count("this processor has no AVX2: a training takes about twice the time\n") == 1
