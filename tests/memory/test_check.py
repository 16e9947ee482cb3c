"""Each clause of `check_memory` catches a memory made to break it."""

import contextlib

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from lifelong.kernels.in_place import next_state
from lifelong.memory import Memory, MemoryContractError, check_memory
from lifelong.memory.check import CLAUSES


class Leaky(Memory):
    """Valid memory: a leaky sum."""

    def __init__(self, width=4):
        super().__init__(width)
        self.linear = nn.Linear(width, width)

    def initial_state(self, batch):
        return TensorDict({"h": self.zeros(batch, self.width)}, [batch])

    def step(self, x, state, start):
        h = 0.5 * self.restart(state, start)["h"] + self.linear(x)
        return h, TensorDict({"h": h}, [x.shape[0]])


class PlainDict(Leaky):
    def initial_state(self, batch):
        return {"h": self.zeros(batch, self.width)}


class NoBatch(Leaky):
    def initial_state(self, batch):
        return TensorDict({"h": self.zeros(batch, self.width)}, [])


class Narrow(Leaky):
    def step(self, x, state, start):
        y, state = super().step(x, state, start)
        return y[:, 1:], state


class Half(Leaky):
    def initial_state(self, batch):
        return super().initial_state(batch).half()


class StaysSingle(Leaky):
    def initial_state(self, batch):
        return super().initial_state(batch).float()


class ComputedStart(Leaky):
    def initial_state(self, batch):
        return TensorDict({"h": self.linear(self.zeros(batch, self.width))}, [batch])


class Thins(Leaky):
    def _apply(self, fn, recurse=True):
        return nn.Module._apply(self, fn, recurse)


class OneAtLeast(Leaky):
    def initial_state(self, batch):
        return super().initial_state(max(batch, 1))


class OnlyOnes(Leaky):
    def restart(self, state, start):
        return super().restart(state, start == 1)


class ReadsWhatItWrote(Leaky):
    def step(self, x, state, start):
        before = self.restart(state, start)["h"]
        h = next_state(state["h"])
        if not h.requires_grad and not torch.is_grad_enabled():
            h.copy_(0.5 * before + self.linear(x))
            before = self.restart(state, start)["h"]
        h = 0.5 * before + self.linear(x)
        return h, TensorDict({"h": h}, [x.shape[0]])


class OfTheDefaultDtype(Leaky):
    def step(self, x, state, start):
        y, state = super().step(x, state, start)
        return y * torch.ones(1), state


class Unsaved(Leaky):
    def state_dict(self, *given, **named):
        values = super().state_dict(*given, **named)
        del values["linear.bias"]
        return values


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.x = x.detach()
        return x.square()

    @staticmethod
    def backward(ctx, dy):
        return 2 * ctx.x * dy


class Blind(Leaky):
    def step(self, x, state, start):
        if torch._C._are_functorch_transforms_active():
            return super().step(2 * x, state, start)
        return super().step(x, state, start)


class HalfASecond(Leaky):
    def step(self, x, state, start):
        y, state = super().step(x, state, start)
        return y + 0.1 * Square.apply(x), state


class Diary(Leaky):
    def initial_state(self, batch):
        return super().initial_state(batch).set("diary", self.zeros(batch, 0, self.width))

    def step(self, x, state, start):
        y, after = super().step(x, state.select("h"), start)
        return y, after.set("diary", torch.cat([state["diary"], x[:, None]], 1))

    def restart(self, state, start):
        return super().initial_state(start.shape[0]).where(start, state)


class InPlace(Leaky):
    def step(self, x, state, start):
        state["h"].clamp_(-0.1, 0.1)
        return super().step(x, state, start)


class Counting(Leaky):
    calls = 0

    def step(self, x, state, start):
        self.calls += 1
        y, state = super().step(x, state, start)
        return y + self.calls, state


class DeafInside(Leaky):
    def forward(self, x, state, start):
        first = torch.arange(x.shape[1]) == 0
        return super().forward(x, state, start & first)


class WholeChunks(Leaky):
    def forward(self, x, state, start):
        y, end = super().forward(x, state, start)
        return (y, end) if x.shape[1] % 4 == 0 else (y, state)


class BatchMean(Leaky):
    def step(self, x, state, start):
        y, state = super().step(x, state, start)
        return y - y.mean(0), state


class NeverRestarts(Leaky):
    def restart(self, state, start):
        return state


class Detached(Leaky):
    def step(self, x, state, start):
        return super().step(x, state.detach(), start)


class Idle(Leaky):
    def __init__(self):
        super().__init__()
        self.idle = nn.Parameter(torch.ones(1))


class CutAfter(Leaky):
    def step(self, x, state, start):
        y, state = super().step(x, state, start)
        return y, state.set("h", state["h"].detach() + 0.0 * state["h"])


class Handles(Leaky):
    """Memory whose state is an index into the module, which holds the values."""

    def __init__(self):
        super().__init__()
        self.table = {0: [0.0] * 4}

    def initial_state(self, batch):
        return TensorDict({"handle": torch.zeros(batch, dtype=torch.int64)}, [batch])

    def step(self, x, state, start):
        handle = self.restart(state, start)["handle"].tolist()
        h = 0.5 * x.new_tensor([self.table.get(i, [0.0] * 4) for i in handle]) + self.linear(x)
        rows = h.tolist()
        handle = [hash(tuple(round(number, 6) for number in row)) for row in rows]
        self.table.update(zip(handle, rows, strict=True))
        return h, TensorDict({"handle": torch.tensor(handle)}, [x.shape[0]])


