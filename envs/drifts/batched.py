"""Drifts of any stream, for all its lives at once: no environment is edited, so no life has a loop of its own.

    make_stream("rooms", 256, task="doorkey-5x5", drifts="plain/reversed_actions+sticky_actions", schedule="cyclic:20")
    make_stream("cued-recall", 256, drifts="plain/reversed_actions", drift_schedule="cyclic:40")

The second makes two tasks of every cue, one without drifts and one with reversed actions, in this order: all tasks of
the first kind, then all of the second. `drift_schedule` says which kind comes next, and the stream's own schedule which
cue; where a stream has but one task there is nothing else to schedule, and its schedule says which kind.

The agent is shown, and rows tell, what it chose and what it was paid. References are those of tasks without drifts, so
tasks with drifts have none, and the reference policies of a stream know nothing of them; `success` and `answer` say
what they say without drifts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.drifts.base import Change, Drift, Screen
from lifelong.envs.rng import Purpose, bits

__all__ = ["DriftedLives"]

Ints = NDArray[np.int64]


class DriftedLives:
    """Drifts at work in lives side by side.

    Args:
        kinds: the drifts of each kind of task, none of them or more, the one next to the environment first.
        shown: observations of one life.
        taken: actions of one life.
        lives: B, how many.

    Raises:
        ValueError: if a drift is of a gymnasium environment's own, or does not fit these spaces.
    """

    def __init__(
        self, kinds: Sequence[Sequence[Drift]], shown: spaces.Space[Any], taken: spaces.Space[Any], lives: int
    ) -> None:
        self._changes = [[_begun(drift, shown, taken, lives) for drift in drifts] for drifts in kinds]
        self.drifting = np.array([bool(drifts) for drifts in kinds])
        self.kind = np.zeros(lives, np.int64)

    def begin(self, lives: Ints, kinds: Ints, seeds: Ints) -> None:
        """Begin episodes, which undoes what was different in the last ones.

        Args:
            lives: [n] in which.
            kinds: [n] of which kinds of task.
            seeds: [n] of the episodes.
        """
        self.kind[lives] = kinds
        for number, changes in enumerate(self._changes):
            here = kinds == number
            for place, change in enumerate(changes):
                change.begin(lives[here], bits(seeds[here], Purpose.DRIFT, place))

    def done(self, chosen: NDArray[Any]) -> NDArray[Any]:
        """Return [B, ...] what is done when these actions were chosen; called once a step."""
        done = chosen.copy()
        for lives, changes in self._at_work():
            for change in reversed(changes):
                done[lives] = change.action(lives, done[lives])
        return done

    def paid(self, rewards: NDArray[np.float64], over: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return [B] what is paid for steps worth `rewards`, called once a step; `over` where it was the last."""
        paid = rewards.copy()
        for lives, changes in self._at_work():
            for change in changes:
                paid[lives] = change.reward(lives, paid[lives], over[lives])
        return paid

    def shown(self, seen: Any) -> Any:
        """Return the batch of what is shown when this was seen."""
        for lives, changes in self._at_work():
            for change in changes:
                if change.part is not None:
                    part = (seen[change.part] if change.part else seen).copy()
                    part[lives] = change.observation(lives, part[lives])
                    seen = seen | {change.part: part} if change.part else part
        return seen

    def position(self) -> dict[str, NDArray[Any]]:
        """Return all that tells what the drifts will do in the unfinished episodes."""
        kept = {name: getattr(change, key).copy() for name, change, key in self._kept()}
        return kept | {"drift kind": self.kind.copy()}

    def resume(self, position: dict[str, NDArray[Any]]) -> None:
        """Go on from a position."""
        self.kind = position["drift kind"].copy()
        for name, change, key in self._kept():
            setattr(change, key, position[name].copy())

    def _at_work(self) -> list[tuple[Ints, list[Change]]]:
        """Return the lives of each kind of task that has drifts, and these."""
        found = [(np.flatnonzero(self.kind == number), changes) for number, changes in enumerate(self._changes)]
        return [(lives, changes) for lives, changes in found if lives.size and changes]

    def _kept(self) -> list[tuple[str, Change, str]]:
        return [
            (f"drift {number} {place} {key}", change, key)
            for number, changes in enumerate(self._changes)
            for place, change in enumerate(changes)
            for key in change.kept
        ]


def _begun(drift: Drift, shown: spaces.Space[Any], taken: spaces.Space[Any], lives: int) -> Change:
    if not isinstance(drift, Screen):
        raise ValueError(f"{drift} edits an environment of gymnasium; write gym:<id>, or a file with tasks")
    try:
        return drift.change(shown, taken, lives)
    except ValueError as error:
        raise ValueError(f"{drift} does not fit this stream: {error}") from error
