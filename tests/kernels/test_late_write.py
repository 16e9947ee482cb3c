import inspect
from functools import partial

import pytest
import torch
from hypothesis import given, settings, strategies as st

from lifelong.kernels.inner_loop import size
from lifelong.kernels.inner_loop.network import split
from lifelong.kernels.late_write import late_write
from lifelong.kernels.late_write.gated import ascent, read

STATE = ("fast", "gathered", "momentum", "phase")


def draw(T, network="mlp", period=6, B=2, H=2, K=3, V=4, N=5, start=None, *, momentum=True, batch=None, layers=None):
    layers = ((N, K), (V, N), (N, K)) if network == "gated" else layers or ((N, K), (V, N))
    P = size(layers)
    tensors = {
        "q": torch.randn(B, T, H, K),
        "k": torch.randn(B, T, H, K),
        "v": torch.randn(B, T, H, V),
        "rate": torch.rand(B, T, H, 3) if network == "gated" else torch.rand(B, T, H),
        "weights": torch.randn(H, P),
        "fast": 0.3 * torch.randn(B, H, P),
        "gathered": 0.3 * torch.randn(B, H, P),
        "phase": torch.randint(period, (B, 1)),
        "start": torch.rand(B, T) < 0.1 if start is None else start,
    }
    fixed = {"layers": layers, "period": period, "network": network, "batch": batch}
    if not momentum:
        return tensors, fixed | {"momentum": None}
    return tensors | {
        "momentum": 0.3 * torch.randn(B, H, P),
        "keep": torch.rand(H),
        "stride": torch.rand(H),
    }, fixed


@pytest.fixture(scope="session")
def fit(forms):
    """Return the forms that have a network and a momentum: the compiled loop has the plain network only."""

    def of(tensors, fixed):
        plain = fixed.get("network", "mlp") == "mlp" and tensors.get("momentum") is None
        return {name: form for name, form in forms("late_write").items() if plain or name != "cpu"}

    return of


@pytest.fixture(scope="session")
def forms_agree(agree, fit):
    def compare(drawn, dtype=torch.float64):
        tensors, fixed = drawn
        ways = {name: partial(form, **fixed) for name, form in fit(tensors, fixed).items() if name != "reference"}
        agree("late_write", tensors, dtype, only=ways, fixed=fixed)

    return compare


@pytest.mark.parametrize("momentum", [False, True])
@pytest.mark.parametrize("network", ["mlp", "gated"])
@pytest.mark.parametrize("T", [1, 2, 7, 33])
def test_mini_batches_say_what_the_plain_loop_says(forms_agree, T, network, momentum):
    forms_agree(draw(T, network, momentum=momentum))


@pytest.mark.parametrize("layers", [((4, 3),), ((5, 3), (2, 5), (4, 2))])
def test_the_network_may_have_any_depth(forms_agree, layers):
    forms_agree(draw(17, momentum=False, layers=layers))


@pytest.mark.parametrize("batch", [1, 2, 6])
def test_a_period_may_be_cut_into_mini_batches(forms_agree, batch):
    forms_agree(draw(20, batch=batch))


@pytest.mark.parametrize("network", ["mlp", "gated"])
@pytest.mark.parametrize("T", [3, 25])
def test_lives_may_start_anywhere(forms_agree, starts, T, network):
    forms_agree(draw(T, network, start=starts(2, T)))


def test_gradients_may_be_raw(forms_agree, forms):
    tensors, fixed = draw(11, momentum=False)
    tensors["rate"] /= 16
    forms_agree((tensors, fixed | {"bound": False}))
    raw, bound = (forms("late_write")["reference"](**tensors, **fixed, bound=b)[0] for b in (False, True))
    assert (raw - bound).abs().max() > 1e-3


def test_single_precision_is_as_good_as_it_can_be(forms_agree):
    forms_agree(draw(33, momentum=False), torch.float32)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_forms_agree_whatever_the_shapes(forms_agree, data):
    few = st.integers(1, 4)
    B, H, K, V, N, T, batch, many = (data.draw(few) for _ in range(8))
    network, momentum = data.draw(st.sampled_from(["mlp", "gated"])), data.draw(st.booleans())
    start = torch.tensor(data.draw(st.lists(st.booleans(), min_size=B * T, max_size=B * T))).view(B, T)
    torch.manual_seed(data.draw(st.integers(0, 99)))
    forms_agree(draw(T, network, batch * many, B, H, K, V, N, start, momentum=momentum, batch=batch))


