import pytest
import torch

from lifelong.kernels.in_place import in_place
from lifelong.kernels.ring_attention import ring_attention
from lifelong.kernels.ring_attention.cpu_step import ring_attention as compiled
from lifelong.kernels.ring_attention.reference import ring_attention as reference

NAMES = ("y", "keys", "values", "count")


def draw(T, W=5, B=3, H=2, K=4, V=3, E=0, start=None, lived=(0, 2, 7)):
    """Rows that are not in use are zero, as a life leaves them."""
    used, place = torch.tensor([min(n, W - 1) for n in lived[:B]]), torch.tensor([n % (W - 1) for n in lived[:B]])
    age = (place[:, None] - 1 - torch.arange(W - 1)) % (W - 1) + 1
    seen = (age <= used[:, None])[..., None, None]
    inputs = {
        "q": 3 * torch.randn(B, T, H, K),
        "k": torch.randn(B, T, H, K),
        "v": torch.randn(B, T, H, V),
        "bias": torch.randn(H, W),
        "keys": torch.where(seen, torch.randn(B, W - 1, H, K), 0.0),
        "values": torch.where(seen, torch.randn(B, W - 1, H, V), 0.0),
        "count": (used + W * place)[:, None],
        "start": torch.rand(B, T) < 0.2 if start is None else start,
    }
    return inputs | ({"others": (torch.randn(B, T, H, E), torch.randn(B, T, E, H, V))} if E else {})


def doubled(inputs):
    def one(x):
        return x.double() if x.is_floating_point() else x

    return {name: tuple(map(one, x)) if name == "others" else one(x) for name, x in inputs.items()}


@pytest.mark.parametrize("T", [1, 2, 4, 5, 20, 65])
def test_the_pass_says_what_the_plain_loop_says_with_all_gradients(agree, T):
    agree("ring_attention", draw(T))


def test_lives_may_start_anywhere(agree, starts):
    agree("ring_attention", draw(11, start=starts(3, 11)))


@pytest.mark.parametrize("W", [2, 3, 30])
def test_the_ring_may_be_shorter_or_longer_than_the_pass(agree, W):
    agree("ring_attention", draw(9, W=W, lived=(0, 1, 40)))


@pytest.mark.parametrize("E", [0, 2])
@pytest.mark.parametrize("W", [2, 5])
@torch.no_grad()
def test_compiled_steps_say_what_the_plain_loop_says_of_every_step_and_state(tolerance, E, W):
    steps = draw(23, W=W, E=E)
    for dtype in (torch.float64, torch.float32):
        inputs = doubled(steps) if dtype == torch.float64 else steps
        wanted, cache = reference(**doubled(steps)), tuple(inputs[name] for name in NAMES[1:])
        for t in range(23):
            now = {name: inputs[name][:, t : t + 1] for name in ("q", "k", "v", "start")}
            others = tuple(z[:, t : t + 1] for z in inputs["others"]) if E else None
            given = dict(zip(NAMES[1:], cache, strict=True)) | {"bias": inputs["bias"], "others": others}
            y, *cache = compiled(**now, **given)
            torch.testing.assert_close(y[:, 0].double(), wanted[0][:, t], rtol=0, atol=10 * tolerance[dtype])
        for got, want in zip(cache, wanted[1:], strict=True):
            torch.testing.assert_close(got.to(want.dtype), want, rtol=0, atol=10 * tolerance[dtype])


@torch.no_grad()
def test_a_step_writes_the_cache_in_place_only_where_that_is_allowed():
    inputs = draw(1, start=torch.tensor([[False], [True], [False]]))
    before = {name: inputs[name].clone() for name in NAMES[1:]}
    wanted = ring_attention(**inputs)
    assert all(torch.equal(inputs[name], before[name]) for name in before)
    with in_place():
        got = ring_attention(**inputs)
    for name, x, want in zip(NAMES, got, wanted, strict=True):
        assert torch.equal(x, want)
        assert name == "y" or x.data_ptr() == inputs[name].data_ptr()


def test_a_cache_that_a_gradient_may_need_is_left_alone():
    inputs = draw(1)
    before = inputs["keys"].clone()
    inputs["q"].requires_grad_()
    with in_place():
        ring_attention(**inputs)[0].sum().backward()
    assert torch.equal(inputs["keys"], before)


def test_one_number_by_hand():
    one = torch.ones(1, 1, 1, 1)
    keys, values = torch.zeros(1, 2, 1, 1), torch.tensor([3.0, 5.0]).view(1, 2, 1, 1)
    bias = torch.tensor([[1.0, 2.0, 3.0]]).log()
    # rows 0 and 1 are in use and 0 is written next, so that 5 is one step old and 3 is two: (7 + 2 * 5 + 3 * 3) / 6
    y, _, values, count = ring_attention(
        one, 0 * one, 7 * one, bias, keys, values, torch.tensor([[2]]), torch.tensor([[False]])
    )
    torch.testing.assert_close(y.item(), 26 / 6)
    assert values.flatten().tolist() == [7.0, 5.0]
    assert count.item() == 2 + 3 * 1


@pytest.mark.parametrize(("name", "x"), [("keys", torch.zeros(3, 3, 2, 4)), ("count", torch.zeros(3, 1))])
def test_what_does_not_fit_is_named(name, x):
    with pytest.raises(ValueError, match=f"{name} must be"):
        ring_attention(**draw(2) | {name: x})
