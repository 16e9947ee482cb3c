import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lifelong.kernels.benchmark import bench, cpu, cuda
from lifelong.kernels.benchmark.accuracy import TOLERANCE, Comparison, examine
from lifelong.kernels.benchmark.acting import examine_layer, make_layer
from lifelong.kernels.benchmark.clock import Clock, in_turns
from lifelong.kernels.benchmark.config import BenchConfig, Guests, Sizes
from lifelong.kernels.benchmark.operations import OPERATIONS, back_ends
from lifelong.kernels.benchmark.options import OptionError, options
from lifelong.kernels.benchmark.race import Rival, race
from lifelong.kernels.benchmark.report import Goal, Row, Table, origin
from lifelong.kernels.benchmark.shape import Shape
from lifelong.kernels.fast_weight.chunk import fast_weight as chunk
from lifelong.memory import GatedDelta

ROOT = Path(__file__).parents[2]
TINY = BenchConfig(
    shapes=((2, 8),),
    length=6,
    num_heads=2,
    acting=(2, 8),
    threads=1,
    repeats=1,
    sizes=Sizes(
        step=(Shape(2, 1, 2, 4),),
        layer=Shape(2, 1, 2, 4),
        train=Shape(2, 5, 2, 4),
        long=Shape(2, 7, 2, 4),
        copy=1 << 10,
    ),
)


class Numbers(Clock):
    """Takes the time a call returns."""

    def seconds(self, call, count):
        return call()


@pytest.fixture(autouse=True)
def plain_torch(fresh_memory_is_poisoned):
    torch.use_deterministic_algorithms(False)  # attention has none


def right(device="cpu"):
    return {(op, form): Comparison(0.0, None) for op, it in OPERATIONS.items() for form in back_ends(it, device)}


@pytest.mark.parametrize(("op", "form"), right())
def test_every_back_end_of_the_table_is_right(op, form):
    comparison = examine(OPERATIONS[op], form, "cpu")
    assert comparison.error is None
    assert comparison.difference <= TOLERANCE


def test_a_wrong_back_end_is_reported_and_not_timed(monkeypatch):
    ran = []

    def half_right(q, *others, **more):
        ran.append(q.shape)
        y, state = chunk(q, *others, **more)
        return 1.01 * y, state

    monkeypatch.setattr("lifelong.kernels.fast_weight.chunk", half_right)
    report = bench.main(TINY)
    examined = [line for line in report.splitlines() if line.startswith("| fast_weight, delta rule | chunk |")]
    assert "| FAILED: output 0 differs by " in examined[0]
    assert "| FAILED: output 0 differs by " in examined[1]
    assert len(examined) == 2
    assert (2, 6, 2, 8) not in ran
    assert "- **not measured**: the chunks of torch take at least 3 × its time: not measured (B=2 d=8)" in report


@pytest.mark.parametrize("spoil", [lambda x: x[..., :-1], lambda x: x * torch.nan, lambda x: 1 / 0])
def test_whatever_is_wrong_is_said_in_one_line(spoil):
    operation = OPERATIONS["gated_linear"]

    def run(backend, **inputs):
        y = operation.run(**inputs, backend=backend)
        return y if backend == "reference" else spoil(y)

    broken = replace(operation, run=run)
    comparison = examine(broken, "cpu", "cpu")
    assert comparison.error
    assert "\n" not in comparison.error


def test_rivals_run_in_turns_and_one_that_breaks_stops_nobody():
    ran = []
    calls = {name: (lambda name=name: ran.append(name)) for name in "ab"} | {"c": lambda: 1 / 0}
    times, errors = in_turns(calls, 2, Clock())
    assert set(times) == {"a", "b"}
    assert all(len(x) == 2 for x in times.values())
    assert errors == {"c": "ZeroDivisionError: division by zero"}
    changes = [b for a, b in zip(["", *ran], ran, strict=False) if a != b]
    assert changes == ["a", "b", "a", "b", "a"]  # warming up, then once in one order, once in the other


