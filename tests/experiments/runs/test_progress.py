"""What a training tells of itself where there is no terminal."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lifelong.experiments.runs import progress
from lifelong.experiments.runs.progress import Progress

ROWS = {"return": np.array([0.25, 0.75]), "lag_episodes": np.array([-1, 3]), "success": np.array([0.0, 1.0])}


class Clock:
    """Stands still until it is told to go on."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


class Log(io.StringIO):
    """A file that counts how often it was flushed."""

    flushes = 0

    def flush(self) -> None:
        self.flushes += 1


def test_a_log_has_one_unwrapped_line_every_thirty_seconds(clock: Clock) -> None:
    log = Log()
    with Progress(1_000_000, 0, Console(file=log, width=20)) as shown:
        for second in range(1, 71):
            clock.now = 100.0 + second
            before = log.flushes
            shown.update(second * 1000, ROWS)
            assert log.getvalue().count("\n") == second // 30
            assert log.flushes > before or second % 30  # a line is there at once, not when a buffer is full
    assert log.getvalue().splitlines() == [
        "30,000 of 1,000,000 steps · 1,000 steps/s · return 0.500 · known 1.000 · 970 s left",
        "60,000 of 1,000,000 steps · 1,000 steps/s · return 0.500 · known 1.000 · 940 s left",
    ]


def test_the_speed_is_that_of_this_process_not_of_the_run_it_goes_on_with(clock: Clock) -> None:
    log = Log()
    with Progress(1_000_000, 900_000, Console(file=log)) as shown:
        clock.now += 40
        shown.update(904_000, {})
    assert log.getvalue() == "904,000 of 1,000,000 steps · 100 steps/s · 960 s left\n"


def test_seconds_that_do_not_count_are_not_in_the_speed(clock: Clock) -> None:
    log = Log()
    with Progress(1_000_000, 0, Console(file=log), lambda: clock.now - 20.0 * (clock.now > 110)) as shown:
        clock.now += 40
        shown.update(4_000, {})
    assert log.getvalue() == "4,000 of 1,000,000 steps · 200 steps/s · 4,980 s left\n"


@pytest.mark.parametrize("settings", [{"quiet": True}, {"force_terminal": True}])
def test_there_are_no_lines_where_nothing_or_a_bar_is_shown(settings: dict[str, Any], clock: Clock) -> None:
    log = Log()
    with Progress(1000, 0, Console(file=log, **settings)) as shown:
        clock.now += 40
        shown.update(500, ROWS)
    assert "steps/s · return" not in log.getvalue()
