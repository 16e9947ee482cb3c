"""Recursions written out again as plain loops over steps in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lifelong.memory import Memory


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
