"""Words of `lifelong list`."""

import sys

from lifelong.experiments.runs.errors import UserError

__all__ = ["read"]


def read(words: list[str]) -> str | None:
    """Return the name whose settings are asked for; None for the table of all.

    Raises:
        UserError: if there is more than one name, or an option.
        SystemExit: if the help was asked for, with code 0.
    """
    if any(word in ("-h", "--help") for word in words):
        sys.stdout.write(
            "usage: lifelong list [NAME]\n\nList memories, streams, schedules and drifts, or the settings of one.\n"
        )
        raise SystemExit(0)
    options = [word for word in words if word.startswith("-")]
    if options or len(words) > 1:
        raise UserError(f"list takes at most one name and no settings, got {' '.join(options or words)}")
    return words[0] if words else None
