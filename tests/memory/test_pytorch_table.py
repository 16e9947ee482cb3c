"""docs/pytorch.md: one test for each cell, memory by part of PyTorch."""

import sys
from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from tensordict import TensorDict
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lifelong.memory import MEMORIES, Memory, make_memory

DOCS = Path(__file__).resolve().parents[2] / "docs"
sys.path.insert(0, str(DOCS))
try:
    import pytorch as table
finally:
    sys.path.remove(str(DOCS))

PAGE = table.read()
FEW = {  # cells of seconds each: these in every run, the others nightly
    "autocast": {
        "gated_delta",
        "gla",
        "gru",
        "none",
        "palimpsa",
        "window",
    },  # `check_memory` has a clause of it for all
    "compile": {"gla"},
    "export": {"gla", "none"},
}


def cells():
    for column in table.CELLS:
        for name in sorted(MEMORIES):
            slow = column in FEW and name not in FEW[column]
            yield pytest.param(name, column, marks=[pytest.mark.slow] if slow else [], id=f"{column}-{name}")


@pytest.mark.every_memory
@pytest.mark.parametrize(("name", "column"), cells())
def test_a_cell_says_what_happens(name, column):
    assert table.measure(name, column) == PAGE[name][column], f"run python -P docs/pytorch.py {name}"


def test_the_page_has_a_row_for_every_memory_and_is_as_it_would_be_written():
    assert list(PAGE) == list(MEMORIES), "run python -P docs/pytorch.py"
    assert table.page(PAGE) == table.PAGE.read_text()


class Leaky(Memory):
    """A memory with all cells green."""

    def __init__(self, width):
        super().__init__(width)
        self.linear = nn.Linear(width, width)

    def initial_state(self, batch):
        return TensorDict({"h": self.zeros(batch, self.width)}, [batch])

    def step(self, x, state, start):
        h = 0.5 * self.restart(state, start)["h"] + self.linear(x)
        return h, TensorDict({"h": h}, [x.shape[0]])


class Compiled(Leaky):
    def step(self, x, state, start):
        return super().step(x + torch.compiler.is_compiling(), state, start)


class Branching(Leaky):
    def step(self, x, state, start):
        return super().step(x if x.sum() > 0 else 2 * x, state, start)


class Casts(Leaky):
    def forward(self, x, state, start):
        return super().forward(x, state, start)

    def __call__(self, x, state, start):
        y, state = super().__call__(x, state, start)
        return y @ torch.eye(self.width), state  # outside of what Memory guards


class Halves(Leaky):
    def _apply(self, fn, recurse=True):
        return nn.Module._apply(self, fn, recurse)


class OneAndOnly(Leaky):
    def __deepcopy__(self, memo):
        return self


class Forgets(Leaky):
    def __setstate__(self, state):
        super().__setstate__(state)
        nn.init.zeros_(self.linear.weight)


class Unsaved(Leaky):
    def state_dict(self, *given, **named):
        return {key: torch.zeros_like(value) for key, value in super().state_dict(*given, **named).items()}


class Unused(Leaky):
    def __init__(self, width):
        super().__init__(width)
        self.spare = nn.Parameter(torch.zeros(1))


BROKEN = {
    "compile": Compiled,
    "export": Branching,
    "autocast": Casts,
    "half": Halves,
    "vmap": Branching,
    "deepcopy": OneAndOnly,
    "pickle": Forgets,
    "state_dict": Unsaved,
    "DDP": Unused,
}


@pytest.mark.parametrize("column", table.CELLS)
def test_a_cell_is_red_where_something_is_broken(column, monkeypatch):
    for kind, is_green in ((Leaky, True), (BROKEN[column], False)):
        monkeypatch.setattr(table, "make_memory", lambda name, width, kind=kind: kind(width))
        said = table.measure("any", column)
        assert (said == "yes") == is_green, said
        assert "\n" not in said


def halves(rank, folder, names, found):
    """Learn from one of two lives in one of two processes; leave the gradients that both agree on."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    for name in names:
        torch.manual_seed(0)
        memory = make_memory(name, table.D)
        x, state, start = (part[rank : rank + 1] for part in table.inputs(memory, table.SEGMENT))
        parallel = DistributedDataParallel(memory)
        for _ in range(2):
            memory.zero_grad()
            parallel(x, state, start)[0].sin().sum().backward()
        if rank == 0:
            found[name] = {key: p.grad for key, p in memory.named_parameters()}
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_processes_learn_as_one_does_from_both_lives(tmp_path):
    with torch.multiprocessing.Manager() as manager:
        found = manager.dict()
        torch.multiprocessing.start_processes(halves, (tmp_path, sorted(MEMORIES), found), 2, start_method="fork")
        got = dict(found)
    for name in sorted(MEMORIES):
        torch.manual_seed(0)
        memory = make_memory(name, table.D)
        memory(*table.inputs(memory, table.SEGMENT))[0].sin().sum().backward()
        for key, p in memory.named_parameters():
            torch.testing.assert_close(got[name][key], p.grad / 2, rtol=1e-3, atol=1e-5, msg=f"{name}: {key}")
