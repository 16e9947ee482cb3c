"""States of long episodes of B lives, from which they are replayed, in place of their beginning.

A state is taken again after `EVERY` steps. The first one of a task is tried out when the second is due: a new
environment that gets it must take the steps since to the same observation and return. Until then, and ever after if it
does not, episodes are replayed from their beginning.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lifelong.envs.positions import check_entries

__all__ = ["STATE_ENTRIES", "KeptState", "KeptStates"]

STATE_ENTRIES = ("state_step", "state_return", "state_bytes", "states")
"""Entries of a position, if it has states."""


class KeptState(NamedTuple):
    """State of an environment in an episode.

    Args:
        step: of the episode, of which no action has to be replayed before.
        gained: return until then.
        state: as `take_state` returned it; empty at the beginning.
    """

    step: int = 0
    gained: float = 0.0
    state: bytes = b""


class KeptStates:
    """The states from which the present episodes of B lives are replayed.

    Args:
        of: the states by slot.
    """

    def __init__(self, of: Sequence[KeptState]) -> None:
        self.of = list(of)

    def entries(self) -> dict[str, NDArray[Any]]:
        """Return what a position has of them: nothing where all are at their beginning."""
        if not any(kept.step for kept in self.of):
            return {}
        steps, gained, states = zip(*self.of, strict=True)
        columns = np.array(steps), np.array(gained), np.array([len(state) for state in states])
        return dict(zip(STATE_ENTRIES, (*columns, np.frombuffer(b"".join(states), np.uint8).copy()), strict=True))

    def steps(self) -> NDArray[np.int64]:
        """Return [B] the steps of the episodes before which no action has to be replayed."""
        return np.array([kept.step for kept in self.of])

    @classmethod
    def read(cls, position: Mapping[str, NDArray[Any]], lengths: NDArray[np.int64]) -> Self:
        """Return those of a position, which may come from a file.

        Args:
            position: with what `entries` returned.
            lengths: [B] steps of the unfinished episodes.

        Raises:
            ValueError: if they do not fit each other or the episodes.
        """
        if "states" not in position:
            return cls([KeptState()] * len(lengths))
        like = {"state_step": lengths, "state_return": np.zeros(len(lengths)), "state_bytes": lengths}
        bounds = {"state_step": (0, np.maximum(lengths - 1, 0)), "state_bytes": (0, position["states"].size)}
        check_entries(position, like | {"states": np.zeros(0, np.uint8)}, bounds)
        sizes, states = position["state_bytes"], position["states"].tobytes()
        if sizes.sum() != len(states):
            raise ValueError(f"position has {len(states)} bytes of states, by their sizes it has {sizes.sum()}")
        ends = np.cumsum(sizes).tolist()
        cut = [states[end - size : end] for end, size in zip(ends, sizes.tolist(), strict=True)]
        steps, gained = position["state_step"].tolist(), position["state_return"].tolist()
        return cls([KeptState(*each) for each in zip(steps, gained, cut, strict=True)])
