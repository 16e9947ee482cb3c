import sys
from pathlib import Path
from typing import Any

import pytest

from lifelong import cli
from lifelong.envs.rooms import grids
from lifelong.envs.rooms.grids import Grids
from lifelong.experiments import bench
from lifelong.experiments.benchmarks import envs as bench_envs, kernels as bench_kernels, life as bench_life
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.tensorboard import RunWriter

TINY = ["--device", "cpu", "--shapes", "2x8", "--length", "16", "--num-heads", "1", "--acting", "2x8", "--threads", "1",
        "--repeats", "1"]  # fmt: skip


def test_the_kernels_are_measured_beside_everybody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "kernels", *TINY, "--output", str(tmp_path / "kernels.md")]) == 0
    report = capsys.readouterr().out
    assert (tmp_path / "kernels.md").read_text() == report
    assert "FAILED" not in report
    for line in (
        "| LSTM, width 8 | torchrl LSTMModule | B=2 T=16 H=1 d=8 |",
        "| LSTM, width 8 | torchrl LSTMModule, python_based | B=2 T=16 H=1 d=8 |",
        "| GatedDelta | in place | B=2 D=8 |",
        "| LSTM | torch nn.LSTMCell | B=2 D=8 |",
    ):
        assert line in report
    assert report.count("met**: ") == 8  # every goal is judged
    assert "not measured" not in report


def test_who_is_not_here_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchrl.modules", None)
    found = bench_kernels.guests()
    assert not found.peers
    assert found.missing[0].startswith("TorchRL cannot be imported: ")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "bench what? known: kernels, training"),
        (["kernel"], "no subject 'kernel'; did you mean 'kernels'? known: envs, kernels, learning, life, training"),
        (["kernels", "--shapes", "8"], "must be two positive numbers like 16x32, got '8' (see lifelong bench kernels"),
        (["kernels", "--repeats", "many"], "--repeats: must be a positive number, got 'many'"),
        (["training", "--turns", "many"], "--turns"),
        (["envs", "--num-envs", "0"], "num_envs must be positive: num_envs=0"),
        (["worlds", "--num-envs", "0"], "num_envs must be positive: num_envs=0"),  # its name until 0.2
        (["life", "nowhere"], "nowhere is no run: "),
    ],
)
def test_a_wrong_word_is_answered_in_one_line(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", *words]) == 2
    said = capsys.readouterr()
    assert reason in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_environments_are_measured_beside_minigrid(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "envs", "--num-envs", "2", "--steps", "20", "--turns", "1"]) == 0
    table = capsys.readouterr().out
    assert "1,000 steps held against MiniGrid's, none differed" in table
    for name in ("lifelong rooms, DoorKey 8x8", "lifelong cued-recall", "MiniGrid, gymnasium SyncVectorEnv"):
        assert f"| {name} |" in table


def test_environments_that_differ_from_minigrids_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind(Grids):
        def step(self, actions: Any, steps: Any) -> Any:
            ends = super().step(actions, steps)
            self.image[:] = 0
            return ends

    monkeypatch.setattr(grids, "Grids", Blind)
    with pytest.raises(RuntimeError, match="MiniGrid and rooms differ at step 0 of level 0"):
        bench_envs.agree(5)


def test_a_long_run_is_cut_into_tenths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunWriter(tmp_path / "long") as writer:
        for step in range(1, 41):  # twice as slow at the end, and a tenth larger
            late = step > 36
            scalars = {"steps_per_second": 50 if late else 100, "steps_per_cpu_second": 120, "resident_bytes": 2**20}
            scalars["resident_bytes"] *= 1.1 if late else 1.0
            writer.scalars({f"time/{name}": value for name, value in scalars.items()}, 100 * step)
    assert cli.main(["bench", "life", str(tmp_path / "long")]) == 0
    table = capsys.readouterr().out
    assert "long: 4,000 steps, 40 reports" in table
    assert "| 400 | 100 | 120 | 1.0 |" in table
    assert "| 4,000 | 50 | 120 | 1.1 |" in table
    assert "| last / first | 0.500 | 1.000 | 1.1000 |" in table


def test_a_run_too_short_for_tenths_says_so(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        writer.scalars(dict.fromkeys(bench_life.TAGS, 1.0), 100)
    with pytest.raises(UserError, match="reported 1 times, which leaves some of its 10 tenths empty"):
        bench_life.main(bench_life.BenchConfig(tmp_path))


def test_help_names_every_subject(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(f"\n  {subject} " in said for subject in bench.SUBJECTS)


@pytest.mark.parametrize("subject", bench.SUBJECTS)
def test_every_subject_has_help(subject: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench", subject, "--help"])
    assert ended.value.code == 0
    assert f"usage: lifelong bench {subject}" in capsys.readouterr().out
