from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, iterate

from lifelong.action_spaces import (
    Masks,
    as_actions,
    as_rows,
    from_zero,
    no_action,
    previous_action_space,
    previous_entry,
    spread_rows,
    validate_space,
)

SPACES: dict[str, spaces.Space[Any]] = {
    "discrete": spaces.Discrete(3, start=5),
    "multi-discrete": spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[0, 1], [-2, 7]]),
    "multi-binary": spaces.MultiBinary((2, 2)),
    "integers": spaces.Box(-1, 1, (3,), np.int64),
    "pixels": spaces.Box(0, 255, (2, 2), np.uint8),
    "floats": spaces.Box(np.array([0.5, -np.inf], np.float32), np.array([2, np.inf], np.float32)),
    "half floats": spaces.Box(-2, 3, (2,), np.float16),
    "booleans": spaces.Box(0, 1, (3,), np.bool_),
    "one float": spaces.Box(0, 1, (), np.float64),
    "tuple": spaces.Tuple([spaces.Discrete(2, start=-1), spaces.Box(-1, 1, (2,), np.float32)]),
    "dict": spaces.Dict(
        {
            "a/b": spaces.MultiBinary(2),
            "c": spaces.Dict(
                d=spaces.Tuple([spaces.MultiDiscrete([3, 2], start=[1, 1])]), e=spaces.Box(2, 9, (1,), int)
            ),
        }
    ),
}


def batch(space: spaces.Space[Any], rows: np.ndarray) -> list[Any]:
    parts = iterate(batch_space(space, len(rows)), as_actions(space, rows))
    return [np.asarray(part) if isinstance(space, spaces.Box) else part for part in parts]


def flat(tree: Any) -> list[np.ndarray]:
    if isinstance(tree, dict | tuple):
        return [leaf for part in (tree.values() if isinstance(tree, dict) else tree) for leaf in flat(part)]
    return [np.asarray(tree)]


@pytest.mark.parametrize("name", SPACES)
def test_rows_and_actions_are_the_same_in_other_words(name: str) -> None:
    own, space = SPACES[name], from_zero(SPACES[name])
    rows = spread_rows(own, np.random.default_rng(0).random((20, no_action(own).size)))
    assert rows.dtype == no_action(own).dtype
    assert all(own.contains(action) for action in batch(own, rows))
    assert own.contains(as_actions(own, rows[0]))
    given = as_actions(space, rows)
    assert batch_space(space, 20).contains(given)
    again = as_rows(space, given, 20)
    np.testing.assert_allclose(again, rows, rtol=1e-6, atol=1e-7)  # rows of a Dict or Tuple are of double precision
    for one, other in zip(flat(as_actions(own, rows)), flat(given), strict=True):
        assert not np.shares_memory(one, rows)
        assert one.shape == other.shape


@pytest.mark.parametrize("name", SPACES)
def test_the_previous_action_is_shown_in_its_space_and_none_yet_is_told_apart(name: str) -> None:
    space = from_zero(SPACES[name])
    shown = batch_space(previous_action_space(space), 6)
    rows = spread_rows(space, np.random.default_rng(0).random((6, no_action(space).size)))
    rows[0] = no_action(space)
    entry = previous_entry(space, rows)
    assert shown.contains(entry)
    if not any(isinstance(leaf, spaces.Box) for leaf in (space, *getattr(space, "spaces", ()))):
        assert not any(np.array_equal(rows[0], row) for row in rows[1:])
    for leaf in flat(entry):
        assert not np.shares_memory(leaf, rows)


def test_what_stands_for_no_action_was_never_chosen() -> None:
    assert no_action(SPACES["discrete"]) == 3
    assert no_action(SPACES["multi-discrete"]).tolist() == [[2, 3], [4, 5]]
    assert no_action(SPACES["multi-binary"]).tolist() == [[2, 2], [2, 2]]
    assert no_action(SPACES["floats"]).tolist() == [0.5, 0]
    assert no_action(SPACES["tuple"]).tolist() == [2, 0, 0]
    assert no_action(SPACES["dict"]).tolist() == [2, 2, 3, 2, 2]


