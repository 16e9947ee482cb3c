from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from tensordict import TensorDict

from lifelong.agents import Encoder
from lifelong.agents.encoder import as_tensors

SPACES: dict[str, spaces.Space[Any]] = {
    "bounded": spaces.Box(-2.0, 6.0, (3, 2), np.float32),
    "unbounded": spaces.Box(-np.inf, np.inf, (5,), np.float64),
    "half bounded": spaces.Box(np.array([0, -np.inf], np.float32), np.array([np.inf, 1], np.float32)),
    "scalar": spaces.Box(-1.0, 1.0, (), np.float32),
    "integers": spaces.Box(-5, 5, (4,), np.int64),
    "image": spaces.Box(0, 255, (20, 24, 3), np.uint8),
    "tiny image": spaces.Box(0, 255, (4, 4, 3), np.uint8),
    "discrete": spaces.Discrete(5),
    "discrete from -2": spaces.Discrete(5, start=-2),
    "grid": spaces.MultiDiscrete(np.tile([11, 6, 3], (7, 7, 1)), np.uint8),
    "multi-discrete from 1": spaces.MultiDiscrete([2, 3], start=[1, 1]),
    "bits": spaces.MultiBinary(6),
    "board of bits": spaces.MultiBinary([2, 3]),
    "dict": spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(3)}),
                         "c": spaces.MultiBinary(2), "d": spaces.Box(0, 1)}),
    "tuple": spaces.Tuple([spaces.Discrete(3), spaces.Tuple([spaces.Box(0, 1, (2,)), spaces.Discrete(2)])]),
}  # fmt: skip


def samples(space: spaces.Space[Any], batch: int, seed: int = 0) -> TensorDict:
    many = batch_space(space, batch)
    many.seed(seed)
    return as_tensors(many.sample(), (batch,))


@pytest.mark.parametrize("name", SPACES)
def test_every_space_becomes_one_vector_per_step_whatever_the_batch(name: str) -> None:
    encoder = Encoder(SPACES[name], 8)
    seen = samples(SPACES[name], 6)
    flat = encoder(seen)
    assert flat.shape == (6, 8)
    assert flat.dtype == torch.float32
    assert flat.isfinite().all()
    torch.testing.assert_close(encoder(seen.reshape(2, 3)), flat.reshape(2, 3, 8))
    torch.testing.assert_close(encoder(seen[:1]), flat[:1])


@pytest.mark.parametrize("name", SPACES)
def test_different_observations_look_different(name: str) -> None:
    torch.manual_seed(0)
    seen = samples(SPACES[name], 64)
    assert Encoder(SPACES[name], 8)(seen).std(0).min() > 1e-3


@pytest.mark.parametrize("name", ["discrete", "discrete from -2", "grid", "multi-discrete from 1"])
def test_every_category_has_an_entry_of_its_own(name: str) -> None:
    space = SPACES[name]
    sizes, first = np.array(getattr(space, "nvec", getattr(space, "n", None))), np.array(space.start)
    seen = np.stack([first + np.minimum(k, sizes - 1) for k in range(sizes.max())])
    read = Encoder(space, 8)(as_tensors(seen, (len(seen),)))
    assert torch.pdist(read).min() > 1e-3


def test_bounded_numbers_are_scaled_and_others_squashed() -> None:
    space = spaces.Box(np.array([-2, -np.inf], np.float32), np.array([6, np.inf], np.float32))
    reader = Encoder(space, 2).numbers
    torch.nn.init.eye_(reader.linear.weight)
    read = reader(as_tensors(np.array([[6.0, 0.0], [-2.0, np.e - 1], [2.0, 1 - np.e]]), (3,)))
    torch.testing.assert_close(read, torch.tensor([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]]))


def test_huge_numbers_stay_finite() -> None:
    space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    top = np.finfo(np.float32).max
    assert Encoder(space, 8)(as_tensors(np.array([[top, -top]], np.float32), (1,))).isfinite().all()


def test_entries_without_a_name_are_refused() -> None:
    with pytest.raises(ValueError, match="keys of observations must be strings, got 0"):
        Encoder(spaces.Dict({0: spaces.Discrete(2)}), 8)


def test_a_space_that_cannot_be_read_is_refused_by_name() -> None:
    space = spaces.Dict({"seen": spaces.Dict({"cards": spaces.Sequence(spaces.Discrete(9)), "x": spaces.Discrete(2)})})
    with pytest.raises(ValueError, match=r"'seen/cards' of space Sequence.*pad it to a Box or MultiDiscrete"):
        Encoder(space, 8)


def test_entries_act_on_each_other_from_the_first_step() -> None:
    torch.manual_seed(0)
    space = spaces.Dict({"action": spaces.Discrete(2), "reward": spaces.Box(-1, 1)})
    both = {"action": np.array([0, 0, 1, 1]), "reward": np.array([[-1], [1], [-1], [1]], np.float32)}
    a, b, c, d = Encoder(space, 16)(as_tensors(both, (4,)))
    assert (a - b - c + d).abs().max() > 0.1  # 0 if what an action adds did not depend on the reward


@pytest.mark.parametrize(("reader", "large", "small"), [("choices", "grid", "discrete"), ("numbers", "vector", "flag")])
def test_an_entry_does_not_drown_the_others(reader: str, large: str, small: str) -> None:
    torch.manual_seed(0)
    parts = SPACES | {"vector": spaces.Box(-1, 1, (40,)), "flag": spaces.MultiBinary(1)}
    space = spaces.Dict({"large": parts[large], "small": parts[small]})
    encoder, spread = Encoder(space, 64), {}
    for name, other in (("large", "small"), ("small", "large")):
        seen = samples(space, 256)
        seen[other] = seen[other][:1].expand_as(seen[other])  # only one entry varies
        spread[name] = getattr(encoder, reader)(seen).std(0).mean()
    assert 1 / 3 < spread["large"] / spread["small"] < 3


def test_float64_arrays_become_float32_and_pixels_stay_bytes() -> None:
    seen = as_tensors({"x": np.zeros((2, 3)), "pixels": np.zeros((2, 4, 4, 3), np.uint8)}, (2,))
    assert seen["x"].dtype == torch.float32
    assert seen["pixels"].dtype == torch.uint8
