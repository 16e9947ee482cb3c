import math

import pytest
import torch
from torch import nn

from lifelong.kernels.in_place import in_place
from lifelong.memory import LoLA, Window, check_memory

FIRST, SECOND = [2.0, 0.0], [0.0, 3.0]  # two keys, brought to length 1


def small(bare, **options):
    """Return a LoLA with A = 0: all four features are 1/4, so linear attention is the mean of its values."""
    memory = bare(LoLA(5, num_heads=1, window=2, cache=1, key_dim=2, value_dim=1, conv_size=1, **options))
    nn.init.constant_(memory.linear_bias, math.log(4))  # 1/4 * 1/4 * 4 features * 4: each pair weighs 1
    return memory


def lived(memory, steps, start=None):
    x = torch.tensor([[[*q, *k, v] for q, k, v in steps]]).double()
    start = torch.zeros(1, len(steps), dtype=torch.bool) if start is None else start
    return memory(x, memory.initial_state(1), start)


def test_what_the_sums_would_get_wrong_is_kept_and_the_rest_is_summed(bare):
    memory = small(bare)
    y, state = lived(memory, [(FIRST, FIRST, v) for v in (2.0, 3.0, 16.0, 19.0, 5.0, 0.0)])
    # g = 0: all that there is weighs 1, so y is the mean of the life: 2, 5/2, 21/3, 40/4, 45/5, 45/6
    torch.testing.assert_close(y.flatten(), torch.tensor([2.0, 2.5, 7.0, 10.0, 9.0, 7.5]).double())
    # 2 leaves the window first, into the empty cache;  3 leaves: an empty memory recalls 0, 4 < 9, so 2 is summed;
    # 16 leaves: 2 is recalled, (3 - 2)^2 < (16 - 2)^2, so 3 is summed;  19 leaves: 2.5 is recalled, 16 is summed;
    # 5 leaves: 7 is recalled, (5 - 7)^2 < (19 - 7)^2, so 5 is summed
    assert state["v"].flatten().tolist() == [19.0, 0.0]
    total, mass = state["S"][0, 0]
    torch.testing.assert_close(total, torch.full((4,), (2 + 3 + 16 + 5) / 4).double())
    torch.testing.assert_close(mass, torch.ones(4).double())
    assert state["count"].item() == 3


def test_window_cache_and_sums_share_one_normaliser(bare):
    memory = small(bare)
    nn.init.constant_(memory.sharpness, math.log(3))  # a key that fits weighs three times
    memory.bias.data[0, 1] = math.log(2)  # one step ago counts twice
    memory.linear_bias.data += math.log(5)  # a pair in the sums five times
    steps = [(FIRST, FIRST, 2.0), (FIRST, SECOND, 3.0), (FIRST, SECOND, 16.0), (FIRST, FIRST, 20.0)]
    y, _ = lived(memory, steps)
    # before the last step 3 is in the cache and 2 in the sums (see above)
    want = (3 * 20 + 2 * 16 + 3 + 5 * 2) / (3 + 2 + 1 + 5)
    torch.testing.assert_close(y[0, -1, 0].item(), want, rtol=1e-5, atol=0)  # unit()'s eps


def test_a_new_life_recalls_nothing(bare):
    start = torch.tensor([[False] * 5 + [True, False, False]])
    y, state = lived(small(bare), [(FIRST, FIRST, v) for v in (2.0, 3.0, 16.0, 19.0, 5.0, 1.0, 4.0, 10.0)], start)
    torch.testing.assert_close(y[0, 5:, 0], torch.tensor([1.0, 2.5, 5.0]).double())
    assert state["v"].flatten().tolist() == [4.0, 10.0]  # 1 recalled as 0 is the lesser error
    torch.testing.assert_close(state["S"][0, 0, 0], torch.full((4,), 1 / 4).double())


def test_it_is_a_window_until_the_first_step_has_left_it():
    torch.manual_seed(0)
    memory, window = LoLA(8, num_heads=2, window=5, cache=2).double(), Window(8, num_heads=2, cache=5).double()
    nn.init.normal_(memory.bias)
    window.load_state_dict({k: v for k, v in memory.state_dict().items() if k not in ("features", "linear_bias")})
    x, start = torch.randn(3, 30, 8, dtype=torch.double), torch.rand(3, 30) < 0.2
    start[:, ::5] = True
    torch.testing.assert_close(
        memory(x, memory.initial_state(3), start)[0], window(x, window.initial_state(3), start)[0]
    )


def test_at_birth_the_sums_weigh_an_average_pair_as_the_softmax_does():
    torch.manual_seed(0)
    memory = LoLA(32, num_heads=1, key_dim=32).double()
    q, k = (nn.functional.normalize(torch.randn(10_000, 1, 32).double(), dim=-1) for _ in range(2))
    exact = (10 * (q * k).sum(-1)).exp().mean()
    linear = memory.linear_bias.exp() * (memory.phi(q) * memory.phi(k)).sum(-1).mean()
    assert 0.7 < (linear / exact).item() < 1.4


@pytest.mark.parametrize("start", [0.0, 0.02, 0.3])
@pytest.mark.parametrize(("window", "cache"), [(2, 1), (3, 4), (16, 16)])
@torch.no_grad()
def test_compiled_steps_say_what_a_pass_says_of_every_step_and_state(window, cache, start):
    torch.manual_seed(0)
    for dtype, near in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        memory = LoLA(16, num_heads=2, window=window, cache=cache).to(dtype)
        nn.init.normal_(memory.bias)
        nn.init.normal_(memory.linear_bias)
        x, starts = torch.randn(4, 90, 16, dtype=dtype), torch.rand(4, 90) < start
        wanted, after = memory(x, memory.initial_state(4), starts)
        state = memory.initial_state(4)
        with in_place():
            for t in range(90):
                y, state = memory.step(x[:, t], state, starts[:, t])
                torch.testing.assert_close(y, wanted[:, t], rtol=0, atol=near)
        for name in ("k", "v", "S", "count", "window"):
            torch.testing.assert_close(state[name], after[name], rtol=0, atol=10 * near)


def test_small_caches_keep_the_contract():
    check_memory(LoLA(8, num_heads=2, window=2, cache=1), steps=12, long_life=1000)
    check_memory(LoLA(8, num_heads=1, window=3, cache=4), steps=20, long_life=1000)


@pytest.mark.parametrize(("options", "message"), [({"window": 1}, "window=1"), ({"cache": 0}, "cache=0")])
def test_a_window_and_a_cache_there_must_be(options, message):
    with pytest.raises(ValueError, match=message):
        LoLA(4, **options)
