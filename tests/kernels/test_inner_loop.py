import inspect
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from lifelong.kernels.fast_weight.reference import fast_weight
from lifelong.kernels.inner_loop import Rules, inner_loop, last_pairs, size
from lifelong.kernels.inner_loop.network import descent, read, split
from lifelong.kernels.inner_loop.schedule import schedule
from lifelong.kernels.inner_loop.window import windows

MATRIX, BIASED = ((3, 3),), ((3, 4),)
MLP, BIASED_MLP, DEEP = ((5, 3), (3, 5)), ((5, 4), (3, 6)), ((4, 4), (5, 4), (3, 5))
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}  # of the largest number in the tensor compared, or of 1


def draw(
    T, layers=BIASED_MLP, batch=4, B=2, H=2, K=3, V=3, start=None, *, recent=0,
    momentum="steps", decay=True, scale=True, norm=True, loss="l2", parametrisation="identity", bound=True,
):  # fmt: skip
    """Draw the arguments; `recent` pairs in a window, 0 for steps that are trained on their own pair."""
    P, pairs = size(layers), T + max(recent - 1, 0)
    return {
        "q": torch.randn(B, T, H, K),
        "k": torch.randn(B, pairs, H, K),
        "v": torch.randn(B, pairs, H, V),
        "weights": torch.randn(H, P),
        "frozen": 0.3 * torch.randn(B, H, P),
        "fast": 0.3 * torch.randn(B, H, P),
        "momentum": 0.3 * torch.randn(B, H, P) if momentum else None,
        "phase": torch.randint(batch, (B, 1)),
        "start": torch.rand(B, T) < 0.1 if start is None else start,
        "rate": torch.rand(B, T, H),
        "decay": -torch.rand(B, T, H) if decay else None,
        "drag": torch.rand(B, T, H) if momentum else None,
        "scale": torch.rand(H, batch) if scale else None,
        "norm_scale": 1 + 0.3 * torch.randn(H, V) if norm else None,
        "norm_offset": torch.randn(H, V) if norm else None,
        "limit": torch.rand(B, pairs, H) + 0.5 if loss == "huber" else None,
        "trust": torch.rand(B, pairs, H) if recent else None,
    }, {
        "layers": layers, "batch": batch, "loss": loss, "parametrisation": parametrisation,
        "momentum_of": momentum or "steps", "bound": bound,
    }  # fmt: skip


def call(form, inputs, fixed):
    """Call with the norm and the rules as one argument each."""
    given = {name: x for name, x in (inputs | fixed).items() if not name.startswith("norm_")}
    given["norm"] = None if inputs["norm_scale"] is None else (inputs["norm_scale"], inputs["norm_offset"])
    rules = Rules(**{name: given.pop(name) for name in Rules._fields})
    return form(**given, rules=rules)


def outcome(form, drawn, dtype):
    inputs, fixed = drawn
    leaves = {
        name: x.to(dtype).requires_grad_() if x is not None and x.is_floating_point() else x
        for name, x in inputs.items()
    }
    outputs = [x for x in call(form, leaves, fixed)[:4] if x is not None]  # the phase has a test of its own
    generator = torch.Generator().manual_seed(1)
    by = [torch.randn(x.shape, generator=generator, dtype=torch.float64).to(dtype) for x in outputs]
    sources = {name: x for name, x in leaves.items() if x is not None and x.requires_grad}
    gradients = torch.autograd.grad(outputs, list(sources.values()), by, materialize_grads=True)
    return {f"output {n}": x.detach() for n, x in enumerate(outputs)} | {
        f"gradient of {name}": x for name, x in zip(sources, gradients, strict=True)
    }


def has_compiled_loop(drawn):
    return drawn[1]["momentum_of"] != "directions"


