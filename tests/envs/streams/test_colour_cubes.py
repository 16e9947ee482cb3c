from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lifelong.envs.references.certificate import MEMORYLESS
from lifelong.envs.references.colour_cubes import RoundWalk
from lifelong.envs.references.policies import play
from lifelong.envs.references.registry import reference_policies
from lifelong.envs.streams.colour_cubes import _MEASURED, ColourCubes
from lifelong.envs.streams.grid_moves import EAST, MOVES, NORTH, SOUTH, WEST


def posed(**settings: Any) -> ColourCubes:
    """Return a stream whose only life stands in the north-western corner of 3 x 3 cells.

    The cube of colour 0 is two cells to the east, that of 1 in the south-eastern corner; 0 is asked for.
    """
    stream = ColourCubes(1, size=3, colours=2, **({"phases": 2, "teleport": 0.0} | settings))
    stream.reset()
    stream.cell[:], stream.cubes[:], stream.target[:] = 0, [2, 8], 0
    return stream


def test_two_phases_worked_out() -> None:
    stream = posed()
    first = stream.observe()[0]["observation"]
    assert (first["place"].tolist(), first["target"].item(), first["moved"].item()) == ([[0, 0]], 0, 2)
    assert (first["to"].tolist(), first["cubes"].tolist()) == ([[3, 3]], [[[2, 0], [2, 2]]])
    seen, reward, *_ = stream.step([EAST])
    assert (reward, seen["observation"]["place"].tolist(), seen["observation"]["moved"]) == (0, [[1, 0]], 2)
    assert seen["observation"]["cubes"].tolist() == [[[3, 3], [3, 3]]]
    seen, reward, terminated, _, _ = stream.step([EAST])
    assert (reward, terminated) == (0.5, False)
    told = seen["observation"]
    assert (told["target"], told["moved"]) == (1, 0), "the other colour is due, and the cube that was fetched jumped"
    jumped = stream.cubes[0, 0]
    assert told["to"].tolist() == [[jumped % 3, jumped // 3]]
    assert jumped not in (2, 8), "not to the agent's cell, nor to another cube's"
    stream.step([SOUTH])
    _, reward, terminated, _, info = stream.step([SOUTH])
    assert (reward, terminated) == (0.5, True)
    rows = info["episodes"]
    assert (rows["return"], rows["success"], rows["length"]) == (1, 1, 4)


def test_a_phase_ends_with_nothing_after_the_longest_way() -> None:
    stream = posed()
    targets = [stream.step([move])[0]["observation"]["target"].item() for move in (NORTH, WEST, WEST)]
    assert targets == [0, 0, 0]
    seen, reward, terminated, _, _ = stream.step([NORTH])
    assert (seen["observation"]["target"], seen["observation"]["moved"], reward, terminated) == (1, 2, 0, False)
    for move in (EAST, EAST, SOUTH):
        assert stream.step([move])[1] == 0  # on the cube that is no longer asked for, too
    _, reward, terminated, _, info = stream.step([SOUTH])
    assert (reward, terminated, info["episodes"]["success"]) == (0.5, True, 0)


def test_only_cubes_that_are_not_asked_for_jump_on_their_own() -> None:
    stream = ColourCubes(2000, size=4, teleport=0.3, life_episodes=None)
    stream.reset()
    jumps, steps, to = 0, 0, []
    for _ in range(4):
        before, target = stream.cubes.copy(), stream.target.copy()
        seen, reward, *_ = stream.step(np.full(2000, NORTH))
        moved, alone = seen["observation"]["moved"], reward == 0
        assert np.array_equal(moved[~alone], target[~alone])
        assert (moved[alone] != target[alone]).all()
        jumped = np.flatnonzero(moved < 3)
        assert ((stream.cubes != before).sum(1) == (moved < 3)).all()
        now = stream.cubes[jumped, moved[jumped]]
        assert np.array_equal(stream.places(now), seen["observation"]["to"][jumped])
        assert (now != stream.cell[jumped]).all()
        assert all(len(set(cubes)) == 3 for cubes in stream.cubes.tolist())
        jumps, steps, to = jumps + (moved[alone] < 3).sum(), steps + alone.sum(), [*to, *now]
    assert jumps / steps == pytest.approx(0.3, abs=0.025)
    assert np.bincount(to, minlength=16)[4:] / len(to) == pytest.approx([1 / 16] * 12, abs=0.04)


def test_references_are_what_their_policies_get() -> None:
    stream = ColourCubes(60, life_episodes=10)
    scores = {name: play(stream, make(), 10) for name, make in reference_policies(stream).items()}
    for name in ("within", "cross", "oracle"):
        assert (scores[name]["return"] == 1).all()
        assert (scores[name]["success"] == 1).all()
    assert scores["random"]["return"].mean() == pytest.approx(_MEASURED, abs=0.025)  # 600 episodes: 5 standard errors
    assert scores[MEMORYLESS]["return"].mean() == pytest.approx(2 / 7, abs=0.05)
    assert MEMORYLESS in scores
    assert scores[MEMORYLESS]["return"].mean() < scores["first look"]["return"].mean() < 0.5
    assert np.isnan(ColourCubes(1, size=5).tasks[0].references.random)


@pytest.mark.parametrize("size", [2, 5, 6])
def test_a_round_walk_comes_by_all_cells_before_it_returns(size: int) -> None:
    moves, place, met = RoundWalk(size).moves, np.array([0, 0]), []
    for _ in range(size * (size - size % 2)):
        met.append(tuple(place.tolist()))
        place = place + MOVES[moves[place[1], place[0]]]
    assert len(set(met)) == len(met)
    assert tuple(place.tolist()) == met[0]
    assert all(0 <= x < size and 0 <= y < size for x, y in met)
    assert (moves[size - size % 2 :] == NORTH).all()


def test_cells_and_colours_are_drawn_evenly_and_apart() -> None:
    stream = ColourCubes(6000, size=3, colours=2)
    stream.reset()
    drawn = np.c_[stream.cell, stream.cubes]
    for column in drawn.T:
        assert np.bincount(column, minlength=9) / 6000 == pytest.approx([1 / 9] * 9, abs=0.016)
    assert all(len(set(row)) == 3 for row in drawn.tolist())
    assert stream.target.mean() == pytest.approx(0.5, abs=0.026)
    assert np.abs(np.corrcoef(np.c_[stream.target, drawn].T)[0, 1:]).max() < 0.05


def test_policies_are_told_nothing_but_observations(assert_told_nothing: Callable[..., None]) -> None:
    stream = ColourCubes(8)

    def change() -> None:
        stream.cubes[:] = stream.cubes[:, ::-1]

    assert_told_nothing(stream, EAST, change)


@pytest.mark.parametrize("wrong", [{"size": 1}, {"colours": 1}, {"colours": 35}, {"phases": 0}, {"teleport": 1.5}])
def test_numbers_that_make_no_grid_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}.*{next(iter(wrong.values()))}"):
        ColourCubes(**wrong)
