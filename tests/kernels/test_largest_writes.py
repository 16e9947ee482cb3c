import math

import pytest
import torch

from lifelong.kernels.in_place import in_place
from lifelong.kernels.largest_writes import largest_writes
from lifelong.kernels.largest_writes.cpu_step import largest_writes as compiled
from lifelong.kernels.largest_writes.reference import largest_writes as reference

NAMES = ("y", "keys", "values", "scores")


def draw(T, w=4, B=3, H=2, K=4, V=3, start=None, used=(0, 2, 4), most=6):
    """Slots in use come first, as a life leaves them; few scores, so that many are equal."""
    empty = torch.arange(w) >= torch.tensor(used[:B])[:, None].clamp(max=w)
    return {
        "q": 3 * torch.randn(B, T, H, K),
        "k": torch.randn(B, T, H, K),
        "v": torch.randn(B, T, H, V),
        "score": torch.randint(most, (B, T, H)),
        "sink": torch.randn(H),
        "keys": torch.randn(B, w, H, K).masked_fill(empty[..., None, None], 0.0),
        "values": torch.randn(B, w, H, V).masked_fill(empty[..., None, None], 0.0),
        "scores": torch.randint(most, (B, w, H)).masked_fill(empty[..., None], -1),
        "start": torch.rand(B, T) < 0.1 if start is None else start,
    }


def doubled(inputs):
    return {name: x.double() if x.is_floating_point() else x for name, x in inputs.items()}


@pytest.mark.parametrize("T", [1, 2, 30, 64, 65, 130])
def test_the_pass_says_what_the_plain_loop_says_with_all_gradients(agree, T):
    agree("largest_writes", draw(T))


@pytest.mark.parametrize("w", [1, 2, 40])
def test_caches_of_any_size(agree, w):
    agree("largest_writes", draw(30, w=w))


def test_lives_may_start_anywhere(agree, starts):
    agree("largest_writes", draw(12, start=starts(3, 12)))


@pytest.mark.parametrize("w", [1, 4, 30])
@torch.no_grad()
def test_compiled_steps_say_what_the_plain_loop_says_of_every_step_and_state(tolerance, w):
    steps = draw(60, w=w)
    for dtype in (torch.float64, torch.float32):
        inputs = doubled(steps) if dtype == torch.float64 else steps
        wanted, cache = reference(**doubled(steps)), tuple(inputs[name] for name in NAMES[1:])
        for t in range(60):
            now = {name: inputs[name][:, t : t + 1] for name in ("q", "k", "v", "score", "start")}
            y, *cache = compiled(**now, sink=inputs["sink"], **dict(zip(NAMES[1:], cache, strict=True)))
            torch.testing.assert_close(y[:, 0].double(), wanted[0][:, t], rtol=0, atol=10 * tolerance[dtype])
        for got, want in zip(cache, wanted[1:], strict=True):
            torch.testing.assert_close(got.to(want.dtype), want, rtol=0, atol=10 * tolerance[dtype])


@torch.no_grad()
def test_a_step_writes_the_cache_in_place_only_where_that_is_allowed():
    inputs = draw(1, start=torch.tensor([[False], [True], [False]]))
    before = {name: inputs[name].clone() for name in NAMES[1:]}
    wanted = largest_writes(**inputs)
    assert all(torch.equal(inputs[name], before[name]) for name in before)
    with in_place():
        got = largest_writes(**inputs)
    for name, x, want in zip(NAMES, got, wanted, strict=True):
        assert torch.equal(x, want)
        assert name == "y" or x.data_ptr() == inputs[name].data_ptr()


@pytest.mark.parametrize("form", [reference, compiled, largest_writes])
@torch.no_grad()
def test_one_number_by_hand(form):
    def one(*numbers, dtype=torch.float64):
        return torch.tensor(numbers, dtype=dtype).view(1, -1, 1, 1)

    def whole(*numbers):
        return torch.tensor(numbers).view(1, -1, 1)

    # scores 7, 5, 5 and a new 5: the latest of the least is the new one, which is not kept, but is seen
    fit = math.log(2)  # of a key above 0, log 1/2 of one below: the keys' length does not count
    given = {"q": one(fit), "sink": torch.tensor([0.0]).double(), "start": torch.tensor([[False]])}
    cache = {"keys": one(3.0, -5.0, 0.1), "values": one(1.0, 2.0, 3.0), "scores": whole(7, 5, 5)}
    y, keys, values, scores = form(k=one(9.0), v=one(10.0), score=whole(5), **given, **cache)
    mass = 2 + 1 / 2 + 2 + 2 + 1
    assert y.item() == pytest.approx((2 * 1 + 2 / 2 + 2 * 3 + 2 * 10) / mass, rel=1e-2)  # eps beside .1 squared
    assert (values.flatten().tolist(), scores.flatten().tolist()) == ([1.0, 2.0, 3.0], [7, 5, 5])
    # a new 6: the latest 5 leaves, and what came after it moves up
    y, keys, values, scores = form(k=one(9.0), v=one(10.0), score=whole(6), **given, **cache)
    assert y.item() == pytest.approx((2 * 1 + 2 / 2 + 2 * 10) / (mass - 2), rel=1e-5)
    assert keys.flatten().tolist() == [3.0, -5.0, 9.0]
    assert scores.flatten().tolist() == [7, 5, 6]


@pytest.mark.parametrize(
    ("name", "x"), [("keys", torch.zeros(3, 4, 2, 5)), ("score", torch.zeros(3, 2, 2)), ("start", torch.zeros(3, 2))]
)
def test_what_does_not_fit_is_named(name, x):
    with pytest.raises(ValueError, match=f"{name} must be"):
        largest_writes(**draw(2) | {name: x})
