"""Two processes that go on with the same training at the same time."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from lifelong.experiments.campaigns.children import do_in_child, in_child, in_children
from lifelong.experiments.campaigns.lives import config_of, differences, elsewhere, go_on, train
from lifelong.experiments.campaigns.trial import Trial

__all__ = ["writers"]

_KIND = "cued-recall"


def writers(folder: Path, numbers: Sequence[int], seed: int) -> Iterator[Trial]:
    """Yield trials: one of two processes trains, the other is refused or comes when it has ended; nothing is destroyed.

    Args:
        folder: for the runs; what is there is removed after each trial.
        numbers: of the trials.
        seed: of the trainings.
    """
    whole = config_of(_KIND, folder / "alone", seed)
    do_in_child(lambda: train(whole))
    for number in numbers:
        config = elsewhere(whole, folder / f"shared-{number}")
        if number % 2:  # half of them find a run that was interrupted
            in_child(go_on(config), kill_after=0.3)
        ends = in_children([go_on(config), go_on(config)])
        hows = sorted(end.how for end in ends)
        in_child(go_on(config))  # where each refused the other, or one was too early
        said = "; ".join(end.said.strip().splitlines()[-1] for end in ends if end.how != "done" and end.said.strip())
        other = differences(config.run, whole.run, curves=False)
        good = not other and not {"traceback", "crash", "hang"} & set(hows)
        yield Trial("writers", "two trainings", number, f"{' and '.join(hows)}", good, "; ".join([*other, said]))
        shutil.rmtree(config.run, ignore_errors=True)
    shutil.rmtree(whole.run)
