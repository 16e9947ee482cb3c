"""`lifelong bench`: measure the speed of kernels, training and environments on this machine."""

import difflib
import importlib
import sys

__all__ = ["SUBJECTS", "command"]

SUBJECTS = {
    "kernels": "the recurrences: right first, then how fast, beside their rivals",
    "training": "environment steps per second of recurrent PPO, beside sb3-contrib's",
    "envs": "environment steps per second of `rooms`, beside MiniGrid, EnvPool and XLand-MiniGrid",
    "life": "whether a long run stayed as fast and as it began",
}


def command(arguments: list[str]) -> None:
    """Run the measurement that the first word names.

    Raises:
        UserError: if it names none, or its settings do not fit.
    """
    subject, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if subject in ("-h", "--help"):
        sys.stdout.write(_usage())
    elif (subject := "envs" if subject == "worlds" else subject) in SUBJECTS:  # its name until 0.2
        importlib.import_module(f"lifelong.experiments.benchmarks.{subject}").command(rest)
    else:
        from lifelong.experiments.runs.errors import UserError  # not above: it imports torch, which help does without

        near = f"; did you mean {near[0]!r}" if (near := difflib.get_close_matches(subject, SUBJECTS, n=1)) else ""
        raise UserError(f"bench what{f': {subject!r}' if subject else ''}{near}? known: {', '.join(SUBJECTS)}")


def _usage() -> str:
    width = max(map(len, SUBJECTS))
    lines = "\n".join(f"  {subject:<{width}}  {what}" for subject, what in SUBJECTS.items())
    return f"usage: lifelong bench SUBJECT [OPTIONS]\n\n{lines}\n\nlifelong bench SUBJECT --help tells more.\n"
