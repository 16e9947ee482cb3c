"""Lives that end by a hazard: geometric lengths, the same in every batch, gone on with exactly; and what is refused."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lifelong.envs import TaskStream, make_single, make_stream
from lifelong.envs.fork import fork


def recall(num_envs: int, hazard: float | None = 0.1, **options: Any) -> TaskStream:
    """Return a stream in which every step is an episode."""
    settings: dict[str, Any] = {"cues": 3, "size": 4, "life_episodes": None, "life_hazard": hazard, "seed": 6}
    return make_stream("cued-recall", num_envs, **(settings | options))


def lengths(stream: TaskStream, steps: int) -> dict[int, int]:
    """Return the episodes of every life that ended within so many steps, by the life's number."""
    _, info = stream.reset()
    ended: dict[int, int] = {}
    for _ in range(steps):
        before = stream.life.copy()
        rows = (info := stream.step(np.zeros(stream.num_envs, np.int64))[-1])["episodes"]
        for life in before[info["life_start"]].tolist():
            ended[life] = int(rows["episode"][rows["life"] == life][0]) + 1
    return ended


def test_lengths_of_lives_are_geometric() -> None:
    """The standard deviation of a length is sqrt(1 - h) / h; tolerances are four standard errors."""
    hazard, n = 0.1, 4000
    by_life = lengths(recall(256, hazard), 400)
    found = np.array([by_life[life] for life in range(n)])  # the first lives, long ones among them
    assert abs(found.mean() - 1 / hazard) < 4 * np.sqrt(1 - hazard) / hazard / np.sqrt(n)
    for episodes in (1, 2, 10, 20):
        share = (1 - hazard) ** episodes
        assert abs((found > episodes).mean() - share) < 4 * np.sqrt(share * (1 - share) / n)


def test_lengths_do_not_depend_on_the_batch() -> None:
    one, many = lengths(recall(2), 600), lengths(recall(32), 80)
    both = one.keys() & many.keys()
    assert len(both) > 50
    assert {life: one[life] for life in both} == {life: many[life] for life in both}
    other = lengths(recall(32, seed=7), 80)
    assert {life: many[life] for life in range(20)} != {life: other[life] for life in range(20)}


def test_slots_do_not_begin_anew_all_at_once() -> None:
    stream = recall(16)
    stream.reset()
    starts = np.stack([stream.step(np.zeros(16, np.int64))[-1]["life_start"] for _ in range(200)])
    assert starts.any(0).all()
    assert starts.sum(1).max() < 16
    assert not starts[:-1].all(1).any()


def test_a_hazard_of_one_is_a_life_of_one_episode() -> None:
    assert set(lengths(recall(4, 1.0), 30).values()) == {1}


def played(stream: TaskStream, steps: int) -> list[NDArray[Any]]:
    return [stream.step(np.zeros(stream.num_envs, np.int64))[-1]["life_start"] for _ in range(steps)]


def test_lives_that_are_resumed_end_as_they_would_have() -> None:
    whole, again = recall(5), recall(5)
    whole.reset()
    played(whole, 37)
    position = whole.position()
    again.resume(position)
    np.testing.assert_array_equal(played(whole, 100), played(again, 100))
    assert whole.lives > 20
    assert all(np.array_equal(value, again.position()[name]) for name, value in whole.position().items())


def test_copies_of_lives_do_not_end() -> None:
    stream, copies = recall(3), recall(3)
    stream.reset()
    played(stream, 20)
    copies.reset()
    fork(copies, stream.position(), np.arange(3), 0)
    played(copies, 1)  # the copied lives may have begun just now
    assert not np.any(played(copies, 200))


def test_any_stream_takes_a_hazard() -> None:
    assert make_stream("gym:CartPole-v1", life_hazard=0.02).life_hazard == 0.02
    assert make_single("cued-recall", life_episodes=None, life_hazard=0.5).stream.life_hazard == 0.5
    assert make_stream("gym:CartPole-v1").life_hazard is None


@pytest.mark.parametrize("hazard", [0.0, -0.1, 1.1, float("nan")])
def test_a_hazard_is_a_probability_above_zero(hazard: float) -> None:
    with pytest.raises(ValueError, match=r"life_hazard must lie above 0 and be at most 1: life_hazard="):
        recall(1, hazard)


def test_a_hazard_and_a_length_exclude_each_other() -> None:
    with pytest.raises(ValueError, match=r"exclude each other, both end lives: life_hazard=0.1, life_episodes=9"):
        recall(1, life_episodes=9)
