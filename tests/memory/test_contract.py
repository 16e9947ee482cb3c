"""The contract of every registered memory."""

import itertools
import subprocess
import sys

import pytest
import torch

from lifelong.memory import ELMUR, MEMORIES, Memory, MemoryCaching, check_memory, make_memory

B, D = 3, 8
LOOPS = (ELMUR, MemoryCaching)  # of a millisecond per step; the slow test gives them a million


@pytest.fixture(params=sorted(MEMORIES))
def memory(request):
    torch.manual_seed(0)
    return make_memory(request.param, D)


def test_it_passes_the_published_check(memory):
    check_memory(memory, long_life=1000 if isinstance(memory, LOOPS) else 10_000)


@pytest.mark.parametrize(
    ("T", "p_start"),
    [
        *itertools.product([1, 2, 7], [0.0, 0.3, 1.0]),
        (65, 0.3),
        *(pytest.param(T, p, marks=pytest.mark.slow) for T, p in [(64, 0.0), (64, 0.3), (65, 0.0), (65, 1.0)]),
    ],
)
def test_one_pass_equals_steps_and_so_do_its_gradients(memory, T, p_start):
    memory = memory.double()
    x, start = torch.randn(B, T, D, dtype=torch.double, requires_grad=True), torch.rand(B, T) < p_start
    _, lived = memory(torch.randn(B, 9, D).double(), memory.initial_state(B), torch.zeros(B, 9, dtype=torch.bool))
    state = lived.apply(lambda leaf: leaf.detach().requires_grad_(leaf.is_floating_point()))
    sources = [x, *(leaf for leaf in state.values(True, True) if leaf.requires_grad), *memory.parameters()]
    weight = torch.randn(B, T, D, dtype=torch.double)

    def outcome(y, state):
        ends = [leaf for _, leaf in sorted(state.items(True, True), key=str)]
        loss = (weight * y).sum() + sum(leaf.sin().sum() for leaf in ends)
        return [y, *ends, *torch.autograd.grad(loss, sources, materialize_grads=True)]

    got, want = outcome(*memory(x, state, start)), outcome(*Memory.forward(memory, x, state, start))
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", sorted(MEMORIES))
def test_it_is_made_on_the_meta_device_and_filled_from_a_state_dict(name):
    memory = make_memory(name, D)
    with torch.device("meta"):
        made = make_memory(name, D)
    assert all(p.is_meta for p in made.state_dict().values())
    assert all(leaf.is_meta for leaf in made.initial_state(B).values(True, True))
    made = made.to_empty(device="cpu")
    with torch.no_grad():
        for value in made.state_dict().values():
            value.fill_(7)  # what is not loaded shows
    made.load_state_dict(memory.state_dict())
    x, start = torch.randn(B, 5, D), torch.rand(B, 5) < 0.3
    got, want = made(x, made.initial_state(B), start)[0], memory(x, memory.initial_state(B), start)[0]
    assert torch.equal(got, want)


def test_the_first_memory_of_a_process_is_made_on_the_meta_device():
    imports = f"import sys; sys.path[:0] = {sys.path!r}\nimport torch\nfrom lifelong.memory import make_memory\n"
    code = imports + "with torch.device('meta'): make_memory('gated_delta', 8)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", sorted(MEMORIES))
def test_it_is_made_under_another_default_dtype(name):
    torch.set_default_dtype(torch.float64)
    try:
        memory = make_memory(name, D)
        x, start = torch.randn(B, 5, D), torch.rand(B, 5) < 0.3
        y, after = memory(x, memory.initial_state(B), start)
    finally:
        torch.set_default_dtype(torch.float32)
    assert y.dtype == torch.float64
    assert {leaf.dtype for leaf in after.values(True, True)} <= {torch.float64, torch.int64}


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch's, for the windows of attention
def test_gradients_of_single_lives_by_torch_func_are_the_ordinary_ones(memory):
    memory = memory.double()
    x, start = torch.randn(2, 5, D).double(), torch.rand(2, 5) < 0.3
    weights = dict(memory.named_parameters())

    def loss(weights, x, start):
        state = memory.initial_state(1)
        return torch.func.functional_call(memory, weights, (x[None], state, start[None]))[0].sin().sum()

    got = torch.vmap(torch.func.grad(loss), (None, 0, 0))(weights, x, start)
    for life in range(2):
        one = loss(weights, x[life], start[life])
        want = torch.autograd.grad(one, list(weights.values()), materialize_grads=True)
        torch.testing.assert_close([got[name][life] for name in weights], list(want), rtol=1e-6, atol=1e-6)


def test_second_derivatives_name_the_kernel_that_has_none_and_torch_func_gives_them(memory):
    memory = memory.double()
    x, start = torch.randn(2, 2, D).double(), torch.rand(2, 2) < 0.3
    state, way, size = memory.initial_state(2), torch.randn(2, 2, D).double(), 1e-5

    def loss(x):
        return memory(x, state, start)[0].sin().sum()

    slope = torch.func.grad(loss)
    try:
        got = torch.func.grad(lambda x: (slope(x) * way).sum())(x)
    except RuntimeError as error:
        assert "a surrogate gradient, which has no derivative" in str(error)  # noqa: PT017
        return
    want = (slope(x + size * way) - slope(x - size * way)) / (2 * size)
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)
    try:
        first = torch.autograd.grad(loss(x.requires_grad_()), x, create_graph=True)[0]
        twice = torch.autograd.grad(first, x, way)[0]
    except RuntimeError as error:
        assert "is compiled and cannot be differentiated again; torch.func.grad runs" in str(error)  # noqa: PT017
    else:
        torch.testing.assert_close(twice, want, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_million_steps_stay_finite(memory):
    check_memory(memory, long_life=1_000_000)


def test_integers_of_its_state_have_bounds(memory):
    state = memory.initial_state(B)
    integers = {
        "/".join(key) if isinstance(key, tuple) else key
        for key, x in state.items(True, True)
        if not x.dtype.is_floating_point
    }
    assert memory.state_bounds.keys() == integers
