"""Multi-query associative recall (MQAR): sequences of keys and values with queries.

| task | a sequence |
| --- | --- |
| once | all pairs, a key and then its value, then each key again, alone, at power-law gaps |
| rewrite | with probability 1/2 each: a key with a new value, or a written key alone |

A key that stands alone queries its last written value. A query differs from the first half of a pair only by the next
token, so the prediction is made at every key.

Tokens: 0 is nothing, then the keys, then the values. A target is the number of a value, or `NO_TARGET`.

Source: `once` is the task of Zoology, arXiv:2312.04927, with its power law of gaps (exponent 0.01); `rewrite` is ours.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["NO_TARGET", "Task", "draw_sequences", "shortest"]

Task = Literal["once", "rewrite"]
Tokens = NDArray[np.int64]

NO_TARGET = -1
GAP_EXPONENT = 0.01


def shortest(task: Task, pairs: int) -> int:
    """Return the least length of sequences of that many pairs."""
    return 3 * pairs if task == "once" else 3


def draw_sequences(
    task: Task, batch: int, length: int, pairs: int, keys: int, values: int, random: np.random.Generator
) -> tuple[Tokens, Tokens]:
    """Draw a batch of sequences with their targets.

    Args:
        task: see the module.
        batch: B, sequences.
        length: T, tokens.
        pairs: keys of a sequence, drawn anew for each.
        keys: of the vocabulary.
        values: of the vocabulary.
        random: random generator.

    Returns:
        tokens: [B, T], below 1 + keys + values.
        targets: [B, T], below values, or `NO_TARGET` where there is no query.

    Raises:
        ValueError: if there are fewer keys than pairs, or the length is too short for them.
    """
    if not 1 <= pairs <= keys:
        raise ValueError(f"pairs must be between 1 and keys={keys}: pairs={pairs}")
    if length < shortest(task, pairs):
        raise ValueError(f"length must be at least {shortest(task, pairs)} with pairs={pairs}: length={length}")
    mine = 1 + random.random((batch, keys)).argsort(1)[:, :pairs]  # [B, P] keys of each sequence
    draw = _once if task == "once" else _rewrite
    return draw(mine, length, keys, values, random)


def _once(mine: Tokens, length: int, keys: int, values: int, random: np.random.Generator) -> tuple[Tokens, Tokens]:
    B, P = mine.shape
    value = random.integers(values, size=(B, P))
    tokens, targets = np.zeros((B, length), np.int64), np.full((B, length), NO_TARGET)
    tokens[:, 0 : 2 * P : 2], tokens[:, 1 : 2 * P : 2] = mine, 1 + keys + value
    gaps = np.arange(1, length - 2 * P + 1) ** (GAP_EXPONENT - 1.0)
    # The P largest of independent log weights plus Gumbel noise are a draw of P places without replacement.
    places = np.argsort(-(np.log(gaps) + random.gumbel(size=(B, gaps.size))), 1)[:, :P] + 2 * P
    row = np.arange(B)[:, None]
    tokens[row, places], targets[row, places] = mine, value
    return tokens, targets


def _rewrite(mine: Tokens, length: int, keys: int, values: int, random: np.random.Generator) -> tuple[Tokens, Tokens]:
    B, P = mine.shape
    tokens, targets = np.zeros((B, length), np.int64), np.full((B, length), NO_TARGET)
    value = np.full((B, P), NO_TARGET)  # last written value of each key
    owed = np.full(B, NO_TARGET)  # the value that follows the key of a pair
    row = np.arange(B)
    ask, pick, new = (
        random.random((length, B)) < 0.5,
        random.random((length, B, P)),
        random.integers(values, size=(length, B)),
    )
    for t in range(length):
        written = value != NO_TARGET
        due, asks = owed != NO_TARGET, ask[t] & written.any(1)
        chosen = np.where(asks[:, None] & ~written, -1.0, pick[t]).argmax(1)
        tokens[:, t] = np.where(due, 1 + keys + owed, mine[row, chosen])
        targets[:, t] = np.where(due | ~asks, NO_TARGET, value[row, chosen])
        writes = ~due & ~asks
        value[row[writes], chosen[writes]] = new[t, writes]
        owed = np.where(writes, new[t], NO_TARGET)
    return tokens, targets