@pytest.mark.parametrize(
    ("space", "actions", "message"),
    [
        (spaces.Discrete(3), [0, 3], "actions must be 0 to 2, got 0 to 3"),
        (spaces.MultiDiscrete([2, 3]), [[0, 0], [2, 0]], r"actions must be 0 to \[1 2\], got \[\[0, 0\], \[2, 0\]\]"),
        (spaces.MultiDiscrete([2, 3]), [[0, -1], [0, 0]], r"actions must be 0 to \[1 2\]"),
        (spaces.MultiDiscrete([2, 3]), [[0.0, 1.0], [0.0, 0.0]], "actions must be integers in MultiDiscrete.* float64"),
        (spaces.MultiBinary(2), [[0, 2], [0, 0]], "actions must be 0 to 1"),
        (spaces.Box(0, 5, (1,), np.int64), [[5.5], [0.0]], "actions must be integers in Box"),
        (spaces.Box(0, 5, (1,), np.int64), [[6], [0]], r"actions must be \[0\] to \[5\], got \[\[6\], \[0\]\]"),
        (spaces.Box(0, 5, (1,), np.float32), [[np.nan], [0]], "actions must be finite, got nan"),
        (spaces.Box(0, 5, (1,), np.float32), [0.0, 1.0], r"actions must be \[2, 1\], got \[2\]"),
        (spaces.Discrete(3), np.ma.array([0, 1], mask=[0, 1]), "actions must hold no masked values, got 1 of 2"),
        (spaces.Dict(a=spaces.Discrete(2)), {"a": np.ma.array([0, 1], mask=True)}, "entry 'a' must hold no masked"),
        (spaces.Dict(a=spaces.Discrete(2)), {"b": [0, 0]}, r"entries \['a'\] of Dict.*, got \['b'\]"),
        (
            spaces.Tuple([spaces.Dict(x=spaces.Discrete(2))]),
            ({"x": [0, 2]},),
            "actions of entry '0/x' must be 0 to 1, got 0 to 2",
        ),
    ],
)
def test_actions_that_are_none_are_refused_with_both_values(space: Any, actions: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_rows(space, actions, 2)


def test_masks_are_read_side_by_side_and_nested() -> None:
    multi = spaces.MultiDiscrete([2, 3])
    assert Masks(multi).size == 5
    for mask in (np.array([1, 0, 0, 1, 1], np.int8), ([1, 0], [0, 1, 1]), [True, False, False, True, True]):
        assert Masks(multi).read(mask).tolist() == [True, False, False, True, True]
    joint = spaces.Dict(a=spaces.Discrete(2), b=spaces.Box(0, 1, (4,)), c=spaces.Tuple([spaces.MultiBinary(1)]))
    assert Masks(joint).size == 4
    assert Masks(joint).read({"a": np.array([0, 1]), "b": None, "c": (None,)}).tolist() == [False, True, True, True]
    assert Masks(spaces.Box(0, 1, (2,))).size == 0


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([1, 1, 1], r"must have 5 numbers, .*MultiDiscrete\(\[2 3\]\).*, got \[3\] int64"),
        ([1, 1, 1, 1, 2], r"must hold 0 \(illegal\) and 1 \(legal\), got \[\[1, 1, 1, 1, 2\]\]"),
        ([1, 1, 0, 0, 0], r"must leave something to choose, but all is illegal: \[1, 1, 0, 0, 0\]"),
        (["x"] * 5, "must have 5 numbers"),
        (np.ma.array([1, 1, 1, 1, 0], mask=[0, 0, 0, 0, 1]), "must hold no masked values, got 1 of 5"),
        (([1, 1], np.ma.array([1, 1, 0], mask=[0, 1, 1])), "must hold no masked values, got 2 of 3"),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"action_mask {message}"):
        Masks(spaces.MultiDiscrete([2, 3])).read(mask)
    with pytest.raises(ValueError, match=r"must have the entries \['0'\], got \['0', '1'\]"):
        Masks(spaces.Tuple([spaces.Discrete(2)])).read(([1, 1], [1, 1]))


def test_an_unsupported_space_is_refused_with_entry_and_remedy() -> None:
    space = spaces.Dict(arm=spaces.Box(0, 1, (2,)), words=spaces.Tuple([spaces.Text(3)]))
    with pytest.raises(ValueError, match=r"Robot-v0: actions Text\(.*\) of entry 'words/0' are not .*TransformAction"):
        validate_space(space, "Robot-v0")
    for space, said in (
        (spaces.Discrete(10**10), r"Discrete\(10000000000\) have 10,000,000,000 choices, and at most 16,777,215"),
        (spaces.Tuple([spaces.MultiDiscrete([2, 1 << 24])]), "of entry '0' have 16,777,216 choices"),
        (spaces.Box(-1, 1, (2,), np.longdouble), "are of float128; float64 is the longest supported"),
    ):
        with pytest.raises(ValueError, match=f"Robot-v0: actions .*{said}"):
            validate_space(space, "Robot-v0")
    for fine in SPACES.values():
        validate_space(fine, "Robot-v0")
