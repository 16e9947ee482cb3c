"""The `lifelong` command.

Verbs live in modules of their own, imported when they are asked for, so that `lifelong --help` answers at once.
A wrong word or a wrong input is one line on stderr and exit code 2, a failure at run time exit code 1.
"""

import difflib
import importlib
import io
import sys
from contextlib import redirect_stderr
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import TypeVar

__all__ = ["VERBS", "main", "parse"]

Config = TypeVar("Config")

VERBS = {
    "train": "train an agent on a stream of tasks, its memory carried over every episode's end",
    "retention": "freeze a trained agent, let it live on, and measure what it still knows after how long",
    "swap": "give a trained agent another memory, keep everything that fits, and go on",
    "capacity": "how many pairs each rule of writing remembers, if nothing is trained",
    "recall": "how much trained memories recall, below and above what they can hold",
    "cost": "bytes, operations and time of every memory, and recall against them",
    "stream": "what a stream is made of, and which task comes when",
    "certify": "what reference policies get in a stream, from chance to the oracle: what its scores mean",
    "list": "memories and streams, in one line each",
    "bench": "how fast the kernels are, and how fast agents train, on this machine",
}


def main(arguments: list[str] | None = None) -> int:
    """Run a verb.

    Args:
        arguments: what follows `lifelong`; None takes them from the command line.

    Returns:
        The exit code.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if arguments is None:  # a memory or stream of one's own may lie where one is; what is installed comes first
        sys.path.append(str(Path.cwd()))
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(_usage())
        return 0
    verb, *rest = words
    if verb == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"lifelong-rl {version('lifelong-rl')}\n")
        return 0
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        return _fail(f"no verb {verb!r}; {f'did you mean {near[0]!r}? ' if near else ''}known: {', '.join(VERBS)}")
    try:
        importlib.import_module(f"lifelong.experiments.{verb}").command(rest)
    except KeyboardInterrupt:  # the second while training, which cares for the first, or one elsewhere
        sys.stderr.write("lifelong: interrupted\n")
        return 130
    except Exception as fault:
        from lifelong.experiments.runs.errors import ERRORS  # not above: it imports torch, which `list` can do without

        if not isinstance(fault, ERRORS):
            raise
        return _fail(" ".join(str(fault).split()))
    return 0


def parse(config: type[Config], arguments: list[str], verb: str) -> Config:
    """Return a verb's settings.

    Args:
        config: dataclass of the settings.
        arguments: words from the command line.
        verb: whose they are.

    Raises:
        ConfigError: if a word is wrong; one line, where tyro would draw a box.
    """
    import tyro  # not above: `--help` and `list` do without

    from lifelong.experiments.runs.config import ConfigError

    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(config, args=arguments, prog=f"lifelong {verb}")
    except SystemExit as end:
        if not end.code:  # --help
            raise
        inside = [text for line in said.getvalue().splitlines()[1:] if (text := line.strip(" │"))]  # below the title
        below = dropwhile(lambda text: not text.strip("─-"), inside)  # a box without UTF-8 has a rule there
        lines = takewhile(lambda text: text.strip("─-"), below)  # down to the rule above what help says
        reason = " ".join(lines).partition(" Got errors:")[0].removeprefix(f"Error parsing {config.__name__}: ")
        raise ConfigError(f"{reason.strip()} (see lifelong {verb} --help)") from None


def _usage() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {what}" for verb, what in VERBS.items())
    return (
        "usage: lifelong VERB [OPTIONS]\n\nReinforcement-learning agents with a memory for life.\n\n"
        f"{verbs}\n\nlifelong VERB --help tells more.\n"
    )


def _fail(message: str) -> int:
    sys.stderr.write(f"lifelong: {message}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
