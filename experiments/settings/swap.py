"""Settings of `lifelong swap`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import check_fields
from lifelong.experiments.runs.names import check_memories
from lifelong.experiments.runs.open_run import open_run
from lifelong.experiments.runs.sizes import Count, Threads, Workers

__all__ = ["SwapConfig", "read"]


@dataclass(frozen=True)
class SwapConfig:
    """Replace the memory of a trained agent and keep all weights that fit.

    Args:
        run: directory of the run.
        memory: name of the new memory (see `lifelong list`), or package.module:Class.
        memory_options: more settings of the new memory.
        name: name of the new run; if not given, the old one's and the memory's.
        steps: environment steps of the new run; if not given, as in the old one.
        lr: learning rate of the new run; if not given, as in the old one.
        device: device of the new run; if not given, as in the old one.
        threads: threads of torch in the new run; if not given, as in the old one.
        env_workers: processes in which environments of gymnasium live in the new run; if not given, as in the old one.
        overwrite: replace a run of the new name.
        trust: import the code that the run names: a memory or an environment that is neither registered nor of an
            installed package.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    memory: str
    memory_options: tuple[str, ...] = ()
    name: str | None = None
    steps: Count | None = None
    lr: float | None = None
    device: str | None = None
    threads: Threads | None = None
    env_workers: Workers | None = None
    overwrite: bool = False
    trust: bool = False

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_fields(self)


def read(words: list[str]) -> SwapConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
    """
    config = parse(SwapConfig, words, "swap")
    check_memories(config.memory)
    open_run(config.run, config.trust)
    return config
