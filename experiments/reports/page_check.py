"""The check of a written page: are its numbers those that its source gives today."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from lifelong.experiments.runs.errors import UserError

__all__ = ["check_page", "tell_check"]

_NUMBER = re.compile(r"[+-]?\d[\d,]*\.?\d*(?:e[+-]?\d+)?")


def check_page(page: Path, anew: str) -> int:
    """Compare every number of a page with those of the page made anew, and return how many there are.

    Args:
        page: Markdown, as it was written.
        anew: the same page, made anew from the rows.

    Raises:
        UserError: if the page cannot be read.
        ValueError: if a number, or the number of lines, differs; names the line and both values.
    """
    try:
        there = page.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{page.parent} holds no report: cannot read {page}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{page.parent} holds no report: {page} is no text: {error}") from error
    lines, numbers = anew.splitlines(), 0
    for number, (line, wanted) in enumerate(zip(there, lines, strict=False), 1):
        found, expected = _NUMBER.findall(line), _NUMBER.findall(wanted)
        if found != expected:
            differ = next((pair for pair in zip(found, expected, strict=False) if pair[0] != pair[1]), None)
            said = f"{differ[0]}, the rows say {differ[1]}" if differ else f"{line!r}, the rows say {wanted!r}"
            raise ValueError(f"{page}:{number}: {said}")
        numbers += len(found)
    if len(there) != len(lines):
        raise ValueError(f"{page} has {len(there)} lines, from the rows come {len(lines)}")
    return numbers


def tell_check(check: Callable[[Path], int], page: Path) -> None:
    """Print how a check ended.

    Args:
        check: returns how many numbers were compared.
        page: what is checked, a page or the folder of one.

    Raises:
        SystemExit: with code 1 if a number differs.
    """
    try:
        numbers = check(page)
    except UserError:
        raise
    except ValueError as error:
        sys.stderr.write(f"lifelong: {error}\n")
        raise SystemExit(1) from None
    sys.stdout.write(f"{page}: all {numbers:,} numbers are what the rows say\n")
