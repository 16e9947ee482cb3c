"""Comparison of every back end with the reference in float64."""

import importlib
from functools import partial
from pathlib import Path

import pytest
import torch

KERNELS = Path(__file__).parents[2] / "kernels"
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}  # of the largest number in the tensor compared, or of 1
STARTS = {
    "no life starts": lambda B, T: torch.zeros(B, T),
    "a life starts at every step": lambda B, T: torch.ones(B, T),
    "a life starts at the first step": lambda B, T: torch.arange(T).expand(B, T) == 0,
    "a life starts at the last step": lambda B, T: torch.arange(T).expand(B, T) == T - 1,
    "lives of one step side by side": lambda B, T: (torch.arange(T).expand(B, T) % 20 // 2) == 7,
    "lives start at random": lambda B, T: torch.rand(B, T) < 0.15,
}


@pytest.fixture(autouse=True)
def fresh_memory_is_poisoned():
    torch.manual_seed(0)
    filled = torch.utils.deterministic.fill_uninitialized_memory
    torch.utils.deterministic.fill_uninitialized_memory = True  # NaN, where deterministic algorithms are asked for
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = filled


@pytest.fixture(scope="session")
def tolerance():
    return TOLERANCE


@pytest.fixture(params=STARTS)
def starts(request):
    return lambda B, T: STARTS[request.param](B, T).bool()


@pytest.fixture(scope="session")
def forms():
    def load(op):
        names = [name for name in ("reference", "chunk", "cpu") if (KERNELS / op / f"{name}.py").exists()]
        return {name: getattr(importlib.import_module(f"lifelong.kernels.{op}.{name}"), op) for name in names}

    return load


@pytest.fixture(scope="session")
def agree(forms):
    def compare(op, inputs, dtype=torch.float64, through=lambda form: form, only=None, fixed=None):
        ways = {name: partial(form, **(fixed or {})) for name, form in forms(op).items()}
        wanted = outcome(ways.pop("reference"), inputs, torch.float64)
        for back_end, form in (only or ways).items():
            for name, got in outcome(through(form), inputs, dtype).items():
                scale = max([1.0, *wanted[name].abs().flatten().tolist()])
                torch.testing.assert_close(
                    got.double(),
                    wanted[name],
                    rtol=0.0,
                    atol=TOLERANCE[dtype] * scale,
                    msg=lambda text, where=f"{op}, {back_end}, {name}": f"{where}: {text}",
                )

    return compare


@pytest.fixture(scope="session")
def triton_agrees(agree):
    """Compare the kernels for the GPU: on one where there is one, else, on far less, through Triton's interpreter."""
    pytest.importorskip("triton", exc_type=ImportError)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def compare(op, inputs, dtype=torch.float64, form="triton_step"):
        kernel = getattr(importlib.import_module(f"lifelong.kernels.{op}.{form}"), op)

        def run(**given):
            moved = {name: None if x is None else x.to(device) for name, x in given.items()}
            return tuple(x.cpu() for x in kernel(**moved))

        agree(op, inputs, dtype, only={form: run})

    return compare


def outcome(form, inputs, dtype):
    """Run forward and backward: what comes out, and the gradient of every input."""
    leaves = {
        name: x.detach().to(dtype).requires_grad_() if x.is_floating_point() else x
        for name, x in inputs.items()
        if x is not None
    }
    outputs = [x for x in form(**leaves) if x is not None and x.is_floating_point()]
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(x.shape, generator=generator, dtype=torch.float64).to(dtype) for x in outputs]
    sources = {name: x for name, x in leaves.items() if x.requires_grad}
    gradients = torch.autograd.grad(outputs, list(sources.values()), weights, materialize_grads=True)
    return {f"output {n}": x.detach() for n, x in enumerate(outputs)} | {
        f"gradient of {name}": x for name, x in zip(sources, gradients, strict=True)
    }
