"""Which episodes of a life wrote what the memory reads when a task is met again: exact shares, by lag.

    y_T = S_0 u_0 + sum_t c_t                                       the reading at an episode's last step
    share of a set of steps A = mean over heads of sum_{t in A} (c_t^T y_T) / (y_T^T y_T)

An episode's steps are its own and the one behind it, at which its last reward is observed. The shares of the task's
last episode, of its earlier ones, of other tasks', of the present episode and of the state before add up to 1; a share
below 0 is of writes that the others had to outweigh.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as RichTable

from lifelong.agents import Carry, Rollout
from lifelong.agents.actor_critic import ActorCritic
from lifelong.envs import TaskStream
from lifelong.experiments.metrics.rows import Rows, bin_label, lag_bins
from lifelong.experiments.runs.actions import Actions
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.evaluation import own_random
from lifelong.memory import Memory

__all__ = ["KINDS", "LOOKED_AT", "SOURCES", "AnswerSources", "find_sources", "show_sources"]

LOOKED_AT = 512
"""Steps of each life that are attributed: what is looked back over grows with their square."""
SOURCES = "-sources.json"
"""How the name of a measurement's file of shares ends."""

KINDS = ("last", "earlier", "others", "present", "before")
"""The task's last episode, its earlier ones, other tasks', the present one, and the state before the first step."""
_STEPS = 96  # at most so many steps of the lives are looked back from