@pytest.fixture(scope="session")
def forms_agree(forms):
    def compare(drawn, dtype=torch.float64):
        ways = forms("inner_loop")
        wanted = outcome(ways["reference"], drawn, torch.float64)
        for way in ("chunk", "cpu") if has_compiled_loop(drawn) else ("chunk",):
            for name, got in outcome(ways[way], drawn, dtype).items():
                apart = (got.double() - wanted[name]).abs().max() / wanted[name].abs().max().clamp(min=1)
                assert apart < TOLERANCE[dtype], f"{way}, {name}: {apart:.2g}"

    return compare


@pytest.mark.parametrize("layers", [MATRIX, BIASED, MLP, BIASED_MLP, DEEP])
@pytest.mark.parametrize("T", [1, 2, 7, 33])
def test_mini_batches_say_what_the_plain_loop_says(forms_agree, layers, T):
    forms_agree(draw(T, layers))


@pytest.mark.parametrize("link", ["identity", "l4", "softmax"])
@pytest.mark.parametrize("loss", ["l2", "l3", "huber"])
def test_every_loss_and_link(forms_agree, loss, link):
    forms_agree(draw(11, loss=loss, parametrisation=link))


@pytest.mark.parametrize("off", ["momentum", "decay", "scale", "norm"])
@pytest.mark.parametrize("link", ["identity", "softmax"])
def test_every_part_may_be_missing(forms_agree, off, link):
    forms_agree(draw(11, parametrisation=link, **{off: False}))


@pytest.mark.parametrize(("layers", "recent"), [(BIASED, 0), (MLP, 0), (DEEP, 3)])
def test_gradients_may_be_raw(forms_agree, layers, recent):
    inputs, fixed = draw(11, layers, recent=recent, bound=False)
    inputs["rate"] /= 16
    forms_agree((inputs, fixed))


def test_all_parts_may_be_missing(forms_agree):
    forms_agree(draw(11, momentum=False, decay=False, scale=False, norm=False))


@pytest.mark.parametrize("link", ["identity", "l4", "softmax"])
@pytest.mark.parametrize("momentum", ["gradients", "directions"])
def test_momentum_of_whatever_it_is(forms_agree, momentum, link):
    forms_agree(draw(11, momentum=momentum, parametrisation=link))


@pytest.mark.parametrize("momentum", [False, "steps", "gradients", "directions"])
@pytest.mark.parametrize("recent", [1, 2, 6, 30])
def test_windows_reach_over_mini_batches_and_passes(forms_agree, recent, momentum):
    forms_agree(draw(11, momentum=momentum, recent=recent))


@pytest.mark.parametrize("loss", ["l3", "huber"])
def test_windows_with_every_loss(forms_agree, loss):
    forms_agree(draw(11, recent=3, loss=loss))


@pytest.mark.parametrize("T", [1, 3, 40])
def test_windows_do_not_reach_over_a_start(forms_agree, starts, T):
    forms_agree(draw(T, start=starts(2, T), recent=3, momentum="gradients"))


@pytest.mark.parametrize("batch", [1, 2, 16, 64])
def test_mini_batches_of_any_size(forms_agree, batch):
    forms_agree(draw(20, batch=batch))


@pytest.mark.parametrize("T", [3, 40])
def test_lives_may_start_anywhere(forms_agree, starts, T):
    forms_agree(draw(T, start=starts(2, T)))


def test_it_holds_over_two_hundred_steps(forms_agree):
    inputs, fixed = draw(200, batch=16)
    inputs["rate"] /= 16
    forms_agree((inputs, fixed))


def test_single_precision_is_as_good_as_it_can_be(forms_agree):
    inputs, fixed = draw(33)
    inputs["rate"] /= 4
    forms_agree((inputs, fixed), torch.float32)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_forms_agree_whatever_the_shapes(forms_agree, data):
    few = st.integers(1, 4)
    B, H, K, V, N, T, batch = (data.draw(few) for _ in range(7))
    bias = data.draw(st.integers(0, 1))
    start = torch.tensor(data.draw(st.lists(st.booleans(), min_size=B * T, max_size=B * T))).view(B, T)
    torch.manual_seed(data.draw(st.integers(0, 99)))
    forms_agree(draw(T, ((N, K + bias), (V, N + bias)), batch, B, H, K, V, start, norm=V > 1))


