"""Settings of `lifelong interference`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lifelong.agents.carry import Carry
from lifelong.experiments.runs.actions import Actions
from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import UserError, check_fields
from lifelong.experiments.runs.names import check_stream
from lifelong.experiments.runs.open_run import open_run
from lifelong.experiments.runs.sizes import Count, Lives, Seed, Threads

__all__ = ["LIVES", "InterferenceConfig", "read"]

LIVES = 64
"""Number of lives in parallel, if not given."""


@dataclass(frozen=True)
class InterferenceConfig:
    """Disturb the memory of a trained agent by noise or a foreign task and measure what it still knows.

    Args:
        run: directory of the run.
        by: `noise`, or the name of a stream whose spaces fit the agent's; its lives are never those of the agent.
        by_options: settings of that stream.
        most: n is 0, 16, 64, 256, ... and at last this number of steps.
        before: steps of every life before; if not given, those of a life of training.
        lives: number of lives in parallel.
        carry: what ends the memory; if not given, as in training.
        actions: how the agent acts: by actions drawn from its policy, as in training, or greedily, by the most probable
            ones.
        schedule: which task comes next before; if not given, as in training.
        stream_options: settings of the agent's own stream in place of training's, such as cues=64.
        seed: random seed of the lives; they are never those of training.
        threads: threads of torch.
        device: where the agent computes; if not given, as in training.
        trust: import the code that the run or a stream file names: a memory or an environment that is neither
            registered nor of an installed package.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    by: str = "noise"
    by_options: tuple[str, ...] = ()
    most: Count = 4096
    before: Count | None = None
    lives: Lives = LIVES
    carry: Carry | None = None
    actions: Actions = "drawn"
    schedule: str | None = None
    stream_options: tuple[str, ...] = ()
    seed: Seed = 0
    threads: Threads = 1
    device: str | None = None
    trust: bool = False

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_fields(self)
        if self.by == "noise" and self.by_options:
            raise UserError(f"noise has no settings: by_options={' '.join(self.by_options)}")


def read(words: list[str]) -> InterferenceConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
    """
    config = parse(InterferenceConfig, words, "interference", aliases={"with": "by"})
    open_run(config.run, config.trust)
    if config.by != "noise":
        check_stream(config.by)
    return config
