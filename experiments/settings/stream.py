"""Settings of `lifelong stream`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lifelong.experiments.reports.figure_formats import FORMATS
from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import UserError, check_ends_of_lives, check_fields, check_output
from lifelong.experiments.runs.help_page import Heading
from lifelong.experiments.runs.names import check_stream
from lifelong.experiments.runs.sizes import CountOrZero, Hazard, Length, Lives, Seed
from lifelong.registry import nearest

__all__ = ["ShowConfig", "read"]


@dataclass(frozen=True)
class ShowConfig:
    """Show the tasks of a stream and their schedule.

    Args:
        stream: name of a stream (see `lifelong list`), gym:<id>, or a stream file.
        num_envs: number of lives in parallel; if not given, as in `lifelong train`.
        seed: random seed of the lives.
        feedback: whether the right answer is revealed after an action or only the reward is given, in streams that know
            both.
        schedule: which task comes next (see `lifelong list`); if not given, as in `lifelong train`.
        boundary: what the agent is told of task changes.
        life_episodes: episodes of a life; 0 is one endless life. If not given, as in `lifelong train`.
        life_hazard: in place of life_episodes, the probability that a life ends at an episode's end.
        stream_options: more settings of the stream.
        env_kwargs: settings of the environment of gym:<id>, for `gymnasium.make`.
        episodes: episodes to show; a schedule in steps is shown for one pass.
        life: number of the life to show.
        output: picture to draw as well.
        trust: import the code that a stream file names: an environment that is neither registered nor of an installed
            package.
    """

    stream: Annotated[
        tyro.conf.Positional[str], Heading("the stream, as in `lifelong train`"), tyro.conf.arg(metavar="STREAM")
    ]
    num_envs: Lives | None = None
    seed: Seed = 0
    feedback: Literal["reveal", "reward"] | None = None
    schedule: str | None = None
    boundary: Literal["none", "flag", "task_id"] = "none"
    life_episodes: CountOrZero | None = None
    life_hazard: Hazard | None = None
    stream_options: tuple[str, ...] = ()
    env_kwargs: tuple[str, ...] = ()

    episodes: Annotated[Length, Heading("what is shown")] = 200
    life: CountOrZero = 0
    output: Path | None = None
    trust: bool = False

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_fields(self)
        check_ends_of_lives(self)
        check_output(self.output)
        if self.output and self.output.suffix.lower() not in FORMATS:
            raise UserError(f"output must end in {', '.join(FORMATS)}: output={self.output}")


def read(words: list[str]) -> ShowConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
        SystemExit: if the help was asked for, with code 0.
    """
    what, *rest = words or [""]
    if what in ("-h", "--help"):
        sys.stdout.write("usage: lifelong stream show STREAM [OPTIONS]\n\nlifelong stream show --help tells more.\n")
        raise SystemExit(0)
    if not what:
        raise UserError("stream what? known: show")
    if what != "show":
        raise UserError(f"no subject {what!r}{nearest(what, ['show'])} known: show")
    config = parse(ShowConfig, rest, "stream show")
    check_stream(config.stream)
    return config