@pytest.mark.parametrize("cut", [1, 3, 10])
def test_two_halves_equal_a_whole(forms, cut):
    inputs, fixed = draw(14, recent=3)
    inputs = {n: x.double() if x is not None and x.is_floating_point() else x for n, x in inputs.items()}
    timed, paired = {"q", "rate", "start", "decay", "drag"}, {"k", "v", "trust"}
    new = {n: inputs[n][:, 2:] for n in paired}
    for form in forms("inner_loop").values():
        whole = call(form, inputs, fixed)
        parts, state, past = [], {}, {n: inputs[n][:, :2] for n in paired}
        for part in (slice(None, cut), slice(cut, None)):
            pairs = {n: torch.cat([past[n], new[n][:, part]], 1) for n in paired}
            given = {n: x[:, part] if n in timed else x for n, x in inputs.items()} | pairs | state
            y, *after = call(form, given, fixed)
            state = dict(zip(("frozen", "fast", "momentum", "phase"), after, strict=True))
            past = {n: last_pairs(z, given["start"]) for n, z in pairs.items()}
            parts.append(y)
        torch.testing.assert_close((torch.cat(parts, 1), *after), whole)


def test_the_phase_counts_from_the_start_of_each_life(forms):
    inputs, fixed = draw(5, batch=4, start=torch.tensor([[0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]).bool())
    inputs["phase"] = torch.tensor([[3], [2]])
    for form in forms("inner_loop").values():
        assert call(form, inputs, fixed)[-1].tolist() == [[3], [3]]  # 3 steps of a new life; 2 + 5 = 4 + 3


@pytest.mark.parametrize("loss", ["l2", "l3", "huber"])
@pytest.mark.parametrize("normed", [True, False])
def test_the_gradient_written_out_is_that_of_autograd(loss, normed):
    torch.manual_seed(1)
    weights = [w.requires_grad_() for w in split(0.1 * torch.randn(2, size(DEEP)).double(), DEEP)]
    x, v = torch.randn(2, 1, 3).double() / 2, torch.randn(2, 1, 3).double()
    norm = (torch.rand(2, 3).double() + 0.5, torch.randn(2, 3).double()) if normed else None
    limit = torch.full((2, 1), 0.7).double() if loss == "huber" else None
    error = read(weights, x, norm) - v
    size_of_error = error.norm(dim=-1)
    value = {
        "l2": lambda: error.square().sum() / 2,
        "l3": lambda: torch.where(error.abs() < 1, error.abs() ** 3 / 3, error.abs() - 2 / 3).sum(),
        "huber": lambda: torch.where(size_of_error < 0.7, size_of_error**2 / 2, 0.7 * size_of_error).sum(),
    }[loss]()
    wanted = torch.autograd.grad(value, weights)
    steps = descent([w.detach() for w in weights], x, v, norm, loss, limit, None)
    got = [d.mT @ x for d, x in steps]
    for g, w in zip(got, wanted, strict=True):
        share = (g * w).sum((-2, -1)) / w.square().sum((-2, -1))  # the normaliser: one factor for all layers
        torch.testing.assert_close(g, share[:, None, None] * w, rtol=1e-6, atol=1e-9)
        assert (share <= 1 + 1e-9).all()
    raw = descent([w.detach() for w in weights], x, v, norm, loss, limit, None, bound=False)
    torch.testing.assert_close([d.mT @ x for d, x in raw], list(wanted), rtol=1e-6, atol=1e-9)


def plain(T=20, layers=MATRIX, batch=1, **parts):
    """Return inputs of plain gradient descent, in float64 from an empty state with unit keys."""
    inputs, fixed = draw(T, layers, batch, **({"momentum": False, "scale": False, "norm": False} | parts))
    inputs = {n: x.double() if x is not None and x.is_floating_point() else x for n, x in inputs.items()}
    for state in ("weights", "frozen", "fast"):
        inputs[state].zero_()
    inputs["phase"].zero_()
    inputs["k"] = torch.nn.functional.normalize(inputs["k"], dim=-1)
    return inputs, fixed


def test_a_matrix_in_mini_batches_of_one_step_is_the_delta_rule(forms):
    inputs, fixed = plain(decay=False)
    S = torch.randn(2, 2, 3, 3).double()
    inputs["frozen"] = inputs["fast"] = S.flatten(-2)
    given = {n: inputs[n] for n in ("q", "k", "v", "start", "rate")}
    for form in forms("inner_loop").values():
        y, _, last, *_ = call(form, inputs, fixed)
        torch.testing.assert_close((y, last.unflatten(-1, (3, 3))), fast_weight(**given, state=S))


def test_numbers_by_hand(forms):
    # One weight, key and query 1, value 8, rate 1/2, mini-batches of two, momentum halved, decay 1/2.
    one = torch.ones(1, 4, 1, 1).double()
    inputs = {
        "q": one, "k": one, "v": 8 * one, "rate": one[..., 0] / 2,
        "weights": torch.ones(1, 1).double(), "frozen": torch.zeros(1, 1, 1).double(),
        "fast": torch.zeros(1, 1, 1).double(), "momentum": torch.zeros(1, 1, 1).double(),
        "phase": torch.zeros(1, 1, dtype=torch.int64), "start": torch.tensor([[False, False, False, True]]),
        "decay": -math.log(2) * one[..., 0], "drag": one[..., 0] / 2,
        "scale": None, "norm_scale": None, "norm_offset": None, "limit": None, "trust": None,
    }  # fmt: skip
    fixed = draw(4, ((1, 1),), 2)[1]
    # The slow weight is 1, so the error is -7 and a step's change 1/2 * 1/2 * 7 = 1.75.
    # M = 1.75, D = 1.75, y = 2.75;  M = 0.875 + 1.75 = 2.625, D = 0.875 + 2.625 = 3.5, y = 4.5, the mini-batch is over
    # error -3.5, change 0.875: M = 1.3125 + 0.875 = 2.1875, D = 1.75 + 2.1875 = 3.9375, y = 4.9375;  a new life: 2.75
    for form in forms("inner_loop").values():
        y, frozen, fast, momentum, phase = call(form, inputs, fixed)
        torch.testing.assert_close(y.flatten(), torch.tensor([2.75, 4.5, 4.9375, 2.75]).double())
        assert (frozen.item(), round(fast.item(), 9), round(momentum.item(), 9), phase.item()) == (0.0, 1.75, 1.75, 1)


def test_what_a_step_reads_of_its_mini_batch_and_what_remains(forms):
    inputs, fixed = plain(4, ((1, 1),), 2, B=1, H=1, K=1, V=1, decay=False, start=torch.zeros(1, 4).bool())
    inputs |= {"q": torch.ones(1, 4, 1, 1).double(), "k": torch.ones(1, 4, 1, 1).double()}
    inputs |= {"v": torch.tensor([8.0, 4.0, 1.0, 1.0]).double().view(1, 4, 1, 1), "rate": torch.ones(1, 4, 1).double()}
    inputs["scale"] = torch.tensor([[1.0, 0.5]]).double()
    # 8;  (8 + 4) / 2 = 6 and that remains;  6 - 5 = 1;  6 - (5 + 5) / 2 = 1
    for form in forms("inner_loop").values():
        y, frozen, *_ = call(form, inputs, fixed)
        torch.testing.assert_close(y.flatten(), torch.tensor([8.0, 6.0, 1.0, 1.0]).double())
        torch.testing.assert_close(frozen.item(), 1.0)


def test_an_unlimited_error_is_a_squared_one(forms_agree, forms):
    inputs, fixed = draw(9, loss="huber")
    inputs["limit"] = torch.full((2, 9, 2), 1e9)
    squared = inputs | {"limit": None}, fixed | {"loss": "l2"}
    form = forms("inner_loop")["chunk"]
    got, want = outcome(form, (inputs, fixed), torch.float64), outcome(form, squared, torch.float64)
    got.pop("gradient of limit")
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize(
    ("layers", "size_of_value"), [(BIASED, 1.0), (BIASED, 1e4), (BIASED_MLP, 1.0), (BIASED_MLP, 1e4), (DEEP, 1.0)]
)
def test_repetition_never_overshoots(layers, size_of_value):
    B, T, C = 8, 4000, 16
    inputs, fixed = draw(T, layers, C, B=B, H=1, decay=False, scale=False, norm=False, start=torch.zeros(B, T).bool())
    x, v = torch.randn(B, 1, 1, 3).double(), size_of_value * torch.randn(B, 1, 1, 3).double()
    zero = torch.zeros(B, 1, size(layers)).double()
    inputs |= {"q": x.expand(B, T, 1, 3), "k": x.expand(B, T, 1, 3), "v": v.expand(B, T, 1, 3)}
    inputs |= {"rate": torch.full((B, T, 1), 1 / C).double(), "drag": torch.full((B, T, 1), 0.5).double()}
    inputs |= {"frozen": zero, "fast": zero, "momentum": zero, "weights": inputs["weights"].double()}
    y = call(inner_loop, inputs, fixed)[0]
    error = (y - v).norm(dim=-1) / v.norm(dim=-1)
    assert error[:, -1].max() < 1e-3
    if size_of_value == 1.0 or len(layers) == 1:  # a network far from what it should say bends on its way there
        assert error.max() < 1.2 * error[:, 0].max()


def test_signatures_are_the_same_everywhere(forms):
    assert len({str(inspect.signature(form)) for form in (*forms("inner_loop").values(), inner_loop)}) == 1


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("q", torch.zeros(2, 4, 3), r"q must be \[B, T, H, K\], got \[2, 4, 3\]"),
        ("rate", torch.zeros(2, 4), r"rate must be \[2, 4, 2\], got \[2, 4\]"),
        ("k", torch.zeros(2, 5, 2, 3), r"k must be \[2, 4, 2, 3\], got \[2, 5, 2, 3\]"),
        ("trust", torch.zeros(2, 3, 2), r"trust must have a pair for every step: 4 steps, 3 pairs"),
        ("trust", torch.zeros(2, 6, 2), r"k must be \[2, 6, 2, 3\], got \[2, 4, 2, 3\]"),
        ("momentum_of", "weights", r"momentum_of must be 'steps', 'gradients' or 'directions', got 'weights'"),
        ("fast", torch.zeros(2, 2, 9), r"fast must be \[2, 2, 38\], got \[2, 2, 9\]"),
        ("phase", torch.zeros(2, 1), r"phase must be int64, got torch.float32"),
        ("start", torch.zeros(2, 4), r"start must be bool, got torch.float32"),
        ("drag", None, r"momentum and drag need each other"),
        ("limit", torch.zeros(2, 4, 2), r"limit belongs to the loss 'huber'.*loss='l2'"),
        ("layers", ((5, 3), (3, 7)), r"layers must have 5 columns, or 6 with a bias, got 7"),
        ("layers", ((5, 3), (4, 5)), r"layers must end in 3 rows, the width of v, got 4"),
        ("batch", 0, r"batch must be positive: batch=0"),
        ("loss", "l1", r"loss must be 'l2', 'l3' or 'huber', got 'l1'"),
        ("parametrisation", "log", r"parametrisation must be 'identity', 'l4' or 'softmax', got 'log'"),
    ],
)
def test_what_does_not_fit_is_named(name, value, message):
    inputs, fixed = draw(4)
    inputs, fixed = (inputs, fixed | {name: value}) if name in fixed else (inputs | {name: value}, fixed)
    with pytest.raises(ValueError, match=message):
        call(inner_loop, inputs, fixed)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("T", [1, 7])
