"""Resident memory of this process."""

import os
from pathlib import Path

__all__ = ["resident_bytes"]


def resident_bytes() -> float:
    """Return how much of the machine's memory this process holds now; NaN where there is no /proc to tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    except OSError:
        return float("nan")
    return float(pages * os.sysconf("SC_PAGE_SIZE"))
