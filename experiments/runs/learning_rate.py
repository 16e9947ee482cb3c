"""Share of the learning rate and of the entropy bonus over a training, also over one that is made longer or shorter.

    f(s) = f_last + (f_0 - f_last) (1 - (s - s_0) / (S - s_0))

falls linearly from f_0 at s_0 to f_last at S, the steps of the training. A training begins with s_0 = 0 and f_0 = 1.
Where it goes on from a checkpoint with other steps, a piece begins there with the share of that moment: the learning
rate does not jump, and that of a finished training stays at its last share.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lifelong.experiments.runs.errors import UserError

__all__ = ["LearningRate", "Piece"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Piece of the schedule.

    Args:
        start: s_0, environment steps after which it begins.
        share: f_0.
        end: S, environment steps of the training.
    """

    start: int
    share: float
    end: int

    def at(self, steps: int, last: float) -> float:
        """Return the share after so many steps.

        Args:
            steps: environment steps.
            last: f_last.
        """
        left = max(1.0 - (steps - self.start) / (self.end - self.start), 0.0) if self.end > self.start else 0.0
        return last + (self.share - last) * left


@dataclass(frozen=True, slots=True)
class LearningRate:
    """Share of the learning rate over a training.

    Args:
        pieces: in their order.
        last: share at the end.
    """

    pieces: tuple[Piece, ...]
    last: float

    @classmethod
    def of_run(cls, folder: Path, steps: int, last: float) -> Self:
        """Return that of a run, whose `config.json` names the pieces if there are several.

        Args:
            folder: of the run.
            steps: of the training, as the run has them.
            last: share at the end.

        Raises:
            UserError: if the file cannot be read.
        """
        path = folder / "config.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            pieces = tuple(Piece(int(s), float(f), int(S)) for s, f, S in content.get("learning_rate", ()))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{path} has no pieces of the learning rate that can be read: {error}") from error
        return cls(pieces or (Piece(0, 1.0, steps),), last)

    def at(self, steps: int) -> float:
        """Return the share after so many environment steps."""
        begun = [piece for piece in self.pieces if piece.start < steps] or self.pieces[:1]
        return begun[-1].at(steps, self.last)

    def until(self, steps: int, now: int) -> "LearningRate":
        """Return the same with another number of steps of the training.

        Args:
            steps: of the training.
            now: environment steps so far.
        """
        before = tuple(piece for piece in self.pieces if piece.start < now)
        share = self.at(now) if now else 1.0
        return LearningRate((*before, Piece(now, share, steps)), self.last)

    def entry(self) -> Mapping[str, Any]:
        """Return the entry of `config.json`."""
        return {"learning_rate": [[piece.start, piece.share, piece.end] for piece in self.pieces]}
