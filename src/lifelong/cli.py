"""The `lifelong` command.

Verbs are registry entries, imported when used, so that `lifelong --help` is fast. Before a verb its settings are
imported, `experiments/settings/VERB.py`, which read the words without torch: help and wrong words are answered at once.
A user error is one line on stderr and exit code 2, a failure at run time exit code 1.
"""

import faulthandler
import os
import re
import sys
import warnings
from collections.abc import Callable

from lifelong.one_line import one_line
from lifelong.registry import Entry, load, nearest, table
from lifelong.trust import leave_run_folders

__all__ = ["VERBS", "main"]

VERBS = table(
    "lifelong.experiments",
    {
        "train": Entry("train:command", "train an agent on a stream of tasks; its memory outlives every episode"),
        "retention": Entry("retention:command", "measure how much a trained agent, its slow weights frozen, retains"),
        "adaptation": Entry("adaptation:command", "change hidden answers: does the memory give the new or the old one"),
        "interference": Entry("interference:command", "what is retained after noise, or after a foreign task"),
        "study": Entry("study:command", "a study as a file: check, register, run, judge and report it"),
        "swap": Entry("swap:command", "replace the memory of a trained agent and keep all weights that fit"),
        "fork": Entry("fork:command", "copy lives of a run, with their memory, into a new run or into a file"),
        "report": Entry("report:command", "page, Markdown and figures of finished runs, over their seeds"),
        "watch": Entry("watch:command", "film a trained agent and what it writes to its memory, step by step"),
        "export": Entry("export:command", "write runs as l2logger, Continual World, CORA, rliable or CSV read them"),
        "export-policy": Entry(
            "export_policy:command", "write an agent's step, memory state in and out, for torch or ONNX"
        ),
        "capacity": Entry("capacity:command", "key-value pairs that each update rule recalls without training"),
        "recall": Entry("recall:command", "associative recall of trained memories, below and above their capacity"),
        "cost": Entry("cost:command", "bytes, operations and time of every memory, and recall per cost"),
        "stream": Entry("stream:command", "settings, tasks and timeline of a stream"),
        "certify": Entry("certify:command", "scores of reference policies in a stream, from chance to the oracle"),
        "check": Entry("check:command", "does a memory keep its contract, and does learning recompute acting"),
        "chaos": Entry("chaos:command", "kill, damage and mistype trainings here, and count what was lost"),
        "list": Entry("list:command", "memories, streams, schedules and drifts, or the settings of one"),
        "bench": Entry("bench:command", "how fast the kernels are, and how fast agents train, on this machine"),
    },
)
_ALIASES = {"play": "watch"}  # what others call it: understood, and not listed


def main(arguments: list[str] | None = None) -> int:
    """Run a verb.

    Args:
        arguments: what follows `lifelong`; None takes them from the command line.

    Returns:
        The exit code.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if arguments is None:
        leave_run_folders()  # `python -m lifelong.cli` in the folder of a run
        warnings.showwarning = _show_once()
        if sys.stderr is not None:  # an environment that crashes takes this process along: say where
            faulthandler.enable(all_threads=False)
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(_usage())
        return 0
    verb, *rest = words
    verb = _ALIASES.get(verb, verb)
    if verb == "--version":
        from lifelong.experiments.runs.code_version import package_version  # not above: it takes time

        sys.stdout.write(f"lifelong-rl {package_version('lifelong-rl')}\n")
        return 0
    if verb not in VERBS:
        return _fail(f"no verb {verb!r}{nearest(verb, VERBS)} known: {', '.join(VERBS)}")
    try:
        settings = load("verb", f"lifelong.experiments.settings.{verb.replace('-', '_')}:read")(rest)  # without torch
        load("verb", VERBS[verb].target)(settings)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise Python reports it again at exit
        return 141
    except KeyboardInterrupt as error:  # while training it says what is kept, and names the signal
        sys.stderr.write(f"lifelong: {str(error) or 'interrupted'}\n")
        return 128 + getattr(error, "number", 2)
    except Exception as error:
        from lifelong.experiments.runs.errors import TrainingError, known_errors  # not above: it takes time

        if isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error):  # it has no type of its own
            return _fail("not enough memory for these sizes")
        if isinstance(error, OSError):  # a disk that is full, a folder of another's
            return _fail(_refused(error))
        if not isinstance(error, known_errors()):
            raise
        _fail(str(error) or "not enough memory for these sizes")
        return 1 if isinstance(error, TrainingError) else 2
    return 0


def _usage() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {entry.summary}" for verb, entry in VERBS.items())
    return (
        "usage: lifelong VERB [OPTIONS]\n\nReinforcement-learning agents with a memory for life.\n\n"
        f"{verbs}\n\nlifelong VERB --help tells more.\n"
    )


def _show_once() -> Callable[..., None]:
    """Return a `showwarning` that prints one line per warning, and each text only once."""
    seen: set[str] = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(message)).removeprefix("WARN: ").split())
        if text not in seen:
            seen.add(text)
            sys.stderr.write(f"lifelong: warning: {text}\n")

    return show


def _refused(error: OSError) -> str:
    """Return what the system refuses, in one line; a terminal or file that takes no output is not asked again."""
    from lifelong.agents.durable import WriteError

    try:
        sys.stdout.flush()
    except OSError:  # otherwise Python reports it again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return f"cannot write the output: {error.strerror}"
    if isinstance(error, WriteError) or error.filename is None:
        return str(error)
    return f"{error.filename}: {error.strerror}"


def _fail(message: str) -> int:
    sys.stderr.write(f"lifelong: {one_line(message)}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
