"""Settings of `lifelong fork`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import check_fields
from lifelong.experiments.runs.open_run import open_run
from lifelong.experiments.runs.sizes import CountOrZero

__all__ = ["ForkConfig", "read"]


@dataclass(frozen=True)
class ForkConfig:
    """Copy lives of a run, with their memory, into a new run that goes on by itself, or into a file.

    Args:
        run: directory of the run.
        to: the new run, a name beside the old one or a folder; or a file, if it ends in .safetensors: the lives'
            states, which `load_state` reads.
        slots: of the lives, from 0 to the run's num_envs - 1; if not given, all of them.
        device: device of the new run; if not given, as in the old one.
        overwrite: replace a run of the new name.
        trust: import the code that the run names: a memory or an environment that is neither registered nor of an
            installed package.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    to: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="NAME|FILE")]
    slots: tuple[CountOrZero, ...] = ()
    device: str | None = None
    overwrite: bool = False
    trust: bool = False

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_fields(self)


def read(words: list[str]) -> ForkConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
    """
    config = parse(ForkConfig, words, "fork")
    open_run(config.run, config.trust)
    return config
