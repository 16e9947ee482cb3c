import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, iterate

from lifelong.envs.flat import Flat

SPACE = spaces.Dict(
    {
        "b": spaces.Discrete(3, start=1),
        "a": spaces.Box(-2.0, 5.0, (2, 2), np.float32),
        "deep": spaces.Dict({"m": spaces.MultiDiscrete([[2, 3], [4, 1]]), "bits": spaces.MultiBinary(3)}),
        "bytes": spaces.Box(0, 255, (2,), np.uint8),
        "offset": spaces.MultiDiscrete([2, 3], start=[5, -1]),
    }
)


def test_a_batch_is_flattened_as_gymnasium_does_it_one_by_one() -> None:
    flat, batch = Flat(SPACE), batch_space(SPACE, 5)
    batch.seed(0)
    assert flat.space.shape == spaces.flatten_space(SPACE).shape
    np.testing.assert_array_equal(flat.space.low, spaces.flatten_space(SPACE).low.astype(np.float32))  # type: ignore[attr-defined]
    for _ in range(20):
        obs = batch.sample()
        got = flat(obs)
        want = np.stack([spaces.flatten(SPACE, one) for one in iterate(batch, obs)])
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, want.astype(np.float32))
        assert all(flat.space.contains(row) for row in got)


def test_numbers_by_hand() -> None:
    flat = Flat(spaces.Dict({"x": spaces.Box(0, 1, (1,), np.float32), "k": spaces.Discrete(3)}))
    np.testing.assert_array_equal(
        flat({"x": np.array([[0.5], [0.25]], np.float32), "k": np.array([2, 0])}), [[0, 0, 1, 0.5], [1, 0, 0, 0.25]]
    )


def test_bounds_that_float32_does_not_hold_are_infinite() -> None:
    flat = Flat(spaces.Box(-1e300, 1e300, (2,), np.float64))
    assert flat.space.low.tolist() == [-np.inf, -np.inf]
    assert flat(np.array([[1.0, 2.0]])).tolist() == [[1.0, 2.0]]


def test_too_many_categories_are_refused() -> None:
    with pytest.raises(ValueError, match=r"of number would have 10000000000 numbers, at most 1048576: Discrete"):
        Flat(spaces.Dict({"number": spaces.Discrete(10**10)}))


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match=r"observations of mission need a Box, .* MultiDiscrete or Dict: Text"):
        Flat(spaces.Dict({"mission": spaces.Text(5)}))
