import sys
from pathlib import Path

import pytest

from lifelong.experiments import bench, bench_kernels, cli

TINY = ["--device", "cpu", "--shapes", "2x8", "--length", "16", "--heads", "1", "--acting", "2x8", "--threads", "1",
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
        (["kernel"], "bench what: 'kernel'? known: kernels, training"),
        (["kernels", "--shapes", "8"], "must be two positive numbers like 16x32, got '8' (see lifelong bench kernels"),
        (["kernels", "--repeats", "many"], "--repeats: must be a positive number, got 'many'"),
        (["training", "--turns", "many"], "--turns"),
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


def test_help_names_every_subject(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {subject} " in said for subject in bench.SUBJECTS)


@pytest.mark.parametrize("subject", bench.SUBJECTS)
def test_every_subject_has_help(subject: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench", subject, "--help"])
    assert ended.value.code == 0
    assert f"usage: lifelong bench {subject}" in capsys.readouterr().out
