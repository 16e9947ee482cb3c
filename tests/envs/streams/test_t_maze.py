import itertools
from typing import Any

import numpy as np
import pytest

from lifelong.envs.references.certificate import MEMORYLESS
from lifelong.envs.references.policies import play
from lifelong.envs.references.registry import reference_policies
from lifelong.envs.streams.grid_moves import EAST, NORTH, SOUTH, WEST
from lifelong.envs.streams.t_maze import TMaze, random_walk_return

VARIANTS: list[dict[str, Any]] = [
    {},
    {"variant": "active"},
    {"corridor": 1},
    {"corridor": 2, "variant": "active"},
    {"spare": 3},
]


def posed(right: int, **settings: Any) -> TMaze:
    """Return a stream whose only life begins in a maze with this right arm, -1 north or 1 south."""
    stream = TMaze(1, **settings)
    stream.reset()
    stream.right[:] = right
    return stream


def test_a_passive_maze_worked_out() -> None:
    stream = posed(1, corridor=2)
    seen, _ = stream.observe()
    assert (seen["observation"]["signal"], seen["observation"]["junction"]) == (2, 0)
    for step, (move, place) in enumerate(((EAST, [1, 0]), (EAST, [2, 0]))):
        seen, reward, terminated, _, _ = stream.step([move])
        assert (stream.place.tolist(), reward, terminated) == ([place], 0, False)
        assert (seen["observation"]["signal"], seen["observation"]["junction"]) == (0, step)
    _, reward, terminated, truncated, info = stream.step([SOUTH])
    assert (reward, terminated, truncated) == (1, True, False)
    rows = info["episodes"]
    assert (rows["return"], rows["success"], rows["answer"], rows["length"]) == (1, 1, 1, 3)


@pytest.mark.parametrize(
    ("moves", "rewards", "answer"),
    [
        ([EAST, EAST, NORTH], [0, 0, 0], 0),  # the wrong arm
        ([EAST, EAST, EAST], [0, 0, 0], -1),  # none
        ([EAST, NORTH, EAST], [0, -0.5, 0], -1),  # a wall: at the junction when time is over
        ([WEST, EAST, EAST], [-0.5, -0.5, 0], -1),  # behind by one step, twice
        ([SOUTH, SOUTH, SOUTH], [-0.5, -0.5, 0], -1),  # arms are at the junction only
    ],
)
def test_whoever_is_behind_pays_for_every_step(moves: list[int], rewards: list[float], answer: int) -> None:
    stream = posed(1, corridor=2)
    got = [stream.step([move]) for move in moves]
    assert [reward.item() for _, reward, *_ in got] == rewards
    rows = got[-1][4]["episodes"]
    assert (rows["success"], rows["answer"], rows["return"]) == (0, answer, sum(rewards))


def test_an_active_maze_worked_out() -> None:
    # Six cells and arms: west to the signal, and back; 2 + 3 + 1 steps, the first five of which may cost 1/5 each.
    stream = posed(-1, corridor=3, variant="active")
    assert stream.observe()[0]["observation"]["signal"] == 0
    seen, reward, *_ = stream.step([WEST])
    assert (seen["observation"]["signal"], reward, stream.place.tolist()) == (1, 0, [[0, 0]])
    for _ in range(4):
        seen, reward, terminated, _, _ = stream.step([EAST])
        assert (seen["observation"]["signal"], reward, terminated) == (0, 0, False)
    assert seen["observation"]["junction"] == 1
    _, reward, terminated, _, info = stream.step([NORTH])
    assert (reward, terminated, info["episodes"]["length"]) == (1, True, 6)
    stream = posed(-1, corridor=3, variant="active")
    rewards = [stream.step([move])[1].item() for move in (WEST, WEST, EAST, EAST, EAST, NORTH)]
    assert rewards == [0, -0.2, -0.2, -0.2, -0.2, 0]


def test_an_arm_ends_the_episode_early_too() -> None:
    stream = posed(-1, corridor=1, variant="active")  # of four steps the junction is one away
    stream.step([EAST])
    _, reward, terminated, _, info = stream.step([NORTH])
    assert (reward, terminated, info["episodes"]["length"], info["episodes"]["answer"]) == (1, True, 2, 0)


def test_steps_to_spare_may_be_lost() -> None:
    stream = posed(-1, corridor=2, spare=2)  # five steps at most, of which all but the last may cost 1/4
    rewards = [stream.step([move])[1].item() for move in (WEST, SOUTH, EAST, EAST, NORTH)]
    assert rewards == [0, 0, 0, 0, 1]
    stream = posed(-1, corridor=2, spare=2)
    rewards = [stream.step([move])[1].item() for move in (WEST, SOUTH, WEST, EAST, EAST)]
    assert rewards == [0, 0, -0.25, -0.25, 0]
    assert stream.episode_start.all()
    assert np.isnan(stream.tasks[0].references.random)


def test_random_walks_worked_out() -> None:
    # One step of corridor: behind, and so 1 poorer, unless it was to the east; then one arm of four moves.
    assert random_walk_return(1, 0) == pytest.approx(-3 / 4 + 1 / 16)
    # L steps: in time at step t with probability 1 / 4^t.
    assert random_walk_return(5, 0) == pytest.approx(-sum(1 - 4.0**-t for t in range(1, 6)) / 5 + 4.0**-6)
    assert random_walk_return(10**6, 0) == pytest.approx(-1 + 1 / 3e6)
    assert -1 <= random_walk_return(10**6, 1) < -1 + 1e-5


