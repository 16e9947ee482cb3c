"""Read text as hashed words, without a vocabulary.

Text is split into words and punctuation marks. A word's bucket, one of 4,096, is given by two digits to base 64: an
embedding of digits has 130 rows for each word, and words of different buckets have different sums. 0 is no word:

    "go, left" in 4 words -> [d1(go), d2(go), d1(,), d2(,), d1(left), d2(left), 0, 0],  d = 1 ... 64

The hash is the same in every process and on every machine. Two different words share a bucket with a probability of
1 / 4,096.

Source: Weinberger et al. 2009, "Feature hashing for large scale multitask learning", arXiv 0902.2206; a row for each of
two parts of a number as in Shi et al. 2019, arXiv 1909.02107.
"""

import functools
import hashlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

__all__ = ["BASE", "BUCKETS", "LONGEST", "bucket", "hash_text", "hash_words", "is_hashed", "is_text", "without_text"]

BASE = 64
BUCKETS = BASE**2
LONGEST = 72
"""Most words that are read of a text; what follows is cut off."""

_WORDS = re.compile(r"\w+|[^\w\s]")


@functools.lru_cache(maxsize=1 << 16)
def bucket(word: str, buckets: int) -> int:
    """Return the bucket of a word, 0 to `buckets` - 1; the same in every process.

    Args:
        word: any text.
        buckets: how many there are.
    """
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little") % buckets


def hash_words(text: str, words: int) -> NDArray[np.int64]:
    """Return the digits of a text's first words, [2 words]; 0 after its end.

    Args:
        text: any.
        words: most words that are read.
    """
    found = [bucket(word, BUCKETS) for word in _WORDS.findall(text)[:words]]
    digits = np.zeros((words, 2), np.int64)
    digits[: len(found)] = [(1 + number // BASE, 1 + number % BASE) for number in found] or np.zeros((0, 2))
    return digits.reshape(-1)


def is_text(space: spaces.Space[Any]) -> bool:
    """Return whether the members of a space are strings: `spaces.Text` and its like."""
    return isinstance(space, spaces.Text) or (space.dtype is not None and space.dtype.kind == "U")


def is_hashed(space: spaces.Space[Any]) -> bool:
    """Return whether a space is that of hashed words."""
    if not isinstance(space, spaces.MultiDiscrete) or len(space.shape) != 1 or space.shape[0] % 2:
        return False
    return bool((space.nvec == BASE + 1).all())


def without_text(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """Return a space with its texts as hashed words: MultiDiscrete, two places for each word that may fit.

    Args:
        space: of observations; a Dict or Tuple is searched.
    """
    if isinstance(space, spaces.Dict):
        inner = {key: without_text(part) for key, part in space.spaces.items()}
        return spaces.Dict(inner) if any(inner[key] is not part for key, part in space.spaces.items()) else space
    if isinstance(space, spaces.Tuple):
        parts = [without_text(part) for part in space.spaces]
        return spaces.Tuple(parts) if any(a is not b for a, b in zip(parts, space.spaces, strict=True)) else space
    if not is_text(space):
        return space
    longest = space.max_length if isinstance(space, spaces.Text) else 2 * LONGEST
    return spaces.MultiDiscrete([BASE + 1] * (2 * min(LONGEST, max(1, longest))))


def hash_text(space: spaces.Space[Any], obs: Any) -> Any:
    """Return an observation, or a batch of B, with its texts as hashed words; all else stays as it is.

    Args:
        space: as `without_text` returns it.
        obs: of the space with texts; of a batch, a text is a sequence of B.
    """
    if isinstance(space, spaces.Dict):
        if not isinstance(obs, Mapping):
            return obs
        return {key: hash_text(space[key], part) if key in space.spaces else part for key, part in obs.items()}
    if isinstance(space, spaces.Tuple):
        if not isinstance(obs, tuple) or len(obs) != len(space.spaces):
            return obs
        return tuple(hash_text(inner, part) for inner, part in zip(space.spaces, obs, strict=True))
    if not is_hashed(space):
        return obs
    words = (space.shape or (0,))[0] // 2
    if isinstance(obs, str):
        return hash_words(obs, words)
    if isinstance(obs, tuple | list | np.ndarray) and len(obs) and isinstance(obs[0], str):
        return np.stack([hash_words(str(text), words) for text in obs])
    return obs
