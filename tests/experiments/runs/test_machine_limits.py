"""Sizes that cannot be meant are refused with both values, before anything is allocated."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifelong import cli
from lifelong.envs.registry import make_stream
from lifelong.experiments.runs import machine_limits
from lifelong.experiments.runs.errors import UserError

CASES = """
--num-envs 4000000                                | num_envs=4000000
--width 4096 --layers 512                         | width=4096, layers=512
--stream-options cues=100000000                   | num_envs=1, cues=100000000
--evaluation-lives 1000000                        | evaluation_lives=1000000
--segment 1000000                                 | segment=1000000
--clear 100000000 --steps 1e10                    | clear=100000000, segment=128
--width 8 --memory window --memory-options cache=100000 --num-envs 50000 | memory=window, width=8
"""


@pytest.mark.parametrize(("words", "said"), [line.split(" | ") for line in CASES.strip().splitlines()])
def test_a_training_that_has_no_room_is_refused(
    words: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine_limits, "available_memory", lambda: 2 * 10**9)
    assert cli.main(["train", *words.split(), "--runs", str(tmp_path / "runs")]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("lifelong: these sizes need at least ")
    assert " GB, 2.0 GB are there: " in line
    assert said in line
    assert len(line) <= 300
    assert not (tmp_path / "runs").exists()


def test_more_threads_than_cores_are_refused_where_they_are_many_times_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine_limits.os, "cpu_count", lambda: 4)
    assert cli.main(["train", "--threads", "65", "--runs", str(tmp_path / "runs")]) == 2
    assert capsys.readouterr().err == "lifelong: threads must be at most 64 on 4 cores: threads=65\n"
    machine_limits.check_threads(64)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cued-recall", {"cues": 2**15}),
        ("foraging", {"size": 2**8 * 70, "things": 4}),
        ("reversal", {"contexts": 2**16}),
        ("t-maze", {"distractors": 2**16}),
    ],
)
def test_what_a_stream_needs_is_reckoned_from_small_ones(
    name: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The estimate lies within a factor of four of what the arrays take, where these are made."""
    told: list[float] = []
    monkeypatch.setattr(machine_limits, "check_bytes", lambda needed, _: told.append(needed))
    num_envs = 2
    machine_limits.check_stream_sizes(partial(make_stream, name), settings | {"num_envs": num_envs})
    if name == "foraging":
        held = 2 * 8.0 * settings["size"] ** 2 * num_envs  # too much to be made here
    else:
        stream = make_stream(name, num_envs=num_envs, **settings)
        held = machine_limits._TASK * len(stream.tasks) + sum(
            x.nbytes for x in vars(stream).values() if isinstance(x, np.ndarray)
        )
    assert 1 / 4 < told[0] / held < 4


def test_wrong_settings_are_left_to_the_stream() -> None:
    machine_limits.check_stream_sizes(partial(make_stream, "cued-recall"), {"cues": 2**20, "size": -1, "num_envs": 1})
    with pytest.raises(UserError, match=r"these sizes need at least 1,000\.0 GB, .* GB are there: cues=7"):
        machine_limits.check_bytes(1e12, {"cues": 7})