class Grows(Leaky):
    def step(self, x, state, start):
        h = 1.5 * self.restart(state, start)["h"] + self.linear(x)
        return h, TensorDict({"h": h}, [x.shape[0]])


BROKEN = [
    (PlainDict, "state is a tensordict: initial_state(1) must be a TensorDict, got dict"),
    (NoBatch, "state is a tensordict: initial_state(1) must have batch size [1], got []"),
    (Narrow, "shapes are kept: y of step must be [3, 4], got [3, 3]"),
    (Half, "dtype is kept: 'h' of initial_state must be torch.float32 or an integer, got torch.float16"),
    (StaysSingle, "dtype is kept: 'h' of initial_state must be torch.float64 or an integer, got torch.float32"),
    (Diary, "size is constant: the state after 1 steps"),
    (InPlace, "inputs are left alone: the state given to step"),
    (Counting, "inputs are left alone: a second, equal call of step: y differs by"),
    (DeafInside, "one pass equals steps: one pass (starts at 30% of the steps) against steps: y differs by"),
    (WholeChunks, "two halves equal a whole: two parts cut at step 1: y differs by"),
    (BatchMean, "rows are independent: the other lives, when life 0 is changed: y differs by"),
    (NeverRestarts, "nothing crosses a start: a life that starts at step 0 after another"),
    (Detached, "gradients reach everything: the state's 'h' gets no gradient from y of forward"),
    (Idle, "gradients reach everything: parameter 'idle' gets no gradient from y of forward"),
    (CutAfter, "gradients reach everything: "),
    (Handles, "a saved state continues: a life continued from bytes: y differs by"),
    (Grows, "a long life stays finite: 'y' is not finite after 1000 steps of constant inputs"),
    (ComputedStart, "half precision and autocast run: initial_state under autocast to torch.bfloat16"),
    (Thins, "half parameters are refused: to(torch.bfloat16) must raise TypeError"),
    (OneAtLeast, "no lives and no steps run: forward with B = 0 and T = 0 must give y [0, 0, 4] and state [0]"),
    (OfTheDefaultDtype, "default dtype does not matter: a life under default dtype float64: y is torch.float64"),
    (Unsaved, "meta device is supported: RuntimeError: Error(s) in loading state_dict"),
    (Blind, "torch func agrees or refuses: the gradient of 'linear.weight' by torch.func.grad differs by"),
    (HalfASecond, "second derivatives are right or refused: the second derivative differs by"),
    (ReadsWhatItWrote, "bound steps equal steps: bound steps against steps: y differs by"),
    (OnlyOnes, "any nonzero start is a start: restart with torch.uint8 starts of 2: state 'h' differs by"),
]


def test_a_sound_memory_passes_and_the_clauses_are_told():
    assert check_memory(Leaky()) == tuple(CLAUSES)


class NeedsCompany(Leaky):
    def initial_state(self, batch):
        if batch == 1:
            raise ValueError("one life\nis too few")
        return super().initial_state(batch)


class Stumbles(Leaky):
    def step(self, x, state, start):
        if x.shape[0] == 3:
            raise IndexError("three")
        return super().step(x, state, start)


@pytest.mark.parametrize(
    ("broken", "message", "cause"),
    [
        (NeedsCompany, "initial_state(batch=1) raised ValueError: one life is too few (while checking: ", ValueError),
        (Stumbles, "step(x=[3, 4], state=state [3], start=[3]) raised IndexError: three (while", IndexError),
    ],
)
def test_an_exception_of_the_memory_is_filed_under_the_call_that_raised_it(broken, message, cause):
    with pytest.raises(MemoryContractError) as caught:
        check_memory(broken())
    assert str(caught.value).startswith(message)
    assert isinstance(caught.value.__cause__, cause)


@pytest.mark.parametrize("memory", [Leaky, Stumbles])
def test_one_thread_is_used_and_the_number_of_threads_is_restored(memory, monkeypatch):
    before, used = torch.get_num_threads(), set()
    monkeypatch.setattr(Leaky, "restart", lambda *given: used.add(torch.get_num_threads()) or Memory.restart(*given))
    with contextlib.suppress(MemoryContractError):
        check_memory(memory())
    assert used == {1}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("broken", "message"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_promise_is_named(broken, message):
    with pytest.raises(MemoryContractError) as caught:
        check_memory(broken())
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_every_clause_has_a_memory_that_breaks_it():
    assert {message.partition(":")[0] for _, message in BROKEN} == set(CLAUSES)


def test_a_memory_that_cannot_be_double_is_checked_in_single_precision():
    class SingleOnly(Leaky):
        def step(self, x, state, start):
            if x.dtype != torch.float32:
                raise RuntimeError("this kernel is float32")
            return super().step(x, state, start)

    check_memory(SingleOnly())


def test_neither_the_memory_nor_the_random_state_is_touched():
    memory = Leaky()
    weights, random = {name: p.clone() for name, p in memory.named_parameters()}, torch.get_rng_state()
    check_memory(memory)
    assert torch.equal(torch.get_rng_state(), random)
    for name, p in memory.named_parameters():
        assert torch.equal(p, weights[name])
        assert p.grad is None


def test_too_few_steps_to_cut_are_refused():
    with pytest.raises(ValueError, match="steps must be at least 4: steps=3"):
        check_memory(Leaky(), steps=3)
    with pytest.raises(ValueError, match="long_life must be positive: long_life=0"):
        check_memory(Leaky(), long_life=0)
    with pytest.raises(TypeError, match=r"memory must be a lifelong\.memory\.Memory, got Linear"):
        check_memory(torch.nn.Linear(2, 2))
