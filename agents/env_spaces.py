"""Observations of an environment itself, as the agent of a stream of it reads them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

__all__ = ["as_stream_shows"]


def as_stream_shows(space: spaces.Space[Any], obs: Any) -> Any:
    """Return an observation as a stream shows it: categories count from 0, entries of Tuples are named 0, 1, ...

    What is not of the space is left as it is.

    Args:
        space: of one observation of the environment.
        obs: one observation, or a batch.
    """
    if isinstance(space, spaces.Dict) and isinstance(obs, Mapping):
        entries = {key: as_stream_shows(space[key], part) if key in space.spaces else part for key, part in obs.items()}
        return {str(key): part for key, part in entries.items()}
    if isinstance(space, spaces.Tuple) and isinstance(obs, tuple) and len(obs) == len(space.spaces):
        return {str(i): as_stream_shows(inner, part) for i, (inner, part) in enumerate(zip(space, obs, strict=True))}
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete) and np.any(space.start):
        values = np.asarray(obs)
        return values.astype(np.int64) - space.start if values.dtype.kind in "iu" else obs
    return obs
