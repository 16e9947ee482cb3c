"""Settings of `lifelong chaos`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import tyro

from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import UserError, check_fields, check_output
from lifelong.experiments.runs.sizes import Count, Seed

__all__ = ["CAMPAIGNS", "COUNTS", "Campaign", "ChaosConfig", "read"]

Campaign = Literal["kills", "writers", "damages", "environments", "faults", "words"]
CAMPAIGNS: tuple[Campaign, ...] = get_args(Campaign)
COUNTS: dict[Campaign, int] = {
    "kills": 40, "writers": 10, "damages": 100, "environments": 85, "faults": 40, "words": 2000,
}  # fmt: skip
"""Trials of each campaign by default: some minutes together."""


@dataclass(frozen=True)
class ChaosConfig:
    """Kill, damage and mistype trainings on this machine, and count what was lost.

    Args:
        campaigns: which; none is all.
        count: trials of each campaign; if not given 40 kills, 10 pairs of writers, 100 damages, 85 environments, 40
            faults of the file system and 2,000 command lines.
        trials: do these once more, by their numbers, in place of the first `count`; the seed is that of before.
        seed: random seed of times, damages and words.
        folder: for the runs of the trials, such as a folder of the file system that is in question; if not given, a
            temporary one.
        output: file to write the table to as well.
    """

    campaigns: tyro.conf.Positional[tuple[Campaign, ...]] = CAMPAIGNS
    count: Count | None = None
    trials: tuple[Seed, ...] = ()
    seed: Seed = 0
    folder: Path | None = None
    output: Path | None = None

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_fields(self)
        if self.trials and self.count is not None:
            raise UserError("--trials says which trials, --count how many of the first: one of them")
        check_output(self.output)
        check_output(self.folder, folder=True)


def read(words: list[str]) -> ChaosConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
    """
    return parse(ChaosConfig, words, "chaos")
