"""`lifelong bench`: measure kernels, training, learning and environments on this machine."""

import sys

from lifelong.registry import Entry, find, load, table

__all__ = ["SUBJECTS", "command"]

SUBJECTS = table(
    "lifelong.experiments.benchmarks",
    {
        "kernels": Entry("kernels:command", "the recurrences: right first, then how fast, beside their rivals"),
        "training": Entry("training:command", "environment steps per second of recurrent PPO, beside sb3-contrib's"),
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


def command(arguments: list[str]) -> None:
    """Run the measurement that the first word names.

    Raises:
        UserError: if it names none, or its settings do not fit.
    """
    subject, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if subject in ("-h", "--help"):
        sys.stdout.write(_usage())
        return
    from lifelong.experiments.runs.errors import UserError, as_user_error  # not above: torch, which help does without

    subject = "envs" if subject == "worlds" else subject  # its name until 0.2

    if not subject:
        raise UserError(f"bench what? known: {', '.join(SUBJECTS)}")
    with as_user_error():
        entry = find("subject", subject, SUBJECTS)
    load("subject", entry.target)(rest)


def _usage() -> str:
    width = max(map(len, SUBJECTS))
    lines = "\n".join(f"  {subject:<{width}}  {entry.summary}" for subject, entry in SUBJECTS.items())
    return f"usage: lifelong bench SUBJECT [OPTIONS]\n\n{lines}\n\nlifelong bench SUBJECT --help tells more.\n"
