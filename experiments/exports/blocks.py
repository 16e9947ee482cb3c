"""Training as the sequence of blocks that benchmarks know: one task after another, evaluations in between.

A visit of all lives to a task is one block; an evaluation in its midst makes it two. Episodes belong to the block in
which they began. The evaluation nearest to a change of task counts as taken at the change, if it is within one segment.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lifelong.experiments.exports.source import Source
from lifelong.experiments.metrics.rows import Rows
from lifelong.experiments.runs.errors import UserError

__all__ = ["Blocks", "blocks_of"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of a run's training.

    Args:
        task: [N] task of each block.
        visit: [N] number of the visit that each block is of, or a part of.
        row: [rows] block of each row of training.
        steps: [K] environment steps of training before each evaluation.
        after: [K] block after which each evaluation came; -1 before all.
    """

    task: Ints
    visit: Ints
    row: Ints
    steps: Ints
    after: Ints

    def trained(self, tasks: Ints) -> NDArray[np.bool_]:
        """Return [K, T] which tasks were trained between an evaluation and the one before.

        Args:
            tasks: [T] numbers of the tasks.
        """
        found = np.zeros((self.steps.size, tasks.size), np.bool_)
        before = np.concatenate([[-1], self.after[:-1]]) if self.after.size else self.after
        for k, (first, last) in enumerate(zip(before, self.after, strict=True)):
            found[k] = np.isin(tasks, self.task[first + 1 : last + 1])
        return found


def blocks_of(source: Source) -> Blocks:
    """Return the blocks of a run.

    Raises:
        UserError: if its lives do not go from task to task together.
    """
    rows, config = source.train, source.config
    lives = config.num_envs or 1
    begin = rows["step"] - rows["length"].astype(np.int64) * lives  # all lives step together
    visit = _visits(rows)
    advice = "such a format needs endless lives that change task together, as with --schedule 'cyclic:20000 steps'"
    if int(rows["life"].max()) >= lives:
        length = f"of {config.life_episodes} episodes" if config.life_episodes else "that end"
        raise UserError(f"{source.folder} has lives {length}; {advice}")
    task, change = _changes(rows, visit, begin)
    if task is None:
        raise UserError(f"the lives of {source.folder} are at different tasks at the same time; {advice}")
    segment = (config.segment or 1) * lives
    steps = np.unique(source.evaluations["train_step"])
    at = _evaluations_at(change, steps, segment)
    cut = np.zeros(visit.size, np.int64)  # evaluations before each row
    for k, step in enumerate(steps):
        cut += visit > at[k] if k in at else begin >= step
    block, row = np.unique(np.stack([visit, cut], 1), axis=0, return_inverse=True)
    if (np.diff(block[:, 1]) < 0).any():
        raise UserError(f"the lives of {source.folder} change task at different times; {advice}")
    after = np.searchsorted(block[:, 1], np.arange(steps.size), side="right") - 1
    return Blocks(task[block[:, 0]], block[:, 0], row.reshape(-1), steps, after)


def _evaluations_at(change: Ints, steps: Ints, segment: int) -> dict[int, int]:
    """Return the evaluations that count as taken at a change of task, and the visit that ends there."""
    found = {}
    for visit, step in enumerate(change.tolist()):
        apart = np.abs(steps - step)
        if steps.size and apart.min() <= segment:
            found[int(apart.argmin())] = visit
    return found


def _visits(rows: Rows) -> Ints:
    """Return [rows] how many times the life of each row had changed task before it."""
    order = np.lexsort((rows["episode"], rows["life"]))
    life, task = rows["life"][order], rows["task"][order]
    same = life[1:] == life[:-1]
    changed = np.concatenate([[0], (same & (task[1:] != task[:-1])).astype(np.int64)])
    total = np.cumsum(changed)
    first = np.concatenate([[True], ~same])
    visit = np.empty(life.size, np.int64)
    visit[order] = total - total[first][np.cumsum(first) - 1]
    return visit


def _changes(rows: Rows, visit: Ints, begin: Ints) -> tuple[Ints | None, Ints]:
    """Return the task of each visit, None if lives differ in it, and the median step at which each but the first began.

    Lives differ, too, where some are later at a change than others by more than half of a visit.
    """
    task, change = [], []
    for number in range(int(visit.max()) + 1):
        mine = visit == number
        found = np.unique(rows["task"][mine])
        if found.size != 1:
            return None, np.zeros(0, np.int64)
        task.append(int(found[0]))
        lives, unit = np.unique(rows["life"][mine], return_inverse=True)
        began = np.full(lives.size, np.iinfo(np.int64).max)
        np.minimum.at(began, unit, begin[mine])
        change.append((int(np.median(began)), int(np.ptp(began))))
    middle, spread = np.array(change).T
    whole = np.diff(middle)
    if whole.size and (spread[1:] > 0.5 * np.maximum(whole, 1)).any():
        return None, middle[1:]
    return np.array(task), middle[1:]
