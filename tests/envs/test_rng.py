import itertools
import math

import numpy as np
import pytest
from scipy import stats

from lifelong.envs import CuedRecall, GymStream, TaskStream
from lifelong.envs.rng import (
    _END,
    _HEIGHT,
    _TAIL,
    SEEDS,
    Purpose,
    bits,
    evaluation_seed,
    integers,
    normal,
    uniform,
)

USERS = (0, 1, 5, 2**31 - 1, 2**31, 2**31 + 5, 2**32, 2**62, SEEDS - 6, SEEDS - 1)  # seeds


def test_a_draw_depends_on_its_counters_alone() -> None:
    life, episode = np.arange(5), np.arange(7)
    table = bits(3, Purpose.EPISODE, life[:, None], episode)
    assert table.shape == (5, 7)
    assert all(table[i, j] == bits(3, Purpose.EPISODE, i, j) for i in life for j in episode)


def test_numbers_stay_the_same_between_versions() -> None:
    assert int(bits(0, Purpose.EPISODE, 0)) == int(bits(2**64, Purpose.EPISODE, 0))
    assert f"{int(bits(1, Purpose.RULE, 2, 3)):016x}" == "d0041a9dee9f104c"


def test_no_two_draws_meet() -> None:
    drawn = [bits(seed, purpose, np.arange(200)[:, None], np.arange(20)) for seed in range(3) for purpose in Purpose]
    drawn.append(bits(0, Purpose.RULE, np.arange(200)))
    assert np.unique(np.concatenate([part.ravel() for part in drawn])).size == sum(part.size for part in drawn)


@pytest.mark.parametrize(
    "counters", [(np.arange(40_000),), (7, np.arange(40_000)), (np.arange(200)[:, None], np.arange(200))]
)
def test_uniform_numbers_are_uniform(counters: tuple[np.ndarray, ...]) -> None:
    drawn = uniform(5, Purpose.CUE, *counters).ravel()
    assert 0 <= drawn.min() < drawn.max() < 1
    counts = np.histogram(drawn, bins=64, range=(0, 1))[0]
    expected = drawn.size / 64
    assert ((counts - expected) ** 2 / expected).sum() < 110  # chi-square, 63 degrees of freedom: p < 0.001
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.02


def test_normal_numbers_are_normal() -> None:
    drawn = normal(5, Purpose.CUE, np.arange(2_000_000))
    assert abs(drawn.mean()) < 0.003
    assert abs(drawn.var() - 1) < 0.004
    assert abs((drawn**4).mean() - 3) < 0.03
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.003
    # As many in 200 bins of the body and in the tails, from where the layers end, as the normal distribution has there.
    edges = np.concatenate([[-np.inf, -4.2, -_TAIL], stats.norm.ppf(np.arange(1, 200) / 200), [_TAIL, 4.2, np.inf]])
    expected = drawn.size * np.diff(stats.norm.cdf(edges))
    counts = np.histogram(drawn, edges)[0]
    assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_layers_have_equal_areas_and_end_at_the_top() -> None:
    areas = _END[1:-1] * np.diff(_HEIGHT[1:])
    lowest = _TAIL * _HEIGHT[1] + np.sqrt(2 * np.pi) * stats.norm.sf(_TAIL)
    np.testing.assert_allclose(areas, lowest, rtol=1e-9)
    np.testing.assert_allclose(_END[0] * _HEIGHT[1], lowest)


def test_normal_numbers_are_cut_from_layers() -> None:
    def cut(z: int) -> float:
        chances = (mix(z ^ counter) for counter in itertools.count())
        while True:
            drawn = next(chances)
            layer, x = drawn & 255, ((drawn >> 11) * 2.0**-52 - 1) * _END[drawn & 255]
            if abs(x) < _END[layer + 1]:
                return x
            if layer == 0:
                while True:
                    beyond, least = (-math.log1p(-(next(chances) >> 11) * 2.0**-53) for _ in range(2))
                    if 2 * least > (beyond / _TAIL) ** 2:
                        return math.copysign(_TAIL + beyond / _TAIL, x)
            share = (next(chances) >> 11) * 2.0**-53
            if _HEIGHT[layer] + (_HEIGHT[layer + 1] - _HEIGHT[layer]) * share < math.exp(-(x**2) / 2):
                return x

    drawn = normal(3, Purpose.CUE, np.arange(400_000))
    some = np.concatenate([np.arange(2_000), np.flatnonzero(np.abs(drawn) > _TAIL)])
    assert some.size > 2_050  # there are tails among them
    expected = [cut(int(z)) for z in bits(3, Purpose.CUE, some)]
    np.testing.assert_allclose(normal(3, Purpose.CUE, some), expected, rtol=1e-14)


