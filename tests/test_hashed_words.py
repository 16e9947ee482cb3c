"""Texts as hashed words."""

import os
import subprocess
import sys

import numpy as np
from gymnasium import spaces

from lifelong.hashed_words import BASE, BUCKETS, LONGEST, bucket, hash_text, hash_words, is_hashed, without_text

UNICORN, DRAGON = 3249, 452  # of 4,096


def test_the_hash_is_the_same_in_every_process() -> None:
    assert (bucket("unicorn", BUCKETS), bucket("dragon", BUCKETS)) == (UNICORN, DRAGON)
    code = "from lifelong.hashed_words import bucket; print(bucket('unicorn', 4096))"
    for seed in "12":
        env = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONSAFEPATH": "1"}
        said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
        assert int(said) == UNICORN


def test_words_have_two_digits_each_and_0_stands_after_the_end() -> None:
    digits = hash_words("purple unicorn", 4).reshape(4, 2)
    assert digits[1].tolist() == [1 + UNICORN // 64, 1 + UNICORN % 64]
    assert (digits[:2] > 0).all()
    assert not digits[2:].any()
    assert hash_words("", 3).tolist() == [0] * 6
    assert (hash_words("a b", 2) != hash_words("b a", 2)).any()
    assert (hash_words("a,b", 3).reshape(3, 2) > 0).all()  # punctuation is a word
    assert hash_words("x " * 200, LONGEST).shape == (2 * LONGEST,)


def test_buckets_are_used_evenly() -> None:
    words = [f"word{n}" for n in range(8 * BUCKETS)]
    counts = np.bincount([bucket(word, BUCKETS) for word in words], minlength=BUCKETS)
    assert 7.5 < counts.var() < 8.5  # Poisson of mean 8
    assert {*hash_words(" ".join(words), len(words)).tolist()} == {*range(1, BASE + 1)}


def test_texts_anywhere_in_a_space_become_hashed_words() -> None:
    space = spaces.Dict(
        a=spaces.Text(5), b=spaces.Tuple([spaces.Discrete(2), spaces.Dict(c=spaces.Text(500))]), d=spaces.MultiBinary(3)
    )
    read = without_text(space)
    for seed in range(20):
        space.seed(seed)
        assert read.contains(hash_text(read, space.sample()))
    assert is_hashed(read["a"])  # type: ignore[index]
    assert read["a"].shape == (10,)  # type: ignore[index]
    assert without_text(spaces.Text(500)).shape == (2 * LONGEST,)
    numbers = spaces.Dict(z=spaces.Discrete(2), y=spaces.MultiDiscrete([65]))
    assert without_text(numbers) is numbers


def test_a_batch_of_texts_is_a_batch_of_hashed_words() -> None:
    read = without_text(spaces.Dict(a=spaces.Text(5)))
    for many in (("x y", "z"), ["x y", "z"], np.array(["x y", "z"])):
        seen = hash_text(read, {"a": many, "other": 1})
        assert np.array_equal(seen["a"], [hash_words("x y", 5), hash_words("z", 5)])
        assert seen["other"] == 1