@pytest.mark.parametrize("cut", [1, 3, 10])
@pytest.mark.parametrize("momentum", [False, True])
def test_two_halves_equal_a_whole(fit, cut, momentum):
    tensors, fixed = draw(14, momentum=momentum)
    tensors = {n: x.double() if x.is_floating_point() else x for n, x in tensors.items()}
    for form in fit(tensors, fixed).values():
        whole = form(**tensors, **fixed)
        parts, state = [], {}
        for part in (slice(None, cut), slice(cut, None)):
            given = {n: x[:, part] if n in {"q", "k", "v", "rate", "start"} else x for n, x in tensors.items()}
            y, *after = form(**fixed | given | state)
            state = dict(zip(STATE, after, strict=True))
            parts.append(y)
        torch.testing.assert_close((torch.cat(parts, 1), *after), whole)


def test_the_phase_counts_from_the_start_of_each_life(forms):
    tensors, fixed = draw(
        5, momentum=False, period=4, start=torch.tensor([[0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]).bool(), batch=2
    )
    tensors["phase"] = torch.tensor([[3], [2]])
    for form in forms("late_write").values():
        assert form(**tensors, **fixed)[-1].tolist() == [[3], [3]]  # 3 steps of a new life; 2 + 5 = 4 + 3


def test_numbers_by_hand(forms):
    # A matrix of one weight that begins at 1, key and query 1, value 3, rate 1/2, written every second step.
    one, zero = torch.ones(1, 5, 1, 1).double(), torch.zeros(1, 1, 1).double()
    tensors = {
        "q": one, "k": one, "v": 3 * one, "rate": one[..., 0] / 2, "weights": torch.ones(1, 1).double(),
        "fast": zero, "gathered": zero, "phase": torch.zeros(1, 1, dtype=torch.int64),
        "start": torch.tensor([[False, False, False, False, True]]),
    }  # fmt: skip
    # The error 2 asks for 1, twice: 1 + 2 = 3;  there the error is 0;  a new life begins at 1 and gathers 1.
    for form in forms("late_write").values():
        y, fast, gathered, momentum, phase = form(**tensors, momentum=None, layers=((1, 1),), period=2)
        assert y.flatten().tolist() == [1.0, 1.0, 3.0, 3.0, 1.0]
        assert (fast.item(), gathered.item(), momentum, phase.item()) == (0.0, 1.0, None, 1)


def test_rows_keep_their_length_where_there_is_momentum(fit):
    tensors, fixed = draw(12, start=torch.zeros(2, 12).bool())
    tensors["fast"].zero_()
    for form in fit(tensors, fixed).values():
        fast = form(**tensors, **fixed)[1]
        assert fast.abs().max() > 0.1
        first = tensors["weights"].expand_as(fast)
        for z, moved in zip(split(first, fixed["layers"]), split(first + fast, fixed["layers"]), strict=True):
            torch.testing.assert_close(moved.norm(dim=-1), z.norm(dim=-1), rtol=1e-5, atol=1e-6)


def test_the_gradient_written_out_is_that_of_autograd():
    weights = [torch.randn(shape, requires_grad=True) for shape in ((5, 3), (4, 5), (5, 3))]
    k, v = torch.randn(7, 3), torch.randn(7, 4)
    wanted = torch.autograd.grad((read(weights, k) * v).sum(), weights)
    rate = torch.tensor([2.0, 3.0, 5.0]).expand(7, 3)
    got = ascent(weights, k, v, rate)
    want = torch.cat([r * g.flatten() for r, g in zip((2.0, 3.0, 5.0), wanted, strict=True)])
    torch.testing.assert_close(got, want)


def test_signatures_are_the_same_everywhere(forms):
    assert len({str(inspect.signature(form)) for form in (*forms("late_write").values(), late_write)}) == 1


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("q", torch.zeros(2, 4, 3), r"q must be \[B, T, H, K\], got \[2, 4, 3\]"),
        ("rate", torch.zeros(2, 4), r"rate must be \[2, 4, 2\], got \[2, 4\]"),
        ("fast", torch.zeros(2, 2, 9), r"fast must be \[2, 2, 35\], got \[2, 2, 9\]"),
        ("phase", torch.zeros(2, 1), r"phase must be int64, got torch.float32"),
        ("start", torch.zeros(2, 4), r"start must be bool, got torch.float32"),
        ("keep", None, r"momentum, keep and stride need each other"),
        ("layers", ((5, 3), (3, 7)), r"layers must have 5 columns, got 7"),
        ("layers", ((5, 3), (3, 5)), r"layers must end in 4 rows, the width of v, got 3"),
        ("network", "gated", r"layers of a gated network must be \(N, 3\), \(4, N\), \(N, 3\), got"),
        ("network", "deep", r"network must be 'mlp' or 'gated', got 'deep'"),
        ("period", 0, r"period must be positive, and a multiple of batch: period=0, batch=None"),
        ("batch", 4, r"period must be positive, and a multiple of batch: period=6, batch=4"),
    ],
)
def test_what_does_not_fit_is_named(name, value, message):
    tensors, fixed = draw(4)
    with pytest.raises(ValueError, match=message):
        late_write(**tensors | fixed | {name: value})