def test_the_schedule_gives_back_what_it_lays_out(T, whole):
    z, start = torch.arange(2.0 * T).view(2, T), torch.zeros(2, T, dtype=torch.bool)
    start[0, T // 2] = True
    plan = schedule(torch.tensor([[2], [1]]), start, 3, whole=whole)
    laid = plan.lay_out(z)
    assert laid.shape == plan.there.shape
    assert plan.there.sum() == 2 * T
    assert torch.equal(plan.gather(laid.flatten(1)), z)
    # life 0 starts anew in the middle, life 1 goes on from phase 1
    assert plan.phase.flatten().tolist() == [(T - T // 2) % 3, (1 + T) % 3]
    assert plan.fresh.any(1).tolist() == [True, False]


@pytest.mark.parametrize("T", [1, 7])
def test_the_schedule_runs_mini_batch_after_mini_batch(T):
    """A toy: add up what is read, twice as much after every full mini-batch; nothing remains at a start."""
    x, start = torch.rand(3, T, 1), torch.rand(3, T) < 0.3
    phase, total = torch.tensor([[0], [1], [2]]), torch.rand(3, 1)
    plan = schedule(phase, start, 3)
    laid, full = plan.lay_out_heads(x), plan.full[..., None]

    def mini_batch(n, state):
        sums = state[0][..., None] + laid[:, n].cumsum(-1)
        return sums, [torch.where(full[:, n], 2 * sums[..., -1], sums[..., -1])]

    y, (after,) = plan.run(mini_batch, [total])
    want = []
    for t in range(T):
        fresh = start[:, t, None]
        phase, total = phase.masked_fill(fresh, 0), total.masked_fill(fresh, 0.0) + x[:, t]
        want.append(total)
        phase = (phase + 1) % 3
        total = torch.where(phase == 0, 2 * total, total)
    torch.testing.assert_close((y, after), (torch.stack(want, 1), total))
    assert torch.equal(plan.phase, phase)


def test_the_schedule_knows_when_a_period_of_several_mini_batches_is_over():
    start = torch.tensor([[0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0, 0]]).bool()
    plan = schedule(torch.tensor([[3], [3]]), start, 2)
    # 3 steps have been lived: step 0 is the 4th and ends a period of 4, step 4 the next;
    # after the start of life 1 at step 2 its 4th step is 5
    assert plan.completes(4).nonzero().tolist() == [[0, 0], [0, 2], [1, 0], [1, 3]]
    assert plan.age[:, -1].tolist() == [11, 6]


@pytest.mark.parametrize("past", [0, 1, 4])
def test_a_step_sees_the_last_pairs_of_its_life(past):
    T = 9
    start = torch.rand(3, T) < 0.3
    plan = schedule(torch.tensor([[0], [1], [2]]), start, 3, whole=True)
    number = torch.arange(past + T).expand(3, -1)[..., None]  # of each pair; step t brings pair past + t
    view = windows(plan, start, past)
    pairs = view.gather(number)[:, :, 0]  # [B, N, S]
    step = plan.lay_out(torch.arange(T).expand(3, -1))
    for b, n, slot in plan.there.nonzero().tolist():
        t = step[b, n, slot].item()
        born = max([s for s in range(t + 1) if start[b, s]], default=-past)
        want = range(past + max(born, t - past), past + t + 1)
        assert pairs[b, n][view.seen[b, n, slot]].tolist() == list(want)
    assert not view.seen[~plan.there].any()


def test_what_is_kept_of_the_pairs_belongs_to_the_life_that_goes_on():
    z = torch.arange(1.0, 6.0).expand(2, 5)  # 2 from before the pass, 3 of it
    start = torch.tensor([[0, 0, 1], [0, 1, 0]]).bool()
    assert last_pairs(z, start).tolist() == [[0.0, 5.0], [4.0, 5.0]]
