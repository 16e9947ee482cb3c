"""Compiled loops are there whatever the disk does."""

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from lifelong.envs import jit as of_envs
from lifelong.kernels import jit as of_kernels

KINDS: dict[str, Callable[[Any], Any]] = {
    "kernels": of_kernels.jit,
    "envs": of_envs.jit,
    "ufunc": of_envs.ufunc,
}


def twice(x: float) -> float:
    return 2 * x


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow."""
    before, heard = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, heard)


@pytest.mark.parametrize("kind", KINDS)
def test_loops_are_compiled_where_they_cannot_be_kept_and_read_again_once_they_can(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    compiled = KINDS[kind](twice)
    with pytest.warns(RuntimeWarning, match=f"cannot be kept in {tmp_path}.*; they are compiled anew"), full_disk():
        assert compiled(3.0) == 6
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert KINDS[kind](twice)(np.float64(3.0)) == 6
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 2  # index and code


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["nbi", "nbc"])
@pytest.mark.parametrize("content", [b"", b"garbage", None], ids=["empty", "garbage", "cut"])
def test_damaged_files_are_compiled_anew_and_replaced(
    kind: str, ending: str, content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert KINDS[kind](twice)(3.0) == 6
    (file,) = tmp_path.rglob(f"*.{ending}")
    file.write_bytes(file.read_bytes()[:-20] if content is None else content)
    with pytest.warns(RuntimeWarning, match=f"cannot be read in {tmp_path}"):
        assert KINDS[kind](twice)(3.0) == 6
    assert KINDS[kind](twice)(3.0) == 6  # without a warning, which is an error here
