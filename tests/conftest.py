"""Triton's kernels run in its interpreter where there is no GPU, and `-m smoke` takes one test file of every kind."""

import os
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is imported

SMOKE = (
    "test_layout.py", "test_packaging.py", "agents/test_actor_critic.py", "agents/test_backbone.py",
    "envs/streams/test_cued_recall.py", "envs/test_schedules.py", "experiments/metrics/test_recall.py",
    "experiments/test_run_of_0_1.py", "kernels/test_fast_weight.py", "memory/delta/test_gated_delta.py",
    "memory/test_registry.py", "memory/bayesian/test_palimpsa.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the smoke tests: one quick file of every kind, without Triton's interpreter."""
    here = Path(__file__).parent
    for item in items:
        quick = not item.get_closest_marker("slow") and "gpu" not in item.name
        if item.path.relative_to(here).as_posix() in SMOKE and quick:
            item.add_marker(pytest.mark.smoke)
