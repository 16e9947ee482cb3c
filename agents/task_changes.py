"""Find the boundaries between tasks in what segments tell of task changes.

A boundary begins with the first life that changes task. The others follow when their episodes end, perhaps in later
segments; until then they are behind, and their change is of the same boundary. So boundaries must be common to all
lives: one life, or a schedule that counts steps of all lives together.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lifelong.agents.rollout import Segment
from lifelong.agents.saved_tensors import check_saved

__all__ = ["TaskChanges", "told_changes"]

_MOST = 2**53  # boundaries


def told_changes(segment: Segment, method: str) -> Tensor:
    """Return [B, T] after which steps a life is told to be in another task.

    Args:
        segment: of B lives.
        method: that needs to be told.

    Raises:
        ValueError: if lives are told nothing of task changes.
    """
    change: Tensor | None = segment.steps["next"].get("task_change", None)
    if change is None:
        raise ValueError(
            f"{method} needs to be told when the task changes: the stream must have boundary flag or task_id, its "
            "observations have neither"
        )
    return change[..., 0]


class TaskChanges:
    """Finds boundaries, segment by segment."""

    def __init__(self) -> None:
        self.behind: Tensor | None = None
        """[B] lives that have not changed task since the last boundary began; None before the first segment."""
        self.boundaries, self.answered = 0, 0
        """Boundaries so far, and those of them that a learner has answered."""
        self._moved: Tensor | None = None

    def moved(self, lives: Tensor) -> None:
        """Take into account which lives changed task between segments, where unfinished episodes were dropped.

        The step that follows is taken for the last one of the old task.

        Args:
            lives: [B] bool.
        """
        self._moved = lives

    def observe(self, change: Tensor) -> Tensor | None:
        """Take a segment's changes into account.

        Args:
            change: [B, T] after which steps a life is in another task.

        Returns:
            [B, T] which steps are of the task that ends, in lives that were not behind; None if no boundary begins.

        Raises:
            ValueError: if there are other numbers of lives than before, or a life changes more than once: only one
                boundary is answered in an update.
        """
        if self._moved is not None:
            change = change.clone()
            change[:, 0] |= self._moved.to(change.device)
            self._moved = None
        changed = change.any(1)
        behind = torch.zeros_like(changed) if self.behind is None else self.behind.to(change.device)
        if len(behind) != len(changed):
            raise ValueError(f"segments must have as many lives as those before, {len(behind)}, got {len(changed)}")
        if (most := int(change.sum(1).max())) > 1:
            raise ValueError(
                f"a life changed task {most} times in a segment of {change.shape[1]} steps: an update answers one "
                "change, so segments must be shorter than the stay at a task"
            )
        begins = bool((changed & ~behind).any())
        self.behind = ~changed if begins else behind & ~changed
        if not begins:
            return None
        self.boundaries += 1
        changes_before = change.cumsum(1) - change.long()
        return (changes_before == 0) & ~behind[:, None]

    def due(self) -> bool:
        """Return whether a boundary has begun since this was asked last; to be asked after an update."""
        due, self.answered = self.boundaries > self.answered, self.boundaries
        return due

    def state_dict(self) -> dict[str, Tensor]:
        """Return the counts, and which lives are behind, if there was a segment."""
        counts = {"boundaries": torch.tensor(self.boundaries), "answered": torch.tensor(self.answered)}
        return counts if self.behind is None else counts | {"behind": self.behind}

    def load_state_dict(self, state: Mapping[str, Tensor], lives: int, slots: Sequence[int] = ()) -> None:
        """Load what `state_dict` returned.

        Args:
            state: by name.
            lives: B, of those whose state it is.
            slots: of those that go on; none is all.

        Raises:
            ValueError: if it is of other names, dtypes or shapes, or a count is out of range.
        """
        known = {"behind": torch.zeros(lives, dtype=torch.bool)} if "behind" in state else {}
        counts = dict.fromkeys(("boundaries", "answered"), torch.tensor(0))
        check_saved(state, counts | known, dict.fromkeys(counts, (0, _MOST)))
        self.boundaries, self.answered = int(state["boundaries"]), int(state["answered"])
        self.behind = state["behind"][list(slots) or slice(None)].clone() if known else None
