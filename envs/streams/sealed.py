"""Base of streams whose first observations carry no information about the episode before.

A first observation usually shows the last action and what it paid. That is a memory of one step that nothing wipes: a
policy that forgets at every episode's end could still repeat what has just paid, or leave itself a note by its last
action. Here the first observation of an episode shows neither (`TaskStream.sealed`), and what an episode had to say is
said in a last step of its own, when all is over and no action does anything any more.

`ColourRule` and `CuedRecall` do the same without this class. The others show the last action and its reward at once:

| stream | why that is harmless |
| --- | --- |
| negative controls | what is hidden shows within an episode, notes of the one before gain next to nothing |
| cw10, cw20 | nothing is hidden but the task, and that shows within an episode; they have no memory index |
| rooms | nothing is hidden, levels are drawn anew for each episode; it has no memory index |
| gym:<id>, files | nothing is known of what memory is worth there; they have no memory index |

What every sealed stream shows besides its own entries:

| entry | meaning |
| --- | --- |
| over | [1] 1 in the last step of an episode: its reward has just been given, the action does nothing |
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lifelong.envs.stream import TaskStream

__all__ = ["SealedStream"]

Ints = NDArray[np.int64]


class SealedStream(TaskStream):
    """Lives of sealed episodes; subclasses implement `_begin_lives`, `_begin_episodes`, `_try` and `_show`.

    `_begin_episodes` of a subclass calls this one's. `success` of a row is whether the episode had a reward, `answer`
    what `_try` wrote to `self.answer`.

    Args:
        num_envs: B, lives side by side.
        entries: spaces of the observation of one life, without `over`.
        actions: how many there are.
        **others: passed to `TaskStream`.
    """

    sealed = True
    kept: tuple[str, ...] = ()
    """Names of the arrays [B, ...] that a subclass changes while it lives; they belong to the position."""

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

    def _try(self, slots: Ints, actions: Ints) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Do one step in these slots and return reward and whether all is over, [n] each."""
        raise NotImplementedError

    def _show(self) -> dict[str, NDArray[Any]]:
        """Return the batch of what the tasks show now, without `over`."""
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
        """Return all that tells where the stream is, the state of the unfinished episodes included."""
        return super().position() | {name: getattr(self, name).copy() for name in self._all_kept()}

    def _restore(self, position: dict[str, NDArray[Any]]) -> None:
        for name in self._all_kept():  # what beginning anew has overwritten
            setattr(self, name, position[name].copy())

    def _all_kept(self) -> tuple[str, ...]:
        return ("over", "answer", *self.kept)
