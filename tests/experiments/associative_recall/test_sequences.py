"""Associative-recall sequences: every query has a written key, and its target is the last value."""

import numpy as np
import pytest

from lifelong.experiments.associative_recall.sequences import NO_TARGET, draw_sequences, shortest

KEYS, VALUES = 20, 7


def answers(tokens):
    """Return the targets by a dictionary that is written at pairs and read at lone keys."""
    known, targets = {}, np.full(tokens.size, NO_TARGET)
    for t, token in enumerate(tokens):
        if 1 <= token <= KEYS:
            after = tokens[t + 1] if t + 1 < tokens.size else -1
            if after > KEYS:
                known[token] = after - 1 - KEYS
            else:
                targets[t] = known.get(token, NO_TARGET)
    return targets


@pytest.mark.parametrize("task", ["once", "rewrite"])
@pytest.mark.parametrize(("length", "pairs"), [(64, 6), (200, 20), (9, 1)])
def test_a_dictionary_answers_every_question(task, length, pairs):
    tokens, targets = draw_sequences(task, 16, length, pairs, KEYS, VALUES, np.random.default_rng(0))
    assert tokens.shape == targets.shape == (16, length)
    assert tokens.min() >= 0
    assert tokens.max() <= KEYS + VALUES
    for row, asked in zip(tokens, targets, strict=True):
        expected = answers(row)
        last_is_a_half_written_pair = task == "rewrite" and asked[-1] == NO_TARGET
        if last_is_a_half_written_pair:
            expected[-1] = NO_TARGET
        np.testing.assert_array_equal(asked, expected)
        assert np.unique(row[(row >= 1) & (row <= KEYS)]).size <= pairs


def test_once_asks_every_pair_once_after_all_pairs_and_mostly_soon():
    pairs, length = 5, 100
    tokens, targets = draw_sequences("once", 400, length, pairs, KEYS, VALUES, np.random.default_rng(0))
    assert ((targets != NO_TARGET).sum(1) == pairs).all()
    assert (targets[:, : 2 * pairs] == NO_TARGET).all()
    for row in tokens:
        keys = row[(row >= 1) & (row <= KEYS)]
        assert np.unique(keys, return_counts=True)[1].tolist() == [2] * pairs
    asked = np.flatnonzero((targets != NO_TARGET).any(0)) - 2 * pairs
    assert asked.max() > 70
    first, later = (targets[:, 2 * pairs] != NO_TARGET).mean(), (targets[:, 50] != NO_TARGET).mean()
    assert first > 5 * later  # 1 / gap, without replacement


def test_rewrite_asks_as_often_as_it_writes_and_rewrites():
    tokens, targets = draw_sequences("rewrite", 64, 600, 4, KEYS, VALUES, np.random.default_rng(0))
    written = (tokens > KEYS).sum()
    assert (targets != NO_TARGET).sum() / written == pytest.approx(1.0, abs=0.03)
    assert written > 64 * 4 * 10


def test_the_same_random_numbers_make_the_same_sequences():
    a, b = (draw_sequences("rewrite", 3, 30, 4, KEYS, VALUES, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("task", "length", "pairs", "message"),
    [
        ("once", 64, 21, "pairs must be between 1 and keys=20: pairs=21"),
        ("once", 14, 5, "length must be at least 15 with pairs=5: length=14"),
        ("rewrite", 2, 5, "length must be at least 3 with pairs=5: length=2"),
    ],
)
def test_impossible_sequences_are_refused(task, length, pairs, message):
    with pytest.raises(ValueError, match=message):
        draw_sequences(task, 1, length, pairs, KEYS, VALUES, np.random.default_rng(0))
    assert shortest(task, 5) == (15 if task == "once" else 3)
