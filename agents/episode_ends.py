"""What `info` of a vector environment tells of the episodes that ended in a step, in its two forms.

| | task streams | gymnasium's own |
| --- | --- | --- |
| last observations | `final_obs`, a batch [B] | `final_obs`, [B] objects, None where no episode ended |
| rows | `episodes`, columns [n] | `final_info["row"]`, columns [B], with the mask `final_info["_row"]` |
"""

from typing import Any

import numpy as np
from gymnasium.vector.utils import concatenate, create_empty_array, iterate
from numpy.typing import NDArray

__all__ = ["episode_rows", "final_observation"]


def final_observation(env: Any, observation: Any, info: dict[str, Any]) -> Any:
    """Return the batch of observations before the reset; where no episode ended, the present ones.

    Args:
        env: vector environment.
        observation: [B] present ones.
        info: of the same step, in which episodes were truncated.

    Raises:
        ValueError: if `info` has none.
    """
    if "final_obs" not in info:
        raise ValueError(f"env must tell final_obs in info when an episode is truncated, got {sorted(info)}")
    final = info["final_obs"]
    if not isinstance(final, np.ndarray) or final.dtype != object:
        return final
    present = iterate(env.observation_space, observation)
    rows = [now if last is None else last for now, last in zip(present, final, strict=True)]
    batch: Any = create_empty_array(env.single_observation_space, env.num_envs)
    return concatenate(env.single_observation_space, rows, batch)


def episode_rows(info: dict[str, Any]) -> dict[str, NDArray[Any]] | None:
    """Return a task stream's rows of the episodes that ended, columns [n]; None if there are none."""
    if "episodes" in info:
        rows: dict[str, NDArray[Any]] = info["episodes"]
        return rows
    final = info.get("final_info", {})
    if "row" not in final:
        return None
    return {name: column[final["_row"]] for name, column in final["row"].items() if not name.startswith("_")}
