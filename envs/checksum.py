"""Checksums of observations, by which a resumed stream notices that it is in another world.

A checksum covers every entry of an observation by its place, dtype, shape and bytes; two observations that are equal in
all of them have the same on every machine that stores numbers alike.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["checksum", "checksums", "spelled"]

_BYTES = 8


def checksum(obs: Any) -> int:
    """Return the checksum of an observation, a signed integer of 64 bits.

    Args:
        obs: arrays, numbers, texts, and dicts, tuples and lists of these; of anything else only its type counts.
    """
    digest = hashlib.blake2b(digest_size=_BYTES)
    _add(digest, "", obs)
    return int.from_bytes(digest.digest(), "little", signed=True)


def checksums(obs: Any, num_envs: int) -> NDArray[np.int64]:
    """Return [B] the checksums of a batch of observations.

    Args:
        obs: arrays [B, ...], and dicts of these.
        num_envs: B.
    """
    leaves = [(f"{path} {array.dtype.str} {array.shape[1:]}".encode(), array) for path, array in _arrays("", obs)]
    found = np.empty(num_envs, np.int64)
    for slot in range(num_envs):
        digest = hashlib.blake2b(digest_size=_BYTES)
        for described, array in leaves:
            digest.update(described)
            digest.update(array[slot].tobytes())
        found[slot] = int.from_bytes(digest.digest(), "little", signed=True)
    return found


def spelled(number: int) -> str:
    """Return a checksum for a message, 16 hexadecimal digits."""
    return f"{number % 2**64:016x}"


def _add(digest: Any, path: str, part: Any) -> None:
    """Add an entry of an observation, and its place."""
    if isinstance(part, dict):
        for key in sorted(part, key=str):
            _add(digest, f"{path}/{key}", part[key])
    elif isinstance(part, str):
        digest.update(f"{path} text {len(part)} ".encode() + part.encode("utf-8", "surrogatepass"))
    elif isinstance(part, tuple) or (isinstance(part, list) and not _is_numbers(part)):
        digest.update(f"{path} {len(part)}".encode())
        for i, inner in enumerate(part):
            _add(digest, f"{path}/{i}", inner)
    else:
        array = np.asarray(part) if _is_numbers(part) else None
        described = type(part).__name__ if array is None else f"{array.dtype.str} {array.shape}"
        digest.update(f"{path} {described}".encode())
        if array is not None:
            digest.update(array.tobytes())


def _is_numbers(part: Any) -> bool:
    """Return whether numpy reads something as an array of numbers."""
    try:
        return np.asarray(part).dtype.kind in "biuf"
    except Exception:  # noqa: BLE001  whatever foreign objects raise, and lists of several lengths
        return False


def _arrays(path: str, obs: Any) -> list[tuple[str, NDArray[Any]]]:
    """Return the arrays of a batch of observations, and their places."""
    if isinstance(obs, dict):
        return [leaf for key in sorted(obs, key=str) for leaf in _arrays(f"{path}/{key}", obs[key])]
    return [(path, np.asarray(obs))]
