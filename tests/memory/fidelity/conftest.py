"""Recursions written out again as plain loops over steps in float64, and the layer that most matrices share."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lifelong.memory import Memory


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute in one thread: the tensors are too small for more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def agrees() -> Callable[..., None]:
    """Return a check that a memory computes what a loop over its steps does, to 1e-12."""

    def check(memory: Memory, begin: Callable[[], object], step: Callable[..., tuple[Tensor, object]]) -> None:
        """Compare one pass over two lives with `y, carried = step(x_t, carried)` from `begin()` at every start."""
        memory = memory.double()
        with torch.no_grad():
            for p in memory.parameters():  # nothing may hide behind a parameter that begins at zero or one
                p.add_(torch.randn_like(p), alpha=0.1)
            x, start = torch.randn(2, 30, memory.width, dtype=torch.double), torch.zeros(2, 30, dtype=torch.bool)
            start[0, 11] = start[1, 20] = True
            got, _ = memory(x, memory.initial_state(2), start)
            want = torch.empty_like(x)
            for life in range(2):
                for t in range(30):
                    carried = begin() if t == 0 or start[life, t] else carried  # noqa: F821  set at the first step
                    want[life, t], carried = step(x[life, t], carried)
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)

    return check


def sigmoid(z: Tensor) -> Tensor:
    """Return 1 / (1 + exp(-z))."""
    return 1 / (1 + torch.exp(-z))


def silu(z: Tensor) -> Tensor:
    """Return z sigmoid(z)."""
    return z / (1 + torch.exp(-z))


def softplus(z: Tensor) -> Tensor:
    """Return log(1 + exp(z))."""
    return torch.log1p(torch.exp(z))


def unit(z: Tensor) -> Tensor:
    """Return z / sqrt(|z|^2 + 1e-6), along the last axis."""
    return z / torch.sqrt((z * z).sum(-1, keepdim=True) + 1e-6)


def rms(z: Tensor, weight: Tensor) -> Tensor:
    """Return z divided by its root mean square, along the last axis, times a weight."""
    return z / torch.sqrt((z * z).mean(-1, keepdim=True) + 1e-5) * weight


def matrix_loop(
    memory: Any,
    update: Callable[..., tuple[Tensor, Any]],
    begin: Callable[[int], Any],
    *,
    unit_keys: bool = True,
    leave: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> tuple[Callable[[], Any], Callable[..., tuple[Tensor, Any]]]:
    """Return begin and step of a memory in the layer that most share: convolution over two steps, norm and gate.

    `update(h, x, q, k, v, state)` returns the reading of head h and its next state; `begin(h)` its first one. With
    `unit_keys` q and k come at length 1. `leave(readings, x)` replaces norm, gate and linear map.
    """
    project, out = memory.project, memory.output
    heads, keys = project.num_heads, project.num_heads * project.key_dim

    def usual(readings: Tensor, x: Tensor) -> Tensor:
        y: Tensor = rms(readings, out.norm.weight).flatten() * silu(out.gate.weight @ x)
        return out.linear.weight @ y

    def step(x: Tensor, carried: Any) -> tuple[Tensor, Any]:
        before, states = carried
        z = project.linear.weight @ x
        mixed = silu(project.conv[:, 0] * before + project.conv[:, 1] * z)
        q, k, v = (part.view(heads, -1) for part in mixed.split([keys, keys, len(mixed) - 2 * keys]))
        if unit_keys:
            q, k = unit(q), unit(k)
        results = [update(h, x, q[h], k[h], v[h], states[h]) for h in range(heads)]
        readings = torch.stack([y for y, _ in results])
        return (leave or usual)(readings, x), (z, [state for _, state in results])

    return lambda: (torch.zeros(project.channels).double(), [begin(h) for h in range(heads)]), step


@pytest.fixture
def plain() -> SimpleNamespace:
    """Return the elementary functions, and the layer around matrices, written out."""
    return SimpleNamespace(sigmoid=sigmoid, silu=silu, softplus=softplus, unit=unit, rms=rms, matrix_loop=matrix_loop)


@pytest.fixture
def matrix_agrees(agrees: Callable[..., None]) -> Callable[..., None]:
    """Return a check of memories in the layer that most share; arguments as of `matrix_loop`."""
    return lambda memory, *loop, **how: agrees(memory, *matrix_loop(memory, *loop, **how))
