"""Base of streams whose first observations carry no information about the episode before.

A first observation usually shows the last action and its reward. That is a memory of one step that `carry=episode` does
not reset: such a policy could still repeat a rewarded action, or encode information in its last action. Here the first
observation of an episode shows neither (`TaskStream.sealed`), and an episode's outcome is observed in an extra last
step, whose action has no effect.

`ColourRule`, `CuedRecall` and `EndlessCues` are sealed without this class. In the other streams the first observation
shows the last action and its reward:

| stream | why that is harmless |
| --- | --- |
| negative controls | the hidden parameters show within an episode; memory of the previous one gains next to nothing |
| t-maze, endless-t-maze, colour-cubes | what is hidden is shown and asked within an episode, then drawn anew |
| foraging | nothing ends: the agent's place goes on over the episodes, and may be a note; no memory index |
| cw10, cw20 | nothing is hidden but the task, which shows within an episode; no memory index |
| rooms | nothing is hidden, every episode draws a new level; no memory index |
| gym:<id>, stream files | the value of memory is unknown; no memory index |

Entry of every sealed stream besides its own:

| entry | meaning |
| --- | --- |
| over | [1] 1 in the last step of an episode: its reward has just been given, the action has no effect |
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.stream import TaskStream
from lifelong.envs.task import Retention

__all__ = ["SealedStream"]

Ints = NDArray[np.int64]


class SealedStream(TaskStream):
    """Base of sealed streams; subclasses implement `_begin_lives`, `_begin_episodes`, `_try` and `_show`.

    `_begin_episodes` of a subclass calls this one's. `success` of a row is whether the episode had a reward, `answer`
    what `_try` wrote to `self.answer`.

    Args:
        num_envs: B, lives side by side.
        entries: spaces of the observation of one life, without `over`.
        actions: number of actions.
        **others: passed to `TaskStream`.
    """

    sealed = True
    kept: tuple[str, ...] = ()
    """Names of the arrays [B, ...] of a subclass's state; they belong to the position."""

    def __init__(self, num_envs: int, *, entries: dict[str, spaces.Space[Any]], actions: int, **others: Any) -> None:
        super().__init__(
            num_envs,
            observation_space=spaces.Dict({**entries, "over": spaces.Box(0.0, 1.0, (1,), np.float32)}),
            action_space=spaces.Discrete(actions),
            **others,
        )
        self.actions = actions
        self.over = np.zeros(num_envs, np.bool_)
        self.answer = np.full(num_envs, -1)

    @property
    def retention(self) -> Retention | None:
        """The memory index by lag: the rows know what the best policies with and without a memory get."""
        return "index"

    def _try(self, slots: Ints, actions: Ints) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Step these slots and return reward and whether the episode is over, [n] each."""
        raise NotImplementedError

    def _show(self) -> dict[str, NDArray[Any]]:
        """Return the batch of the tasks' observations, without `over`."""
        raise NotImplementedError

    def _begin_episodes(self, slots: Ints) -> None:
        self.over[slots], self.answer[slots] = False, -1

    def _step(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        ended, reward = self.over.copy(), np.zeros(self.num_envs)
        slots = np.flatnonzero(~ended)
        if slots.size:
            reward[slots], self.over[slots] = self._try(slots, actions[slots])
        return reward, ended, np.zeros(self.num_envs, np.bool_)

    def _observe(self) -> dict[str, NDArray[Any]]:
        return self._show() | {"over": self.over[:, None].astype(np.float32)}

    def _episode_info(self, slots: Ints) -> dict[str, Any]:
        return {"success": self.base_return[slots] > 0, "answer": self.answer[slots]}

    def position(self) -> dict[str, NDArray[Any]]:
        """Return the position of the stream, with the state of the unfinished episodes."""
        return super().position() | {name: getattr(self, name).copy() for name in self._all_kept()}

    def _restore(self, position: dict[str, NDArray[Any]]) -> None:
        for name in self._all_kept():  # what beginning anew has overwritten
            setattr(self, name, position[name].copy())

    def _all_kept(self) -> tuple[str, ...]:
        return ("over", "answer", *self.kept)
