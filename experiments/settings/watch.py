"""Settings of `lifelong watch`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lifelong.experiments.runs.actions import Actions
from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import UserError, check_fields, check_output
from lifelong.experiments.runs.open_run import open_run
from lifelong.experiments.runs.screen_checks import check_movie, check_window
from lifelong.experiments.runs.sizes import Count, Length, Seed

__all__ = ["WatchConfig", "read"]


@dataclass(frozen=True)
class WatchConfig:
    """Watch a trained agent live, beside what it writes to its memory.

    Args:
        run: directory of the run.
        output: film to write, .gif or .mp4.
        window: show it in a window.
        episodes: episodes of the life.
        steps: environment steps after which the film ends, whatever the episodes.
        task: name of the only task of the life; if not given, the schedule of training.
        actions: how the agent acts: by actions drawn from its policy, as in training, or greedily, by the most probable
            ones.
        fps: frames a second.
        seed: random seed of the life and of the actions.
        overwrite: replace a film of the same name.
        trust: import the code that the run names: a memory or an environment that is neither registered nor of an
            installed package.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    output: Path | None = None
    window: bool = False
    episodes: Length = 3
    steps: Count = 500
    task: str | None = None
    actions: Actions = "drawn"
    fps: Count = 10
    seed: Seed = 0
    overwrite: bool = False
    trust: bool = False

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_fields(self)
        if self.output is None and not self.window:
            raise UserError("watch needs --output FILE.gif (or .mp4) or --window")
        if self.window:
            check_window()
        if self.output is not None:
            check_output(self.output, overwrite=self.overwrite)
            check_movie(self.output)


def read(words: list[str]) -> WatchConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
    """
    config = parse(WatchConfig, words, "watch", aliases={"video": "output"})
    open_run(config.run, config.trust)
    return config
