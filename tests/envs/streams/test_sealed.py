"""An episode of a sealed stream begins alike, whatever happened in the one before."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lifelong.envs import DarkRoom, Doors, MapChange, Reversal
from lifelong.envs.streams.sealed import SealedStream

MADE: dict[str, Callable[[], SealedStream]] = {
    "reversal": lambda: Reversal(4, contexts=2),
    "dark room": lambda: DarkRoom(4, size=3, max_steps=4, maps=1),
    "map change": lambda: MapChange(4, size=5, max_steps=4, nearest=1, maps=1),
    "doors": lambda: Doors(4, doors=2, colours=1),
}


def first_observations(stream: SealedStream, episodes: int, choose: Callable[[np.ndarray], Any]) -> list[Any]:
    """Return, of each episode of each life, its first observation; `choose` makes actions of the episode's number."""
    seen, info = stream.reset()
    firsts: dict[tuple[int, int], Any] = {}
    while stream.episode.min() < episodes:
        for slot in np.flatnonzero(info["episode_start"]):
            shown = {**seen, **seen["observation"]}
            del shown["observation"]
            firsts[slot, int(stream.episode[slot])] = {name: value[slot].tolist() for name, value in shown.items()}
        seen, *_, info = stream.step(choose(stream.life_step))
    return [firsts[slot, episode] for slot in range(stream.num_envs) for episode in range(episodes)]


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_first_observations_do_not_depend_on_what_was_done(make: Callable[[], SealedStream]) -> None:
    lazy = first_observations(make(), 6, lambda steps: np.zeros_like(steps))
    busy = first_observations(make(), 6, lambda steps: (steps * 7 + 1) % make().actions)
    assert lazy == busy
    assert all(first["over"] == [0.0] and first["previous_reward"] == [0.0] for first in lazy)


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_when_all_is_over_no_action_does_anything(make: Callable[[], SealedStream]) -> None:
    ends = []
    for last in (0, 1):
        stream = make()
        stream.reset()
        while not stream.over[0]:
            stream.step(np.zeros(4, np.int64))
        seen, reward, terminated, *_ = stream.step(np.full(4, last))
        assert terminated[0]
        assert reward[0] == 0
        ends.append({name: np.asarray(value[0]).tolist() for name, value in seen["observation"].items()})
    assert ends[0] == ends[1]
