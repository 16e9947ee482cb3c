"""Cache of compiled loops on the disk: a full disk or a damaged file costs time, not the training.

numba raises whatever the system does when it keeps a compiled loop, and whatever the content does when it reads one.
The loop is compiled by then, or can be.
"""

import contextlib
import warnings
from typing import Any

__all__ = ["ForgivingCache"]


class ForgivingCache:
    """numba's cache of one loop: what cannot be read is compiled anew, what cannot be written is not kept.

    Args:
        cache: numba's own.
    """

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def load_overload(self, *args: Any) -> Any:
        """Return the compiled loop, or None if there is none that can be read."""
        try:
            return self._cache.load_overload(*args)
        except Exception as error:  # noqa: BLE001  of bytes that may be anything
            self._warn("read", error)
            with contextlib.suppress(Exception):
                self._cache.flush()  # an index that cannot be read cannot be added to
            return None

    def save_overload(self, *args: Any) -> None:
        """Keep a compiled loop, if that is possible."""
        try:
            self._cache.save_overload(*args)
        except Exception as error:  # noqa: BLE001  of the system, or of the bytes of an index
            self._warn("kept", error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def _warn(self, verb: str, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or " ".join(f"{type(error).__name__}: {error}".split())
        warnings.warn(
            f"compiled loops cannot be {verb} in {self._cache.cache_path}: {reason}; they are compiled anew",
            RuntimeWarning,
            stacklevel=2,
        )
