"""An episode of a sealed stream begins alike, whatever happened in the one before."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lifelong.envs import (
    STREAMS,
    ColourRule,
    CuedRecall,
    DarkRoom,
    Doors,
    EarlyChoice,
    MapChange,
    Reversal,
    TaskStream,
    make_stream,
)
from lifelong.envs.extras import is_installed

MADE: dict[str, Callable[[], Any]] = {
    "reversal": lambda: Reversal(4, contexts=2),
    "dark room": lambda: DarkRoom(4, size=3, max_steps=4, maps=1),
    "map change": lambda: MapChange(4, size=5, max_steps=4, nearest=1, maps=1),
    "doors": lambda: Doors(4, doors=2, colours=1),
    "early choice": lambda: EarlyChoice(4, delay=3, rule="life"),
    "colour rule": lambda: ColourRule(4, max_steps=5),
    "cued recall, rewarded": lambda: CuedRecall(4, feedback="reward", cues=3),
    "cued recall, rewarded after blanks": lambda: CuedRecall(4, feedback="reward", cues=3, blanks=2),
}
REVEALED: dict[str, Callable[[], Any]] = {
    "cued recall": lambda: CuedRecall(4, cues=3),
    "cued recall, blanks": lambda: CuedRecall(4, cues=3, blanks=2),
}
every_sealed = pytest.mark.parametrize("make", (MADE | REVEALED).values(), ids=MADE | REVEALED)

OPEN = {
    **dict.fromkeys(
        ("cartpole-sign", "cartpole-length", "cartpole-physics", "pendulum-sign", "inverted-pendulum-gear",
         "reacher-sign"),
        "a control: what is hidden shows within an episode, so notes from the one before gain next to nothing",
    ),
    **dict.fromkeys(("cw10", "cw20"), "nothing is hidden but the task itself, and that shows within an episode"),
    **dict.fromkeys(
        ("t-maze", "endless-t-maze", "colour-cubes"),
        "what is hidden is shown, and asked, within an episode, and drawn anew for the next",
    ),
    "foraging": "the world goes on over its episodes, so where the agent is may be a note: it has no memory index",
    "rooms": "nothing is hidden: a task is known by its level, and levels are drawn anew for each episode",
}  # fmt: skip
"""Streams whose first observations show the last action and its reward -> why that is harmless; `gym:` ids and files
are others: nothing is known of what memory is worth there, so they have no memory index."""


def first_observations(stream: TaskStream, episodes: int, choose: Callable[[np.ndarray], Any]) -> list[Any]:
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


def begin_alike(make: Callable[[], Any], episodes: int) -> None:
    """Assert that first observations do not depend on what was done."""
    actions = int(make().single_action_space.n)
    lazy = first_observations(make(), episodes, lambda steps: np.zeros_like(steps))
    busy = first_observations(make(), episodes, lambda steps: (steps * 7 + 1) % actions)
    assert lazy == busy
    assert all(first["previous_action"] == actions and first["previous_reward"] == [0.0] for first in lazy)
    assert all(first.get("over", [0.0]) == [0.0] for first in lazy)


@every_sealed
def test_first_observations_do_not_depend_on_what_was_done(make: Callable[[], Any]) -> None:
    assert make().sealed
    begin_alike(make, 6)


@pytest.mark.parametrize("name", STREAMS)
def test_every_registered_stream_is_sealed_or_has_a_reason_not_to_be(name: str) -> None:
    if not is_installed(STREAMS[name].extra):
        pytest.skip(f"needs {STREAMS[name].extra}")
    stream = make_stream(name, 2)
    assert stream.sealed != (name in OPEN)
    if stream.sealed:
        begin_alike(lambda: make_stream(name, 2), 3)
    stream.close()


def test_the_streams_of_version_0_1_are_not_sealed() -> None:
    for feedback in ("reveal", "reward"):
        with pytest.raises(AssertionError):
            begin_alike(lambda feedback=feedback: CuedRecall(4, feedback=feedback, sealed=False), 3)


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_when_all_is_over_no_action_does_anything(make: Callable[[], Any]) -> None:
    ends = []
    for last in (0, 1):
        stream = make()
        seen, _ = stream.reset()
        while not seen["observation"]["over"][0]:
            seen, *_ = stream.step(np.zeros(4, np.int64))
        seen, reward, terminated, *_ = stream.step(np.full(4, last))
        assert terminated[0]
        assert reward[0] == 0
        ends.append({name: np.asarray(value[0]).tolist() for name, value in seen["observation"].items()})
    assert ends[0] == ends[1]
