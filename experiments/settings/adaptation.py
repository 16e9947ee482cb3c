"""Settings of `lifelong adaptation`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lifelong.agents.carry import Carry
from lifelong.experiments.runs.actions import Actions
from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import check_fields
from lifelong.experiments.runs.open_run import open_run
from lifelong.experiments.runs.sizes import Count, Lives, Seed, Threads

__all__ = ["AdaptationConfig", "read"]


@dataclass(frozen=True)
class AdaptationConfig:
    """Change hidden answers in the lives of a trained agent and measure whether its memory rewrites them.

    Args:
        run: directory of the run.
        change_at: episode of each life at which half of the answers change; if not given, as in training, or where
            nothing changed there, after the episodes of a life of training (128 where that was endless).
        steps: environment steps of every life; if not given, four times those until the change.
        lives: number of lives in parallel; if not given, as in the evaluation of training.
        carry: what ends the memory; if not given, as in training.
        actions: how the agent acts: by actions drawn from its policy, as in training, or greedily, by the most probable
            ones.
        schedule: which task comes next; if not given, as in training.
        stream_options: settings of the stream in place of training's, such as cues=64.
        seed: random seed of the lives; they are never those of training.
        threads: threads of torch.
        device: where the agent computes; if not given, as in training.
        trust: import the code that the run names: a memory or an environment that is neither registered nor of an
            installed package.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    change_at: Count | None = None
    steps: Count | None = None
    lives: Lives | None = None
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


def read(words: list[str]) -> AdaptationConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
    """
    config = parse(AdaptationConfig, words, "adaptation")
    open_run(config.run, config.trust)
    return config
