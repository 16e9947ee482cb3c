import subprocess
import sys
import warnings

import numba
import pytest
import torch

from lifelong.kernels import backends, jit
from lifelong.kernels.fast_weight import fast_weight

X, S, START = torch.ones(1, 3, 1, 2), torch.zeros(1, 1, 2, 2), torch.zeros(1, 3, dtype=torch.bool)


@pytest.fixture
def no_numba(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    backends.numba_works.cache_clear()
    yield
    backends.numba_works.cache_clear()


def test_the_compiled_loop_is_taken_on_the_cpu_at_every_length():
    assert backends.pick("auto", X, S) == "cpu"
    assert backends.pick("auto", X[:, :1], S) == "cpu"
    assert backends.pick("auto", X.double(), None) == "cpu"


@pytest.mark.parametrize("x", [X.bfloat16(), X.to("meta")])
def test_what_the_compiled_loop_cannot_do_is_left_to_torch(x):
    assert backends.pick("auto", x, S) == "chunk"
    assert backends.pick("auto", x[:, :1], S) == "reference"


def test_without_numba_it_falls_back_and_says_so_once(no_numba):
    with pytest.warns(RuntimeWarning, match=r"numba cannot be imported .* slower .*pip install numba"):
        fast_weight(X, X, X, S, START)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert backends.pick("auto", X) == "chunk"


def test_a_back_end_can_be_asked_for():
    wanted = fast_weight(X, X, X, S, START, backend="reference")
    for name in ("auto", "chunk", "cpu"):
        torch.testing.assert_close(fast_weight(X, X, X, S, START, backend=name), wanted)


def test_an_unknown_back_end_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="backend must be one of auto, reference, chunk, cpu, triton, got 'gpu'"):
        fast_weight(X, X, X, S, START, backend="gpu")


def test_the_compiled_loop_refuses_mixed_precision():
    with pytest.raises(ValueError, match=r"needs all tensors in float32.*got torch\.float32 on cpu, torch\.float64"):
        fast_weight(X, X, X, S.double(), START, backend="cpu")


def test_triton_is_for_the_gpu_and_its_interpreter(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(ValueError, match=r"^backend 'triton' needs all tensors on a GPU, got torch\.float32 on cpu$"):
        fast_weight(X, X, X, S, START, backend="triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert backends.pick("triton", X, S) == "triton"


class OnGPU:
    device, dtype, shape = torch.device("cuda"), torch.float32, (1, 3)


def test_on_a_gpu_triton_is_taken_and_without_it_torch_with_a_warning(monkeypatch):
    backends.triton_works.cache_clear()
    assert backends.pick("auto", OnGPU(), OnGPU()) == "triton"
    monkeypatch.setitem(sys.modules, "triton", None)
    backends.triton_works.cache_clear()
    with pytest.warns(RuntimeWarning, match=r"triton cannot be imported .* many launches .*pip install triton"):
        assert backends.pick("auto", OnGPU()) == "chunk"
    backends.triton_works.cache_clear()


def test_nothing_is_kept_for_backward_where_no_gradient_is_wanted():
    q = X.clone().requires_grad_()
    with torch.no_grad():
        assert fast_weight(q, X, X, S, START)[0].grad_fn is None
    with torch.inference_mode():
        assert fast_weight(q, X, X, S, START)[0].is_inference()
    assert fast_weight(q, X, X, S, START)[0].grad_fn is not None


def test_where_no_folder_can_be_written_loops_are_compiled_all_the_same(monkeypatch):
    plain = numba.njit

    def njit(**options):
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return plain(**options)

    monkeypatch.setattr(numba, "njit", njit)
    assert jit.jit(lambda x: x + 1)(2) == 3


def test_numba_is_not_imported_before_it_is_used():
    code = "import sys, lifelong.kernels.fast_weight, lifelong.kernels.posterior; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": "src", "PYTHONSAFEPATH": "1"})


def test_fresh_memory_is_poisoned_in_these_tests():
    assert torch.empty(3).isnan().all()
