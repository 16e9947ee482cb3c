"""Words of `lifelong bench`: a subject, and its settings."""

import sys
from typing import Any, NamedTuple

from lifelong.experiments.runs.errors import UserError, as_user_error
from lifelong.registry import Entry, find, load, table

__all__ = ["SUBJECTS", "Asked", "read"]

SUBJECTS = table(
    "lifelong.experiments.benchmarks",
    {
        "kernels": Entry("kernels:command", "the recurrences: right first, then how fast, beside their rivals"),
        "training": Entry(
            "training.command:command", "trainers in the same environment: steps per second, and seconds to solve"
        ),
        "learning": Entry(
            "learning.command:command", "learning curves and final returns beside Stable-Baselines3 and sb3-contrib"
        ),
        "envs": Entry(
            "envs:command",
            "environment steps per second of `rooms`, beside MiniGrid, EnvPool and XLand-MiniGrid",
        ),
        "life": Entry("life:command", "whether a long run stayed as fast and as it began"),
    },
)


class Asked(NamedTuple):
    """What is to be measured."""

    entry: Entry
    """Of the subject."""
    config: Any
    """Its settings."""


def read(words: list[str]) -> Asked:
    """Return the subject that the first word names, and the settings that the others ask for.

    Raises:
        UserError: if it names none, or its settings do not fit.
        SystemExit: if the help was asked for, with code 0.
    """
    subject, rest = (words[0], words[1:]) if words else ("", [])
    if subject in ("-h", "--help"):
        sys.stdout.write(_usage())
        raise SystemExit(0)
    subject = "envs" if subject == "worlds" else subject  # its name until 0.2
    if not subject:
        raise UserError(f"bench what? known: {', '.join(SUBJECTS)}")
    with as_user_error():
        entry = find("subject", subject, SUBJECTS)
    return Asked(entry, load("subject", f"lifelong.experiments.settings.benchmarks.{subject}:read")(rest))


def _usage() -> str:
    width = max(map(len, SUBJECTS))
    lines = "\n".join(f"  {subject:<{width}}  {entry.summary}" for subject, entry in SUBJECTS.items())
    return f"usage: lifelong bench SUBJECT [OPTIONS]\n\n{lines}\n\nlifelong bench SUBJECT --help tells more.\n"