def test_ratios_and_rates_by_hand():
    rivals = {
        "ours": Rival("op", "ours", lambda: 0.01, lambda: 0.02, work=1e9),
        "slow": Rival("op", "slow", lambda: 0.01, lambda: 0.06),
        "many": Rival("op", "many", lambda: 0.08, steps=8, work=4e6, unit="GB/s", peak=0.8),
        "broken": Rival("op", "broken", error="it | broke"),
    }
    rows, medians = race(rivals, "ours", "here", 3, Numbers())
    assert medians == {"ours": 0.02, "slow": 0.06, "many": 0.01, "broken": None}
    cells = [row.cells()[3:] for row in rows]
    assert cells[0] == ["10.0", "20.0", "20.0 to 20.0", "50.0 GFLOP/s", "1.00"]
    assert cells[1] == ["10.0", "60.0", "60.0 to 60.0", "-", "3.00"]
    assert cells[2] == ["10.0", "-", "10.0 to 10.0", "0.400 GB/s (50%)", "0.50"]
    assert cells[3] == ["FAILED: it / broke", "-", "-", "-", "-"]


@pytest.mark.parametrize(
    ("found", "most", "said"),
    [
        ({"a": 3.0, "b": 2.5}, False, "- **met**: so: 3.00 (a), 2.50 (b); stretch 3: not met"),
        ({"a": 3.0, "b": 1.0}, False, "- **not met**: so: 3.00 (a), 1.00 (b); stretch 3: not met"),
        ({"a": 3.0, "b": None}, False, "- **not measured**: so: 3.00 (a), not measured (b); stretch 3: not measured"),
        ({"a": 1.0, "b": None}, False, "- **not met**: so: 1.00 (a), not measured (b); stretch 3: not met"),
        ({"a": 1.0}, True, "- **met**: so: 1.00 (a); stretch 3: met"),
        ({"a": 2.1}, True, "- **not met**: so: 2.10 (a); stretch 3: met"),
        ({}, True, "- **not measured**: so: nothing was measured; stretch 3: not measured"),
    ],
)
def test_a_goal_is_met_by_what_was_measured_alone(found, most, said):
    assert str(Goal("so", found, 2, most, 3)) == said


def test_a_table_has_one_line_for_each_row():
    said = str(Table("T", [Row("op", "x", "s", [1.0])], [Goal("g", {"s": 1.0}, 1)], ["a note"])).split("\n\n")
    assert said[:2] == ["## T", "a note"]
    assert said[2].splitlines()[2] == "| op | x | s | 1000 | - | 1000 to 1000 | - | - |"
    assert said[3] == "- **met**: g: 1.00 (s)"


def test_the_origin_says_when_where_and_with_what():
    said = origin(3)
    for name in ("date", "git", "CPU", "GPU", "versions", "load average before", "command"):
        assert f"- {name}: " in said
    assert f"torch {torch.__version__}" in said
    assert "median of 3 rounds" in said


def test_every_rival_of_training_has_its_line():
    lines = str(cpu.tables(TINY, Guests(), right())["training"]()).splitlines()
    begun = [line.split(" | ")[0:2] for line in lines if line.startswith("| ")][2:]
    assert begun == [
        ["| fast_weight, delta rule", "cpu"],
        ["| fast_weight, delta rule", "chunk"],
        ["| fast_weight, delta rule", "reference"],
        ["| fast_weight, delta rule", "cpu, no starts"],
        ["| posterior", "cpu"],
        ["| causal attention", "torch SDPA, no starts"],
        ["| LSTM, width 16", "torch nn.LSTM, no starts"],
    ]
    assert not any("FAILED" in line for line in lines)


