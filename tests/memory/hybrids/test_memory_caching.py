import pytest
import torch
from tensordict import TensorDict
from torch import nn

from lifelong.memory import Memory, MemoryCaching, check_memory, make_memory


class Count(Memory):
    """Host whose state is the sum of its inputs, which it gives back."""

    def __init__(self, width):
        super().__init__(width)
        self.scale = nn.Parameter(torch.ones(1))

    def initial_state(self, batch):
        return TensorDict({"sum": self.zeros(batch, self.width)}, [batch])

    def step(self, x, state, start):
        total = self.restart(state, start)["sum"] + x
        return self.scale * total, TensorDict({"sum": total}, [x.shape[0]])


def lived(memory, *values, start=None):
    x = torch.tensor(values).double()[None, :, None]
    begins = torch.tensor([[step == start for step in range(len(values))]])
    memory = memory.double()
    y, state = memory(x, memory.initial_state(1), begins)
    return y.flatten(), state


def test_cached_states_are_read_with_the_present_input_and_the_oldest_is_dropped():
    memory = MemoryCaching(1, Count(1), slots=2, segment=2, mix="residual")
    y, state = lived(memory, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, start=7)
    # sums 1, 3 | 6, 10 | 15, 21 | 28; states 3, 10, 21 are cached, two at a time; each read adds the present input
    want = [1, 3, 6 + (3 + 3), 10 + (3 + 4), 15 + (3 + 5) + (10 + 5), 21 + (3 + 6) + (10 + 6), 28 + (21 + 7) + (10 + 7)]
    torch.testing.assert_close(y, torch.tensor([*want, 8.0]).double())
    assert state["host", "sum"].item() == 8


def test_outputs_are_weighed_by_the_likeness_of_input_and_segment():
    memory = MemoryCaching(1, Count(1), slots=2, segment=2)
    nn.init.ones_(memory.gate.weight)
    y, _ = lived(memory, 1.0, 3.0, 2.0)
    # segment 1: mean 2, state 4; the present one: mean 2, sum 6: equal scores 2 * 2
    torch.testing.assert_close(y[-1].item(), (6 + (4 + 2)) / 2)
    y, _ = lived(memory, 1.0, 3.0, -1.0)
    a, b = torch.tensor([-1.0 * 2, -1.0 * -1]).double().softmax(0)  # present: mean -1, sum 3; cached: 4 - 1
    torch.testing.assert_close(y[-1], a * 3 + b * 3)


def test_only_the_best_are_read():
    memory = MemoryCaching(1, Count(1), slots=2, segment=1, mix="sparse", active=1)
    nn.init.ones_(memory.gate.weight)
    y, _ = lived(memory, 5.0, -1.0, 2.0)
    # cached: mean 5, state 5, score 10; mean -1, score -2: not read; present: mean 2, sum 6, score 4
    a, b = torch.tensor([10.0, 4.0]).double().softmax(0)
    torch.testing.assert_close(y[-1], a * (5 + 2) + b * 6)


def test_fresh_segments_begin_empty():
    y, _ = lived(MemoryCaching(1, Count(1), slots=2, segment=2, mix="residual", fresh=True), 1.0, 2.0, 4.0, 8.0, 16.0)
    want = [1.0, 3.0, 4 + (3 + 4), 12 + (3 + 8), 16 + (3 + 16) + (12 + 16)]
    torch.testing.assert_close(y, torch.tensor(want).double())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("window", {"mix": "sparse"}),
        ("palimpsa", {"mix": "residual", "fresh": True}),
        ("cached:gru", {"mix": "sparse"}),
    ],
)
def test_other_hosts_and_forms_keep_the_contract(name, options):
    check_memory(MemoryCaching(8, make_memory(name, 8), slots=3, segment=6, **options), long_life=200)


def test_it_is_made_by_name_with_the_hosts_options():
    memory = make_memory("cached:gla", 8, num_heads=2, slots=3, segment=5)
    assert memory.host.shape[0] == 2
    assert memory.slots == 3
    assert type(make_memory("cached", 8).host) is type(make_memory("gated_delta", 8))
    assert type(make_memory("cached:metaplastic:gla", 8).host).__name__ == "Metaplastic"
    host = make_memory("gru", 8)
    assert memory.state_bytes == 4 * make_memory("gla", 8, num_heads=2).state_bytes + 4 * 4 * 8 + 8
    assert MemoryCaching(8, host).host is host


def test_wrong_names_and_settings_are_refused():
    with pytest.raises(KeyError, match="no memory 'gated_dleta'; did you mean 'gated_delta'"):
        make_memory("cached:gated_dleta", 8)
    with pytest.raises(KeyError, match="no memory 'cachd:gru'; did you mean 'cached:gru'"):
        make_memory("cachd:gru", 8)
    with pytest.raises(TypeError, match="memory 'gru' got an unexpected keyword argument 'num_heads'"):
        make_memory("cached:gru", 8, num_heads=2)
    with pytest.raises(ValueError, match="host must have a state to cache, NoMemory has none"):
        make_memory("cached:none", 8)
    with pytest.raises(ValueError, match=r"active must be within 1 \.\. slots: active=3, slots=2"):
        make_memory("cached", 8, mix="sparse", slots=2, active=3)
    with pytest.raises(ValueError, match="mix must be one of gated, sparse, residual, got 'soup'"):
        make_memory("cached", 8, mix="soup")
