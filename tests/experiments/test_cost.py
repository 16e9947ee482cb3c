"""Cost of memories: declared and counted operations agree, and pictures show the measurements."""

import json

import pytest
import torch

from lifelong.experiments.benchmarks.operation_count import count_step
from lifelong.experiments.cost import CostConfig, front, main
from lifelong.experiments.recall import RecallConfig, main as measure_recall
from lifelong.experiments.runs.errors import UserError
from lifelong.kernels.backends import pick, plain_loops
from lifelong.memory import MEMORIES, NoMemory, make_memory

BY_COMPARISON = {"table"}  # its work is comparing, which is no arithmetic


@pytest.mark.parametrize("name", sorted(set(MEMORIES) - BY_COMPARISON))
def test_memories_declare_what_they_do(name):
    """Small things around the products are left out of what is declared; networks also copy their deltas about."""
    memory = make_memory(name, 32)
    counted = count_step(memory)
    assert 0.65 <= memory.step_flops / counted.flops <= 1.1
    parameters = sum(p.numel() * p.element_size() for p in memory.parameters())
    idle = 0
    if name == "lact":  # its momentum is read where a chunk of 16 steps ends, so in one of the 16 that are counted
        idle = 4 * memory.initial_state(1)["momentum"].numel() * 15 // 16
    assert 2 * memory.state_bytes + parameters - idle == pytest.approx(counted.bytes, rel=0.01)


def test_a_product_is_counted_by_hand():
    memory = NoMemory(6)
    assert count_step(memory) == (2 * 6 * 6, 4 * (6 * 6 + 6))  # W x; a bias is part of it; W and bias are read


def test_plain_loops_are_run_where_nothing_else_is_asked_for_and_only_there():
    x = torch.zeros(1, 1)
    with plain_loops():
        assert pick("auto", x) == "reference"
        assert pick("chunk", x) == "chunk"
    assert pick("auto", x) == "cpu"


def test_the_front_holds_what_nothing_beats():
    assert front([(3.0, 0.5), (1.0, 0.2), (2.0, 0.2), (2.0, 0.6), (4.0, 0.9), (1.0, 0.1)]) == [1, 3, 4]


def test_the_table_has_a_row_for_each_memory(tmp_path):
    table = main(CostConfig(memories=("none", "gated_delta"), width=8, lives=2, batch=1, length=2, repeats=1,
                            output=tmp_path / "cost"))  # fmt: skip
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    assert [row[0] for row in rows] == ["| `none`", "| `gated_delta`"]
    assert [row[1] for row in rows] == ["0", f"{make_memory('gated_delta', 8).state_bytes:,}"]
    assert (tmp_path / "cost" / "cost.md").read_text() == table


def test_recall_is_drawn_against_the_cost_of_the_sizes_it_was_measured_at(tmp_path):
    folder = tmp_path / "recall"
    measure_recall(RecallConfig(memories=("none", "gru"), tasks=("rewrite",), length=8, pairs=(2,), times=(1,), keys=4,
                                values=4, width=8, state_bytes=64, parameters=2000, steps=1, batch=2,
                                learning_rates=(1e-3,), seeds=1, workers=1, output=folder))  # fmt: skip
    table = main(CostConfig(lives=2, batch=1, length=2, repeats=1, recall=(folder,)))
    areas = json.loads((folder / "areas.json").read_text())["rewrite"]
    row = next(line for line in table.splitlines() if line.startswith("| `gru`"))
    assert row.endswith(f"| {areas['gru']:.3f} |")
    assert int(row.split(" | ")[1]) <= 64
    assert (folder / "cost-rewrite.png").stat().st_size > 10_000
    with pytest.raises(UserError, match="has not measured 'lstm'; it has none, gru"):
        main(CostConfig(memories=("lstm",), recall=(folder,)))
    (folder / "areas.json").write_text("{}")
    with pytest.raises(UserError, match=r"areas\.json is empty"):
        main(CostConfig(memories=("lstm",), recall=(folder,)))


def test_wrong_settings_are_refused(tmp_path):
    with pytest.raises(UserError, match="lives must be positive: lives=0"):
        CostConfig(lives=0)
    with pytest.raises(UserError, match="has no finished measurement of lifelong recall"):
        main(CostConfig(recall=(tmp_path,)))