def mix(z: int) -> int:
    z = (z + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_bits_are_mixed_as_the_recursion_says() -> None:
    for seed, life, episode in ((0, 0, 0), (5, 1, 2), (-3, 2**40, 7)):
        expected = mix(mix(mix(mix(seed % 2**64) ^ Purpose.LEVEL) ^ life) ^ episode)
        assert int(bits(seed, Purpose.LEVEL, life, episode)) == expected


def test_no_seed_of_training_is_one_of_evaluation() -> None:
    seeds = [*USERS, *map(evaluation_seed, USERS)]
    assert max(seeds) < 2**64
    for purpose in Purpose:
        assert len({int(bits(seed, purpose)) for seed in seeds}) == len(seeds)
    for wrong in (-1, SEEDS, evaluation_seed(0)):
        with pytest.raises(ValueError, match=f"seed must be 0 to {SEEDS - 1}: seed={wrong}"):
            evaluation_seed(wrong)


def test_no_life_of_training_is_one_of_evaluation() -> None:
    lives = []
    for seed in [*USERS, *map(evaluation_seed, USERS)]:
        seen, _ = CuedRecall(20, seed=seed).reset()
        lives.append(seen["observation"]["cue"])
    assert len(np.unique(np.concatenate(lives), axis=0)) == 2 * len(USERS) * 20


def test_no_environment_is_reset_as_in_training() -> None:
    """Seeds of episodes have 31 bits: two of 800 are equal by chance once in 6,700 times."""
    slots = np.arange(8)
    drawn = []
    for seed in [*USERS, *map(evaluation_seed, USERS)]:
        stream = GymStream("CartPole-v1", 8, seed=seed)
        stream.reset()
        for _ in range(5):
            drawn.append(stream.episode_seeds(slots))
            stream.end(slots)
            stream.renew(slots)
        stream.close()
    assert np.unique(np.concatenate(drawn)).size == 2 * len(USERS) * 8 * 5


def test_lives_of_evaluation_go_on_from_their_position() -> None:
    def lived(stream: TaskStream) -> np.ndarray:
        return np.stack([stream.step(np.zeros(3, np.int64))[0]["observation"]["cue"] for _ in range(5)])

    stream = CuedRecall(3, seed=evaluation_seed(7))
    stream.reset()
    lived(stream)
    other = CuedRecall(3)
    other.resume(stream.position())
    assert other.seed == evaluation_seed(7)
    assert np.array_equal(lived(other), lived(stream))


@pytest.mark.parametrize("wrong", [-1, 2**64])
def test_a_stream_has_64_bits_of_seed(wrong: int) -> None:
    with pytest.raises(ValueError, match=f"seed must be 0 to {2**64 - 1}: seed={wrong}"):
        CuedRecall(seed=wrong)
    with pytest.raises(ValueError, match=f"seed must be 0 to {2**64 - 1}: seed={wrong}"):
        CuedRecall().reset(seed=wrong)


def test_integers_fill_their_range_evenly() -> None:
    counts = np.bincount(integers(5, 1, Purpose.RULE, np.arange(20_000)), minlength=5)
    assert counts.size == 5
    assert np.abs(counts / 4000 - 1).max() < 0.06


def test_purposes_and_seeds_are_independent() -> None:
    count = np.arange(10_000)
    drawn = np.stack([uniform(seed, purpose, count) for seed in (0, 1) for purpose in Purpose])
    assert np.abs(np.corrcoef(drawn) - np.eye(len(drawn))).max() < 0.05
