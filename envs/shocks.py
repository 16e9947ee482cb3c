"""Shocks: a schedule in which a foreign task breaks in between what is learned and what is asked."""

from dataclasses import dataclass

import numpy as np

from lifelong.envs.schedules import Draw, History, Ints, check_positive

__all__ = ["Shocks"]


@dataclass(frozen=True, slots=True)
class Shocks:
    """The last task is foreign: after every `every` episodes of the others it takes over for 1, 2, 4, ... episodes.

    The others are drawn evenly. After the shock of `longest` episodes follows one of a single episode again. What is
    asked after a shock was met before it, or not at all; its lag counts the shock and what else came between.
    With `drifts=plain/noisy_observations` and this as `drift_schedule` the foreign task is noise, in any stream.

    Args:
        every: episodes of the other tasks between two shocks.
        longest: episodes of the longest shock, a power of two.
    """

    every: int
    longest: int = 16

    def __post_init__(self) -> None:
        """Validate the numbers."""
        check_positive("every", self.every)
        check_positive("longest", self.longest)
        if self.longest & (self.longest - 1):
            raise ValueError(f"longest must be a power of two: longest={self.longest}")

    def next(self, history: History, draw: Draw) -> Ints:
        """Return the task of each life's coming episode."""
        foreign = history.met.shape[1] - 1
        lengths = 2 ** np.arange(self.longest.bit_length())
        ends = (self.every + lengths).cumsum()  # of the shocks, in episodes of one pass through all lengths
        place = history.episode % ends[-1]
        left = ends[np.searchsorted(ends, place, side="right")] - place  # episodes to the end of the coming shock
        length = lengths[np.searchsorted(ends, place, side="right")]
        other = (draw(0) * max(foreign, 1)).astype(np.int64)
        coming: Ints = np.where(left <= length, foreign, other)
        return coming