def test_the_tables_of_the_gpu_can_be_made():
    tables = cuda.tables(TINY, Guests(), right(), cuda.Place("cpu", "cpu"))
    said = {title: str(table()) for title, table in tables.items()}
    assert not any("FAILED" in text for text in said.values())
    assert "one step in place | cpu, starts at 2% | B=2 T=1 H=2 d=4 |" in said["single steps"]
    assert "GatedDeltaLayer | graph of 16 steps | B=2 D=8 H=2 |" in said["a layer's step"]
    assert "at most 150 µs" in said["training"]
    assert "posterior | associative scan in torch | B=2 T=5 H=2 d=4 |" in said["posterior"]
    assert "linear_scan | cpu |" in said["the other operations"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_tables_of_the_gpu_are_made_on_a_gpu():
    assert "FAILED" not in bench.main(replace(TINY, devices=("cuda",)))


def test_the_layer_of_kernels_alone_is_the_memory():
    memory, layer = GatedDelta(16, num_heads=2), make_layer(Guests(), 16, 2)
    inward = [module.weight for module in (memory.project.linear, memory.gates, memory.output.gate)]
    layer.load_state_dict({
        "inward.weight": torch.cat(inward), "bias": memory.gates.bias, "conv": memory.project.conv,
        "norm": memory.output.norm.weight, "outward.weight": memory.output.linear.weight,
    })  # fmt: skip
    assert layer.state_bytes == memory.state_bytes
    state, own = memory.initial_state(3), layer.initial_state(3)
    for t in range(4):
        x, start = torch.randn(3, 16), torch.arange(3) == t
        wanted, state = memory.step(x, state, start)
        got, own = layer.step(x, own, start)
        torch.testing.assert_close(got, wanted)


def test_a_layer_that_is_wrong_does_not_act():
    layer = make_layer(Guests(), 16)
    assert examine_layer(layer.step, layer, 16, "cpu") is None
    wrong = examine_layer(lambda x, state, start: layer.step(x, state, ~start), layer, 16, "cpu")
    assert wrong is not None
    assert "y differs by" in wrong


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--shapes", "8"], "--shapes: must be two positive numbers like 16x32, got '8'"),
        (["--shapes", "0x8"], "got '0x8'"),
        (["--repeats", "0"], "--repeats: must be a positive number, got '0'"),
        (["--device", "tpu"], "invalid choice: 'tpu'"),
        (["--frobnicate"], "--frobnicate"),
        (["--output", "no/such/folder"], "there is no folder no/such"),
    ],
)
def test_a_wrong_word_is_answered_in_one_line(words, reason):
    with pytest.raises(OptionError) as error:
        options(words, "bench")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_words_become_settings(tmp_path):
    words = ["--device", "cpu", "--shapes", "2x8", "3x16", "--length", "16", "--repeats", "1", "--compile"]
    config = options([*words, "--output", str(tmp_path / "x.md")], "bench")
    assert config == BenchConfig(shapes=((2, 8), (3, 16)), length=16, repeats=1, compile=True, output=tmp_path / "x.md")
    assert options(["--heads", "3"], "bench") == options(["--num-heads", "3"], "bench")  # the spelling of 0.1


def test_as_a_script_it_needs_torch_alone(tmp_path):
    words = "--device cpu --shapes 2x4 --length 3 --num-heads 1 --acting 2x8 --threads 1 --repeats 1 --output x.md"
    code = f"""
import runpy, sys
sys.modules |= dict.fromkeys(["gymnasium", "numba", "tensordict", "torchrl", "tyro"])  # importing them now fails
sys.argv = ["bench.py", *{words.split()}]
runpy.run_path({str(ROOT / "kernels" / "benchmark" / "bench.py")!r}, run_name="__main__")
"""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PYTHONSAFEPATH": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "x.md").read_text() == result.stdout
    assert "| fast_weight, delta rule | cpu | - | FAILED: ModuleNotFoundError" in result.stdout
    assert "| fast_weight, delta rule | chunk | B=2 T=3 H=1 d=4 |" in result.stdout
