"""Command line of the benchmark, read without torch as far as it is wrong or asks for help."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

from .config import BenchConfig

__all__ = ["OptionError", "options"]

Made = TypeVar("Made")

_DESCRIPTION = """Check the accuracy of the kernels on this machine and measure their speed.

Every back end is first compared with the reference in float64; one that fails is reported and not timed. The others are
timed in turns with their peers in one process. Prints Markdown; `--output` writes it to a file too."""


class OptionError(ValueError):
    """Invalid command-line option."""


def options(arguments: list[str], program: str) -> BenchConfig:
    """Parse the command line.

    Args:
        arguments: words of the command line.
        program: name of the command in the help.

    Raises:
        OptionError: if an option is invalid, in one line.
    """
    usual = BenchConfig()
    parser = _Parser(prog=program, description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to measure; auto is both, if there")
    add("--shapes", nargs="+", type=_pair, default=usual.shapes, metavar="BxD", help=(
        "training on the CPU: lives x width of a head (default: " + " ".join(f"{B}x{d}" for B, d in usual.shapes) + ")"
    ))  # fmt: skip
    add("--length", type=_count, default=usual.length, metavar="T", help="steps of it (default: %(default)s)")
    add("--num-heads", type=_count, default=usual.num_heads, metavar="H", help="heads of it (default: %(default)s)")
    add("--heads", type=_count, dest="num_heads", default=argparse.SUPPRESS, help=argparse.SUPPRESS)  # until 0.3
    add("--acting", type=_pair, default=usual.acting, metavar="BxW", help=(
        f"acting on the CPU: lives x width of the layer (default: {usual.acting[0]}x{usual.acting[1]})"
    ))  # fmt: skip
    add("--threads", type=_count, default=usual.threads, metavar="N", help="threads (default: %(default)s)")
    add("--repeats", type=_count, default=usual.repeats, metavar="N", help="rounds of each race (default: %(default)s)")
    add("--compile", action="store_true", help="measure acting under torch.compile too; it compiles for half a minute")
    add("--output", type=Path, metavar="FILE", help="write the report there too")
    words = parser.parse_args(arguments)
    import torch  # not above: see the module

    there = torch.cuda.is_available()
    if words.device == "cuda" and not there:
        raise OptionError("--device cuda needs a GPU that torch can see; there is none")
    if words.output is not None and not words.output.parent.is_dir():
        raise OptionError(f"--output {words.output}: there is no folder {words.output.parent}")
    return BenchConfig(
        devices=("cpu", "cuda")[: 1 + there] if words.device == "auto" else (words.device,),
        shapes=tuple(words.shapes),
        length=words.length,
        num_heads=words.num_heads,
        acting=words.acting,
        threads=words.threads,
        repeats=words.repeats,
        compile=words.compile,
        output=words.output,
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OptionError(f"{message} (see {self.prog} --help)")


def _checked(make: Callable[[str], Made], wanted: str) -> Callable[[str], Made]:
    """Return an argparse type whose error names the allowed values."""

    def check(word: str) -> Made:
        try:
            return make(word)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be {wanted}, got {word!r}") from None

    return check


def _positive(word: str) -> int:
    if (number := int(word)) < 1:
        raise ValueError(word)
    return number


def _two(word: str) -> tuple[int, int]:
    first, second = word.split("x")
    return _positive(first), _positive(second)


_count = _checked(_positive, "a positive number")
_pair = _checked(_two, "two positive numbers like 16x32")
