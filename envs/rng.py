"""Counter-based random numbers: pure functions of a seed and a few counters.

So a life does not depend on the batch it runs in, and no generator state has to be saved to resume it.
The mixing function is SplitMix64's (Steele, Lea, Flood 2014, doi:10.1145/2660193.2660195), applied once per counter.
Normal numbers are cut from layers of equal area (the ziggurat of Marsaglia and Tsang 2000, doi:10.18637/jss.v005.i08,
with other bits for the layer than for the place in it: Doornik 2005); below the lowest layer lies the tail (Marsaglia
1964). That takes no logarithm in 99 of 100 cases.
"""

import math
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifelong.envs.jit import jit, ufunc
from lifelong.envs.seeds import SEEDS

__all__ = ["Purpose", "bits", "cycle", "evaluation_seed", "integers", "normal", "uniform"]

Seed = int | NDArray[Any]

_GOLDEN, _MASK = 0x9E3779B97F4A7C15, 2**64 - 1


class Purpose(IntEnum):
    """Purposes of random numbers: independent streams of one seed."""

    EPISODE = 1  # seed of an episode: layouts and everything an environment draws itself
    SCHEDULE = 2  # which task comes next
    RULE = 3  # hidden parameters: answers, rules, goals
    CUE = 4  # a cue's vector
    POLICY = 5  # choices of reference policies
    DRIFT = 6  # random numbers of drifts
    LEVEL = 7  # levels of natively drawn grids; the seed is the episode's
    LIFE_END = 8  # whether a life ends at an episode's end


def _mixed(z: int) -> int:
    z = (z + _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


@jit
def _mixing(z: Any, counter: Any) -> Any:
    z = (z ^ counter) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@ufunc
def _mix(z: Any, counter: Any) -> Any:
    return _mixing(z, counter)


def evaluation_seed(seed: int) -> int:
    """Return the seed of evaluation lives: the 63 bits of a user's seed, and the split bit.

    Mixing is a bijection of 64 bits, so no evaluation life is a training life of any seed.

    Args:
        seed: 0 to 2^63 - 1.

    Raises:
        ValueError: if it is none of these.
    """
    if not 0 <= seed < SEEDS:
        raise ValueError(f"seed must be 0 to {SEEDS - 1}: seed={seed}")
    return seed + SEEDS


def bits(seed: Seed, purpose: Purpose, *counters: ArrayLike) -> NDArray[np.uint64]:
    """Return 64 random bits for every entry of the broadcast counters.

    Args:
        seed: of the stream, 64 bits; or an array of seeds, which is broadcast too.
        purpose: of the number.
        *counters: non-negative integers or arrays of them, such as life, episode, index.
    """
    z: Any
    if isinstance(seed, np.ndarray):
        z = _mix(_mix(seed.astype(np.uint64), np.uint64(0)) ^ np.uint64(purpose), np.uint64(0))
    else:
        z = np.uint64(_mixed(_mixed(seed % 2**64) ^ int(purpose)))
    for counter in counters:
        z = _mix(z, np.asarray(counter).astype(np.uint64))
    drawn: NDArray[np.uint64] = z
    return drawn


def uniform(seed: Seed, purpose: Purpose, *counters: ArrayLike) -> NDArray[np.float64]:
    """Return numbers in [0, 1), 53 bits each; arguments as for `bits`."""
    drawn: NDArray[np.float64] = _unit(bits(seed, purpose, *counters))
    return drawn


def integers(high: int, seed: int, purpose: Purpose, *counters: ArrayLike) -> NDArray[np.int64]:
    """Return integers in [0, high); other arguments as for `bits`."""
    drawn: NDArray[Any] = uniform(seed, purpose, *counters) * high
    return drawn.astype(np.int64)


def normal(seed: Seed, purpose: Purpose, *counters: ArrayLike) -> NDArray[np.float64]:
    """Return standard normal numbers; arguments as for `bits`."""
    made: NDArray[np.float64] = _normal(bits(seed, purpose, *counters))
    return made


def _unit(drawn: Any) -> Any:
    return (drawn >> np.uint64(11)).astype(np.float64) * np.float64(2.0**-53)


def _layers(number: int, tail: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the edges [number + 1] of layers of equal area under exp(-x^2 / 2), and its heights there.

    The lowest one is as if it held its tail in a rectangle too; the others end where the next begins.

    Args:
        number: of layers.
        tail: where the tail begins, such that the uppermost layer ends at 0.
    """
    area = tail * math.exp(-(tail**2) / 2) + math.sqrt(math.pi / 2) * math.erfc(tail / math.sqrt(2))
    ends = [area / math.exp(-(tail**2) / 2), tail]
    while len(ends) < number:
        ends.append(math.sqrt(-2 * math.log(area / ends[-1] + math.exp(-(ends[-1] ** 2) / 2))))
    x = np.array([*ends, 0.0])
    return x, np.exp(-(x**2) / 2)


_TAIL = 3.6541528853610088  # of 256 layers; tests/envs/test_rng.py holds the sum of their heights against 1
_END, _HEIGHT = _layers(256, _TAIL)


@jit
def _chance(z: Any, counter: int) -> Any:
    return (_mixing(z, np.uint64(counter)) >> np.uint64(11)) * 2.0**-53


@ufunc
def _normal(z: Any) -> Any:
    counter = 0
    while True:
        drawn = _mixing(z, np.uint64(counter))
        layer = np.int64(drawn & np.uint64(255))
        place = (drawn >> np.uint64(11)) * 2.0**-52 - 1.0
        x = place * _END[layer]
        if abs(x) < _END[layer + 1]:
            return x  # under the curve, whatever the height
        while layer == 0:
            beyond = -math.log1p(-_chance(z, counter + 1)) / _TAIL
            counter += 2
            if -2.0 * math.log1p(-_chance(z, counter)) > beyond**2:
                return math.copysign(_TAIL + beyond, place)
        height = _HEIGHT[layer] + (_HEIGHT[layer + 1] - _HEIGHT[layer]) * _chance(z, counter + 1)
        if height < math.exp(-(x**2) / 2):
            return x
        counter += 2


def cycle(n: int, seed: int, purpose: Purpose) -> NDArray[np.int64]:
    """Return a random cyclic permutation of `n` items (no fixed points for n > 1)."""
    around = np.argsort(bits(seed, purpose, np.arange(n)), kind="stable")
    order = np.empty(n, np.int64)
    order[around] = np.roll(around, 1)
    return order