@pytest.mark.parametrize(("corridor", "variant"), [(2, "active"), (1, "active"), (3, "passive")])
def test_random_walks_are_the_mean_of_all_walks(corridor: int, variant: Any) -> None:
    steps = TMaze(1, corridor=corridor, variant=variant).episode_steps
    every = np.array(list(itertools.product(range(4), repeat=steps)))
    stream = TMaze(len(every), corridor=corridor, variant=variant)
    stream.reset()
    stream.right[:] = 1  # north would do as well
    gained, going_on = np.zeros(len(every)), np.ones(len(every), np.bool_)
    for moves in every.T:
        _, reward, terminated, *_ = stream.step(moves)
        gained += np.where(going_on, reward, 0.0)
        going_on &= ~terminated
    assert not going_on.any()
    assert gained.mean() == pytest.approx(random_walk_return(corridor, stream.away))


@pytest.mark.parametrize("settings", VARIANTS)
def test_references_are_what_their_policies_get(settings: dict[str, Any]) -> None:
    stream = TMaze(200, **{"corridor": 5, "life_episodes": 20} | settings)
    scores = {name: play(stream, make(), 20)["return"] for name, make in reference_policies(stream).items()}
    for name in ("within", "cross", "oracle"):
        assert (scores[name] == 1).all()
    assert scores[MEMORYLESS].mean() == pytest.approx(0.5, abs=0.03)  # 4,000 coins: 4 standard errors
    assert set(scores[MEMORYLESS].tolist()) == {0, 1}
    random = scores["random"]
    expected = stream.tasks[0].references.random
    assert np.isnan(expected) == (stream.spare > 0)
    if not stream.spare:
        assert random.mean() == pytest.approx(expected, abs=4 * float(random.std()) / random.size**0.5)


@pytest.mark.parametrize("variant", ["passive", "active"])
def test_actions_are_no_notes(variant: Any) -> None:
    """Of all walks those that see the signal and are paid differ in the last move only."""
    steps = TMaze(1, corridor=3, variant=variant).episode_steps
    every = np.array(list(itertools.product(range(4), repeat=steps)))
    stream = TMaze(len(every), corridor=3, variant=variant)
    stream.reset()
    stream.right[:] = -1
    saw, paid, going_on = np.zeros(len(every), np.bool_), np.zeros(len(every)), np.ones(len(every), np.bool_)
    for moves in every.T:
        saw |= (stream.observe()[0]["observation"]["signal"] > 0) & going_on
        _, reward, terminated, *_ = stream.step(moves)
        paid = np.where(going_on, reward, paid)
        going_on &= ~terminated
    way = [WEST, EAST] * stream.away + [EAST] * 3 + [NORTH]
    assert every[saw & (paid > 0)].tolist() == [way]


def test_corridors_may_be_long() -> None:
    stream = TMaze(3, corridor=10**6)
    stream.reset()
    place = stream.position() | {"place": np.tile([10**6 - 1, 0], (3, 1)), "episode_length": np.full(3, 10**6 - 1)}
    del place["observation_checksum"]  # of another place
    stream.resume(place)
    seen, reward, terminated, *_ = stream.step(np.full(3, EAST))
    assert seen["observation"]["junction"].all()
    assert not reward.any()
    assert not terminated.any()
    _, reward, terminated, _, info = stream.step(np.where(stream.right > 0, SOUTH, NORTH))
    assert reward.all()
    assert terminated.all()
    assert info["episodes"]["length"].tolist() == [10**6 + 1] * 3


def test_signals_are_drawn_evenly_and_distractors_anew() -> None:
    stream = TMaze(4000, corridor=2, distractors=2)
    seen, _ = stream.reset()
    assert (stream.right == 1).mean() == pytest.approx(0.5, abs=0.03)
    assert np.array_equal(seen["observation"]["signal"], np.where(stream.right > 0, 2, 1))
    right, later = stream.right.copy(), [stream.step(np.full(4000, EAST))[0] for _ in range(4)]
    drawn = [shown["observation"]["distractors"] for shown in (seen, *later)]
    numbers = np.concatenate(drawn, 1)
    assert numbers.mean(0) == pytest.approx([0.5] * 10, abs=0.02)
    assert np.abs(np.corrcoef(np.c_[numbers, right].T) - np.eye(11)).max() < 0.07


def test_policies_are_told_nothing_but_observations() -> None:
    stream = TMaze(8, corridor=1)
    for name, make in reference_policies(stream).items():
        if name != "oracle":
            policy = make()
            seen, info = stream.reset()
            policy.act(seen, info["life_start"])
            seen, *_, info = stream.step(np.full(8, EAST))
            stream.right *= -1
            again = make()
            again.act(stream.reset()[0], np.ones(8, np.bool_))
            assert np.array_equal(policy.act(seen, info["life_start"]), again.act(seen, info["life_start"]))


@pytest.mark.parametrize("wrong", [{"corridor": 0}, {"spare": -1}, {"variant": "idle"}, {"distractors": -1}])
def test_numbers_that_make_no_maze_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}.*{next(iter(wrong.values()))}"):
        TMaze(**wrong)