@dataclass(frozen=True, slots=True)
class AnswerSources:
    """Mean shares in what is read at the last step of an episode, by bin of lag.

    Args:
        lags: labels of the bins.
        episodes: how many were looked at in each bin.
        shares: by `KINDS`, one number for each bin.
        chance: share of all earlier steps that the last episode has: where all writes counted alike.
        layer: number of the memory's layer.
    """

    lags: tuple[str, ...]
    episodes: tuple[int, ...]
    shares: dict[str, tuple[float, ...]]
    chance: tuple[float, ...]
    layer: int

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return asdict(self)

    def lines(self) -> Iterator[tuple[str, ...]]:
        """Yield a line of a table for each bin: lag, episodes, shares by `KINDS`, chance."""
        for number, lag in enumerate(self.lags):
            shares = (f"{self.shares[kind][number]:.3f}" for kind in KINDS)
            yield lag, f"{self.episodes[number]:,}", *shares, f"{self.chance[number]:.3f}"

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Return the shares that `to_json` returned.

        Raises:
            ValueError: if they are none.
        """
        try:
            shares = {kind: tuple(map(float, content["shares"][kind])) for kind in KINDS}
            lags, episodes = tuple(map(str, content["lags"])), tuple(map(int, content["episodes"]))
            found = cls(lags, episodes, shares, tuple(map(float, content["chance"])), int(content["layer"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no shares of answers: {error!r}") from error
        if {len(column) for column in (found.episodes, found.chance, *shares.values())} != {len(found.lags)}:
            raise ValueError("no shares of answers: columns of several lengths")
        return found


def find_sources(
    policy: ActorCritic, env: TaskStream, steps: int, *, carry: Carry, actions: Actions = "drawn", seed: int = 0
) -> AnswerSources:
    """Run a frozen policy in new lives, and attribute what it reads where it meets tasks again.

    Args:
        policy: to evaluate; not changed.
        env: where, of endless lives; it is reset.
        steps: T, environment steps of every life.
        carry: what ends the memory.
        actions: how it acts.
        seed: of the actions.

    Raises:
        UserError: if no layer's reading is a sum of writes, or no task was met again.
    """
    layers = [n for n, memory in enumerate(policy.backbone.memories) if getattr(memory, "sums_writes", False)]
    if not layers:
        names = ", ".join(dict.fromkeys(type(memory).__name__ for memory in policy.backbone.memories))
        raise UserError(f"what {names} reads is no sum of writes, so no episode's share can be told")
    memory = policy.backbone.memories[layers[-1]]
    assert isinstance(memory, Memory)  # noqa: S101  it sums writes
    with own_random(seed):
        segment = Rollout(policy, env, carry, cuda_graph="off", deterministic=actions == "greedy").collect(steps)
    given: list[Any] = []
    hook = memory.register_forward_pre_hook(lambda _, inputs: given.extend(inputs))
    with hook, torch.no_grad():
        policy.trunk(segment.steps["observation"], segment.state, segment.steps["start"])
    timeline = _Timeline(segment.episodes, env.num_envs, steps)
    found: list[tuple[int, dict[str, float], float]] = []
    for t, slots in timeline.asked():
        x, state, start = given
        shares = memory.attribution(x[:, : t + 1], state, start[:, : t + 1]).shares.numpy(force=True)
        for slot, row in slots:
            whose = timeline.whose(slot, row)
            of_kind = {kind: float(shares[slot, 1:][whose == n].sum()) for n, kind in enumerate(KINDS[:-1])}
            of_kind["before"] = float(shares[slot, 0])
            found.append((int(segment.episodes["lag_episodes"][row]), of_kind, np.count_nonzero(whose == 0) / (t + 1)))
    if not found:
        raise UserError(f"no task was met again in {steps} steps: more --steps, or a stream with fewer tasks")
    bins = lag_bins(np.array([lag for lag, _, _ in found]))
    present = sorted(set(bins.tolist()))
    inside = {number: [one for one, bin_ in zip(found, bins, strict=True) if bin_ == number] for number in present}
    return AnswerSources(
        tuple(bin_label(number) for number in present),
        tuple(len(inside[number]) for number in present),
        {
            kind: tuple(float(np.mean([of[kind] for _, of, _ in inside[number]])) for number in present)
            for kind in KINDS
        },
        tuple(float(np.mean([chance for _, _, chance in inside[number]])) for number in present),
        layers[-1],
    )


def show_sources(sources: AnswerSources, title: str, console: Console) -> None:
    """Print the shares as a table.

    Args:
        sources: to show.
        title: of the table.
        console: where.
    """
    table = RichTable("lag", "episodes", *KINDS, "by chance", title=title)
    for line in sources.lines():
        table.add_row(*line)
    console.print(table)


class _Timeline:
    """The steps of each episode of endless lives, one life in each slot, counted from 0."""

    def __init__(self, rows: Rows, num_envs: int, steps: int) -> None:
        self._rows, self._steps = rows, steps
        self._of: dict[int, NDArray[np.int64]] = {}
        """Rows of each slot, in order."""
        size = rows["life"].size if rows else 0
        self._first, self._last = np.zeros(size, np.int64), np.full(size, -1, np.int64)
        for slot in range(num_envs if size else 0):
            mine = np.flatnonzero(rows["life"] == slot)
            mine = mine[np.argsort(rows["episode"][mine])]
            ends = np.cumsum(rows["length"][mine])
            self._of[slot], self._first[mine], self._last[mine] = mine, ends - rows["length"][mine], ends - 1

    def asked(self) -> Iterator[tuple[int, list[tuple[int, int]]]]:
        """Yield steps at which episodes of known tasks end, with their slots and rows; at most so many, evenly."""
        at: dict[int, list[tuple[int, int]]] = {}
        for slot, mine in self._of.items():
            for row in mine[self._rows["lag_episodes"][mine] >= 1].tolist():
                at.setdefault(int(self._last[row]), []).append((slot, row))
        steps = sorted(at)
        places: list[int] = np.unique(np.linspace(0, len(steps) - 1, min(_STEPS, len(steps))).astype(int)).tolist()
        for place in places:
            yield steps[place], at[steps[place]]

    def whose(self, slot: int, row: int) -> NDArray[np.int64]:
        """Return [T'] the number in `KINDS` of each step up to the last of an episode."""
        task, episode = self._rows["task"], self._rows["episode"]
        whose = np.full(self._last[row] + 1, KINDS.index("others"))
        same = [other for other in self._of[slot] if task[other] == task[row] and episode[other] < episode[row]]
        for other in same:
            whose[self._first[other] : self._last[other] + 2] = KINDS.index("earlier")
        whose[self._first[row] :] = KINDS.index("present")
        last = same[-1]
        whose[self._first[last] : self._last[last] + 2] = KINDS.index("last")
        return whose
