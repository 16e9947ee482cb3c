"""Compiling is told once, and its seconds do not count."""

import time

import numba
import pytest

from lifelong.experiments.runs import compiling
from lifelong.experiments.runs.compiling import Compiling


def test_what_is_compiled_is_told_once_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    told = list[str]()

    @numba.njit
    def inner(x: int) -> int:
        return x + 1

    @numba.njit
    def outer(x: int) -> int:
        return 2 * inner(x)

    inner(1)  # before the block: nobody listens
    with Compiling(told.append) as block:
        assert (told, block.seconds) == ([], 0.0)
        before = time.monotonic()
        assert outer(1) == 4
        first = block.seconds
        assert 0.0 < first <= time.monotonic() - before
        outer(2)  # it is there now
        assert block.seconds == first
        outer(1.5)  # for another type, with `inner` for it inside
        assert first < block.seconds
    assert told == ["compiling, once: the next run of this stream and memory starts without it"]
    outer(1j)
    assert len(told) == 1


def test_the_clock_stands_still_while_a_loop_is_compiled_with_those_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(compiling.time, "monotonic", lambda: now[0])
    block = Compiling(lambda _: None)
    seen = []
    for passes, act in ((1, block.on_start), (2, block.on_start), (3, block.on_end), (4, block.on_end), (5, None)):
        now[0] += passes
        if act is not None:
            act(None)
        seen.append(block.clock())
    assert seen == [101.0, 101.0, 101.0, 101.0, 106.0]
    assert block.seconds == 9.0
