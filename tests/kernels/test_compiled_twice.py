"""A loop computes the same bits whether it was just compiled or comes from the cache: a resumed run is the same run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import torch
from lifelong.memory import make_memory

torch.manual_seed(0)
memory, x = make_memory("palimpsa", 32), torch.randn(2, 40, 32, requires_grad=True)
y, state = memory(x, memory.initial_state(2), torch.rand(2, 40) < 0.1)
y.square().sum().backward()
for tensor in (y, x.grad, *state.values(True, True)):
    print(tensor.detach().numpy().tobytes().hex())
"""


def computed(cache: Path) -> str:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.slow
def test_loops_from_the_cache_compute_the_same_bits(tmp_path: Path) -> None:
    first = computed(tmp_path)
    assert any(tmp_path.rglob("*.nbc"))  # there is a cache now
    assert first
    assert computed(tmp_path) == first
