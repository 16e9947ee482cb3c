import pytest
import torch
from torch import nn

from lifelong.kernels.gated_cells import cpu, gru, lstm, reference

TOLERANCE = 1e-5  # of the largest number in the tensor compared, or of 1; float32 against float64
GATES = {"gru": 3, "lstm": 4}


def draw(op, B=3, T=7, N=5, start=None):
    given = {
        "given": 2 * torch.randn(B, T, GATES[op] * N),
        "recurrent": torch.randn(GATES[op] * N, N) / N**0.5,
        "bias": torch.randn(GATES[op] * N),
        "h": torch.randn(B, N),
        "c": torch.randn(B, N),
        "start": torch.rand(B, T) < 0.15 if start is None else start,
    }
    given.pop("c" if op == "gru" else "bias")
    return given


def outcome(form, given, dtype):
    """Run forward and backward: what comes out, and the gradient of every input."""
    leaves = {name: x.to(dtype).requires_grad_() if x.is_floating_point() else x for name, x in given.items()}
    outputs = form(**leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(x.shape, generator=generator, dtype=torch.float64).to(dtype) for x in outputs]
    return [*outputs, *torch.autograd.grad(outputs, [x for x in leaves.values() if x.requires_grad], weights)]


def assert_passes_agree(op, given):
    wanted = outcome(getattr(reference, op), given, torch.float64)
    got = outcome(getattr(cpu, op), given, torch.float32)
    for x, y in zip(wanted, got, strict=True):
        torch.testing.assert_close(y.double(), x, rtol=0.0, atol=TOLERANCE * max(1.0, x.abs().max().item()))


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("T", [1, 2, 3, 64])
def test_the_compiled_loop_says_what_the_plain_loop_says_with_all_gradients(op, T):
    assert_passes_agree(op, draw(op, T=T))


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize(("B", "N"), [(1, 1), (8, 4), (9, 6), (17, 33)])
def test_any_number_of_lives_and_units(op, B, N):
    assert_passes_agree(op, draw(op, B, 5, N))


@pytest.mark.parametrize("op", GATES)
def test_lives_may_start_anywhere(op, starts):
    assert_passes_agree(op, draw(op, T=9, start=starts(3, 9)))


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("size", [1e-6, 30.0, 1e4])
def test_gates_may_be_all_but_closed_and_far_beyond(op, size):
    given = draw(op, T=4)
    assert_passes_agree(op, given | {"given": size * given["given"]})


@pytest.mark.parametrize("op", GATES)
def test_an_old_life_is_not_seen_even_where_it_is_not_a_number(op):
    given = draw(op, T=4, start=torch.tensor([[False, False, True, False]] * 3))
    spoilt = {name: torch.full_like(x, torch.nan) if name in ("h", "c") else x.clone() for name, x in given.items()}
    spoilt["given"][:, :2] = torch.nan
    form = getattr(cpu, op)
    wanted, got = (form(**x) if op == "gru" else form(**x)[0] for x in (given, spoilt))
    assert torch.equal(wanted[:, 2:], got[:, 2:])
    assert got[:, :2].isnan().all()


@pytest.mark.parametrize("op", GATES)
def test_what_is_not_a_number_stays_none(op):
    given = draw(op, start=torch.zeros(3, 7).bool())
    given["given"][1, 2, 0] = torch.nan
    found = getattr(cpu, op)(**given)
    hs = found if op == "gru" else found[0]
    assert hs[1, 2:, 0].isnan().all()
    assert hs[[0, 2]].isfinite().all()


@pytest.mark.parametrize(("op", "network"), [("gru", nn.GRU), ("lstm", nn.LSTM)])
@pytest.mark.parametrize("form", [reference, cpu])
def test_without_starts_it_is_torchs_own(op, network, form):
    net, x = network(4, 5, batch_first=True), torch.randn(3, 6, 4)
    w_ih, w_hh, b_ih, b_hh = net.parameters()
    h, c, start = torch.randn(3, 5), torch.randn(3, 5), torch.zeros(3, 6).bool()
    if op == "gru":
        wanted, _ = net(x, h[None])
        got = form.gru(nn.functional.linear(x, w_ih, b_ih), w_hh, b_hh, h, start)
    else:
        wanted, (_, last) = net(x, (h[None], c[None]))
        got, after = form.lstm(nn.functional.linear(x, w_ih, b_ih + b_hh), w_hh, h, c, start)
        torch.testing.assert_close(after, last[0], rtol=0.0, atol=1e-6)
    torch.testing.assert_close(got, wanted, rtol=0.0, atol=1e-6)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"given must be \[B, T, 4 N\], got \[3, 7, 15\]"):
        lstm(**draw("lstm") | {"given": torch.ones(3, 7, 15)})
    with pytest.raises(ValueError, match=r"bias must be \[15\], got \[5\]"):
        gru(**draw("gru") | {"bias": torch.ones(5)})
    with pytest.raises(ValueError, match=r"start must be bool, got torch.float32"):
        gru(**draw("gru") | {"start": torch.ones(3, 7)})
