"""Triton's kernels run in its interpreter where there is no GPU, torch computes in one thread, `-m smoke` takes one
test file of every kind, `every_memory` a memory of each kind, and `killed_before` kills a process in the middle of what
it writes."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # those of several processes would wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is imported

SMOKE = (
    "test_layout.py", "test_packaging.py", "agents/test_actor_critic.py", "agents/test_backbone.py",
    "envs/streams/test_cued_recall.py", "envs/test_schedules.py", "experiments/metrics/test_recall.py",
    "experiments/test_run_of_0_1.py", "kernels/test_fast_weight.py", "memory/delta/test_gated_delta.py",
    "memory/test_registry.py", "memory/bayesian/test_palimpsa.py",
)  # fmt: skip

KINDS = {
    "none", "gru", "slstm", "ffm", "table", "window", "heavy_hitter", "elmur", "agalite", "mamba2", "gated_delta",
    "srwm", "palimpsa", "titans", "lact", "cached", "hola", "log_linear",
}  # fmt: skip
"""A memory of each kind of state and recursion."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark smoke tests, quick files without Triton's interpreter, and as slow those of `every_memory` not in KINDS."""
    here = Path(__file__).parent
    for item in items:
        if item.get_closest_marker("every_memory"):
            names = {value for value in item.callspec.params.values() if isinstance(value, str)} & memories()
            if names and not names & KINDS:
                item.add_marker(pytest.mark.slow)
        quick = not item.get_closest_marker("slow") and "gpu" not in item.name
        if item.path.relative_to(here).as_posix() in SMOKE and quick:
            item.add_marker(pytest.mark.smoke)


def memories() -> set[str]:
    """Return the names of all memories."""
    from lifelong.memory import MEMORIES  # after TRITON_INTERPRET is set

    return set(MEMORIES)


_CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink"}


@pytest.fixture
def killed_before() -> Callable[[int, Callable[[], object]], bool]:
    """Return a function that does something in a process which is killed before its nth change of the file system.

    It returns whether it came to that; false is all of it was done.
    """

    def run(change: int, work: Callable[[], object]) -> bool:
        child = os.fork()
        if not child:
            left = [change]

            def hook(event: str, given: tuple[object, ...]) -> None:
                writes = event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR)
                if event in _CHANGES or writes:
                    left[0] -= 1
                    if left[0] < 0:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(hook)
            try:
                work()
            except BaseException:  # noqa: BLE001  the other process tells
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL), "it failed otherwise"
        return os.WIFSIGNALED(status)

    return run
