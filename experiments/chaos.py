"""Kill, damage and mistype trainings on this machine, and count what was lost: nothing should be.

    lifelong chaos                                     all campaigns, some minutes
    lifelong chaos kills --count 200 --folder /mnt/x   does exact resumption hold on this file system
    lifelong chaos words --count 20000 --output words.md
    lifelong chaos damages --seed 3 --trials 7 12      two of them again

| campaign | a trial | good is |
| --- | --- | --- |
| kills | a training is killed up to three times, at random times or before random changes of the file system, and goes on | rows, weights, optimiser, memory, environment, random numbers and curves of one that was not killed, bit for bit |
| writers | two processes train or go on with the same run at once | the same bits, and one of them is refused in one line |
| damages | a file of a run is changed, cut, replaced or removed; then it goes on, is measured or reported | an error of one line, or the result of before |
| environments | an environment raises, returns what it must not, or ends the process, once | one line, and the same bits when it goes on |
| faults | a change of the file system fails while a run is trained, measured or reported | the same |
| words | a random command line is read, not run | it is understood, or refused in one line of 300 characters or less within 10 s, and nothing is written |

The exit code is 1 if one was bad.
"""  # noqa: E501  a table

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console

from lifelong.experiments.campaigns.damages import damages
from lifelong.experiments.campaigns.environments import environments
from lifelong.experiments.campaigns.faults import faults
from lifelong.experiments.campaigns.kills import kills
from lifelong.experiments.campaigns.trial import Trial
from lifelong.experiments.campaigns.words import words
from lifelong.experiments.campaigns.writers import writers
from lifelong.experiments.settings.chaos import COUNTS, Campaign, ChaosConfig

__all__ = ["ChaosConfig", "command", "main", "table"]

_CAMPAIGNS: dict[Campaign, Callable[[Path, Sequence[int], int], Iterator[Trial]]] = {
    "kills": kills, "writers": writers, "damages": damages, "environments": environments, "faults": faults,
    "words": words,
}  # fmt: skip
_APART = 8  # kinds of a campaign that have lines of their own
_TOLD = 20  # bad trials whose words are printed


def command(config: ChaosConfig) -> None:
    """Run the verb.

    Raises:
        SystemExit: with code 1 if a trial was bad.
    """
    trials = main(config, Console(stderr=True))
    text = table(trials)
    if config.output is not None:
        config.output.parent.mkdir(parents=True, exist_ok=True)
        config.output.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    bad = [trial for trial in trials if not trial.good]
    for trial in bad[:_TOLD]:
        said = " ".join(trial.said.split())
        sys.stderr.write(f"{trial.campaign} {trial.number} ({trial.kind}): {trial.outcome}: {said}\n")
    if bad:
        raise SystemExit(1)


def main(config: ChaosConfig, console: Console | None = None) -> list[Trial]:
    """Run campaigns and return their trials.

    Args:
        config: which.
        console: where is said how long each took; None keeps quiet.
    """
    console = console or Console(quiet=True)
    torch.set_num_threads(1)  # forks have no other threads
    found: list[Trial] = []
    with tempfile.TemporaryDirectory(dir=_made(config.folder)) as folder:
        for name in dict.fromkeys(config.campaigns or _CAMPAIGNS):
            began = time.monotonic()
            numbers = config.trials or range(config.count or COUNTS[name])
            trials = list(_CAMPAIGNS[name](Path(folder), numbers, config.seed))
            found += trials
            bad = sum(not trial.good for trial in trials)
            console.print(f"{name}: {len(trials):,} trials, {bad} bad, {time.monotonic() - began:,.0f} s")
    return found


def table(trials: list[Trial]) -> str:
    """Return the outcomes of trials as a table in Markdown; many kinds of a campaign are one line.

    Args:
        trials: of all campaigns.
    """
    lines = ["| campaign | of | trials | outcomes | bad |", "| --- | --- | ---: | --- | ---: |"]
    kinds: dict[str, dict[str, None]] = {}
    for trial in trials:
        kinds.setdefault(trial.campaign, {})[trial.kind] = None
    apart = [(campaign, kind) for campaign, of in kinds.items() for kind in (of if len(of) <= _APART else [None])]
    for campaign, one in apart:
        these = [trial for trial in trials if trial.campaign == campaign and one in (None, trial.kind)]
        kind = one or f"{len(kinds[campaign])} kinds"
        counted = Counter(trial.outcome for trial in these).most_common()
        outcomes = ", ".join(f"{outcome}: {n:,}" for outcome, n in counted)
        lines.append(
            f"| {campaign} | {kind} | {len(these):,} | {outcomes} | {sum(not trial.good for trial in these)} |"
        )
    return "\n".join(lines) + "\n"


def _made(folder: Path | None) -> Path | None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return folder
