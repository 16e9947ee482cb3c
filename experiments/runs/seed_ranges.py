"""Lists and ranges of seeds as text."""

import re

from lifelong.experiments.runs.errors import UserError
from lifelong.schema import shown

__all__ = ["parse_seeds"]

_MOST = 1000
_FORM = "seeds must be like 0..4 or 0,1,2"


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of a text such as `0..4`, `0,1,2` or `0..4,9`; ends belong to a range.

    Raises:
        UserError: if it is none, a seed is named twice, or there are more than a thousand.
    """
    found: list[int] = []
    given = text if len(text) <= 60 else shown(text)
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})\s*(?:\.\.\s*(\d{1,18})\s*)?", part)
        if match is None:
            raise UserError(f"{_FORM}: seeds={given}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UserError(f"{_FORM}, from the least to the greatest: seeds={given}")
        if last - first >= _MOST or len(found) >= _MOST:
            raise UserError(f"seeds may be at most {_MOST:,}: seeds={given}")
        found += range(first, last + 1)
    if twice := [seed for seed in found if found.count(seed) > 1]:
        raise UserError(f"seeds must differ, {twice[0]} is named twice: seeds={given}")
    return tuple(found)
