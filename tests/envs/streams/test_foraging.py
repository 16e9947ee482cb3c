from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lifelong.envs.references.certificate import MEMORYLESS, load
from lifelong.envs.references.foraging import Forager
from lifelong.envs.references.policies import play
from lifelong.envs.references.registry import reference_policies
from lifelong.envs.streams.foraging import _MEASURED, Foraging
from lifelong.envs.streams.grid_moves import EAST, NORTH, SOUTH, WEST


def posed(**settings: Any) -> Foraging:
    """Return a stream whose only life is at (0, 0) of 6 x 6 cells; the good kind grows at (1, 0), the bad at (0, 5)."""
    stream = Foraging(1, **({"size": 6, "things": 1, "regrow": 3, "stretch": 100} | settings))
    stream.reset()
    stream.kinds[:] = 0
    stream.kinds[0, 0, 1], stream.kinds[0, 5, 0] = stream.paying()[0], 3 - stream.paying()[0]
    return stream


def test_what_was_eaten_grows_again_where_it_grew() -> None:
    stream = posed()
    good, bad = stream.paying()[0], 3 - stream.paying()[0]
    view = stream.observe()[0]["observation"]["view"][0]
    assert (view[2, 3], view[1, 2], np.count_nonzero(view)) == (good, bad, 2)  # east, and north over the edge
    rewards, ripe = [], []
    for move in (EAST, WEST, EAST, WEST, EAST, WEST, EAST):
        seen, reward, *_ = stream.step([move])
        rewards.append(reward.item())
        ripe.append(bool((seen["observation"]["view"] == good).any()))
    # Eaten in step 1, it is ripe again after three more: step 4 sees it, step 5 eats it.
    assert rewards == [1, 0, 0, 0, 1, 0, 0]
    assert ripe == [False, False, False, True, False, False, False]
    stream.step([WEST])
    assert stream.step([NORTH])[1] == -1
    assert stream.place.tolist() == [[0, 5]]


def test_nothing_is_reset_at_the_end_of_an_episode() -> None:
    stream = posed(stretch=2, life_episodes=2)
    stream.step([EAST])
    seen, _, terminated, truncated, info = stream.step([SOUTH])
    assert (terminated, truncated, info["episodes"]["length"], info["episodes"]["return"]) == (False, True, 2, 1)
    assert stream.place.tolist() == [[1, 1]]
    assert np.array_equal(info["final_obs"]["observation"]["view"], seen["observation"]["view"])
    assert stream.ripe_at[0, 0, 1] == 4
    stream.step([NORTH])
    stream.step([NORTH])
    assert stream.life.tolist() == [1]
    assert stream.place.tolist() == [[0, 0]]
    assert not stream.ripe_at.any()


def test_the_kind_that_pays_changes_with_the_season_only() -> None:
    stream = Foraging(400, stretch=1, season=3, life_episodes=None)
    stream.reset()
    paying = []
    for _ in range(12):
        paying.append(stream.paying())
        stream.step(np.full(400, EAST))
    changed = np.diff(paying, axis=0) != 0
    assert not changed[[0, 1, 3, 4, 6, 7, 9, 10]].any()
    assert changed[[2, 5, 8]].mean() == pytest.approx(0.5, abs=0.06)  # 1,200 coins: 4 standard errors


def test_references_are_what_their_policies_get() -> None:
    stream = Foraging(12)
    scores = {name: play(stream, make(), 64)["return"] for name, make in reference_policies(stream).items()}
    lives = {name: score.mean() for name, score in scores.items()}
    assert abs(lives["random"]) < 0.5  # 12 lives, whose means have the deviation .17
    assert lives[MEMORYLESS] < 2
    assert 2.5 < lives["within"] < lives["cross"] < lives["oracle"]
    assert lives["oracle"] == pytest.approx(_MEASURED, rel=0.25)
    stored = load("foraging")[0]
    assert not stored.control
    assert np.isnan(Foraging(1, things=7).tasks[0].references.oracle)


def test_a_forager_learns_from_what_it_ate(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = posed()
    monkeypatch.setattr(stream, "paying", lambda: np.array([2]))
    stream.kinds[:] = 0
    stream.kinds[0, 0, 1], stream.kinds[0, 3, 3] = 1, 2
    forager = Forager(stream)
    seen, info = stream.observe()
    rewards = []
    for _ in range(10):
        seen, reward, _, _, info = stream.step(forager.act(seen, info["life_start"]))
        rewards.append(reward.item())
        assert forager.pays == (1 if len(rewards) == 1 else 2)
    # What costs is next to it. Then it is five steps to the other thing, which is ripe again four steps later.
    assert rewards == [-1, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    forager.act(seen, info["life_start"])
    assert np.array_equal(forager.place, stream.place)
    assert forager.seen.all()


def test_things_are_laid_out_evenly_and_apart_from_the_kind_that_pays() -> None:
    stream = Foraging(3000, size=5, things=3)
    stream.reset()
    for kind in (1, 2):
        there = (stream.kinds == kind).reshape(3000, -1)
        assert (there.sum(1) == 3).all()
        assert there.mean(0) == pytest.approx([3 / 25] * 25, abs=0.025)
    assert np.corrcoef(stream.kinds[:, 0, 0] == 1, stream.paying())[0, 1] == pytest.approx(0, abs=0.075)


def test_policies_are_told_nothing_but_observations(assert_told_nothing: Callable[..., None]) -> None:
    stream = Foraging(8)

    def change() -> None:
        stream.kinds[:] = stream.kinds[:, ::-1]
        stream.place += 1

    assert_told_nothing(stream, EAST, change)


@pytest.mark.parametrize(
    "wrong", [{"size": 4}, {"things": 0}, {"things": 73}, {"regrow": 0}, {"stretch": 0}, {"season": 0}]
)
def test_numbers_that_make_no_world_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}.*{next(iter(wrong.values()))}"):
        Foraging(**wrong)
