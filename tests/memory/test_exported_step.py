"""A memory's step as a program of torch.export: what it computes, and what is refused."""

import io

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from lifelong.memory import MEMORIES, Memory, export_step, make_memory
from lifelong.memory.state_paths import by_path

B, D, STEPS = 2, 8, 30
FEW = ["gated_delta", "gru", "none"]


@pytest.mark.parametrize("name", [n if n in FEW else pytest.param(n, marks=pytest.mark.slow) for n in sorted(MEMORIES)])
def test_a_saved_program_carries_its_own_state_as_the_memory_does(name):
    torch.manual_seed(0)
    memory = make_memory(name, D)
    file = io.BytesIO()
    torch.export.save(export_step(memory, B), file)
    step = torch.export.load(io.BytesIO(file.getvalue())).module()
    state = memory.initial_state(B)
    carried = by_path(state)
    with torch.no_grad():
        for t in range(STEPS):
            x, start = torch.randn(B, D), torch.tensor([t in (0, 13), False])
            want, state = memory.step(x, state, start)
            got, carried = step(x, carried, start)
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(carried, by_path(state), rtol=1e-4, atol=1e-5)


def test_a_float64_memory_is_exported_in_float64():
    program = export_step(make_memory("gla", D).double())
    y, state = program.module()(torch.zeros(1, D).double(), by_path(make_memory("gla", D).double().initial_state(1)),
                                torch.zeros(1, dtype=torch.bool))  # fmt: skip
    assert {y.dtype, state["S"].dtype} == {torch.float64}


class Branching(Memory):
    def initial_state(self, batch):
        return TensorDict({"h": self.zeros(batch, 1)}, [batch])

    def step(self, x, state, start):
        return (x if x.sum() > 0 else -x), state


class OverNothing(Memory):
    """Holds an empty table over an empty array of numpy's, as modules do whose sizes are counted with it."""

    def __init__(self, width):
        super().__init__(width)
        self.register_buffer("table", torch.as_tensor(np.zeros(0, np.float32)))

    def initial_state(self, batch):
        return TensorDict({"h/1": self.zeros(batch, 1)}, [batch])

    def step(self, x, state, start):
        return x + self.table.sum(), state


def test_an_empty_buffer_is_saved_and_a_key_may_hold_a_slash():
    file = io.BytesIO()
    torch.export.save(export_step(OverNothing(D)), file)
    step = torch.export.load(io.BytesIO(file.getvalue())).module()
    y, state = step(torch.ones(1, D), {"h/1": torch.zeros(1, 1)}, torch.zeros(1, dtype=torch.bool))
    assert y.equal(torch.ones(1, D))
    assert state.keys() == {"h/1"}


def test_two_entries_of_one_name_are_refused():
    tree = TensorDict({"a": {"b": torch.zeros(1)}, "a/b": torch.zeros(1)}, [1])
    with pytest.raises(ValueError, match="have the same name 'a/b'; rename one"):
        by_path(tree)


def test_a_step_that_branches_on_data_is_refused_in_one_sentence():
    with pytest.raises(TypeError, match="torch cannot export the step of Branching: ") as caught:
        export_step(Branching(D))
    assert "\n" not in str(caught.value)


def test_a_program_is_for_one_life_or_more():
    with pytest.raises(ValueError, match="batch must be positive: batch=0"):
        export_step(make_memory("none", D), 0)
