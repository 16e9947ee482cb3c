"""Settings of `lifelong bench life`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lifelong.experiments.runs.arguments import parse

__all__ = ["BenchConfig", "read"]


@dataclass(frozen=True)
class BenchConfig:
    """Compare speed and memory of a run between its first and last part.

    Args:
        run: directory of a run of `lifelong train`.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]


def read(words: list[str]) -> BenchConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
    """
    return parse(BenchConfig, words, "bench life")
