"""Check what a vector environment hands over, before it is read as the steps of lives.

| handed over | must be |
| --- | --- |
| `reset()` | a tuple (observation, info) |
| `step()` | a tuple (observation, reward, terminated, truncated, info) |
| observation | finite numbers that float32 holds, [B, ...] of the single space's shape, in a dict of its keys or a tuple of its length; integers of its values where it is Discrete or MultiDiscrete; B strings where it is Text |
| reward | [B] finite numbers that float32 holds |
| terminated, truncated | [B] true or false, or the integers 0 and 1 |
| info | a dict |
"""  # noqa: E501  a table

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from lifelong.hashed_words import is_text
from lifelong.readable import LARGEST, brief, masked_fault

__all__ = ["check_observation", "check_pair", "check_reset", "check_step"]

AnyVectorEnv = VectorEnv[Any, Any, Any]


def check_pair(env: Any, result: Any) -> tuple[Any, dict[str, Any]]:
    """Return what `reset` returned, if it is a pair with a dict; the observation is not checked.

    Args:
        env: that returned it.
        result: what it returned.

    Raises:
        ValueError: if it is no pair, or its second value no dict; names the environment.
    """
    _check_tuple(env, "reset()", result, 2)
    obs, info = result
    if not isinstance(info, dict):
        raise _error(env, "info of reset()", f"must be a dict, got {type(info).__name__}")
    return obs, info


def check_reset(env: AnyVectorEnv, result: Any) -> tuple[Any, dict[str, Any]]:
    """Return what `reset` returned, checked.

    Args:
        env: that returned it.
        result: what it returned.

    Raises:
        ValueError: if it is not as in the table above; names the environment and the entry.
    """
    obs, info = check_pair(env, result)
    check_observation(env, obs)
    return obs, info


def check_step(
    env: AnyVectorEnv, result: Any
) -> tuple[Any, NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
    """Return what `step` returned, checked; flags as truth values.

    Args:
        env: that returned it.
        result: what it returned.

    Raises:
        ValueError: if it is not as in the table above; names the environment and the entry.
    """
    _check_tuple(env, "step()", result, 5)
    obs, reward, terminated, truncated, info = result
    check_observation(env, obs)
    rewards = _numbers(env, "reward", reward, ())
    bad = ~(np.abs(rewards) <= LARGEST)  # NaN too
    if bad.any():
        slot = int(bad.argmax())
        raise _error(env, "reward", f"must be finite and at most {LARGEST:.4g}, got {rewards[slot]} in slot {slot}")
    flags = []
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        array = _numbers(env, name, flag, ())
        if array.dtype.kind == "f" or ((array != 0) & (array != 1)).any():
            raise _error(env, name, f"must be true or false, got {array.dtype}: {array[:8]}")
        flags.append(array.astype(np.bool_))
    if not isinstance(info, dict):
        raise _error(env, "info", f"must be a dict, got {type(info).__name__}")
    return obs, rewards, flags[0], flags[1], info


def check_observation(
    env: AnyVectorEnv, obs: Any, space: spaces.Space[Any] | None = None, path: tuple[str, ...] = ()
) -> None:
    """Validate a batch of observations.

    Args:
        env: that returned them.
        obs: [B, ...], nested as the space is.
        space: of one observation; None is the environment's.
        path: where it is in the whole observation.

    Raises:
        ValueError: if they are not as in the table above; names the environment and the entry.
    """
    space = env.single_observation_space if space is None else space
    name = f"observation {'/'.join(path)!r}" if path else "observation"
    if isinstance(space, spaces.Dict):
        if not isinstance(obs, dict) or obs.keys() != space.spaces.keys():
            got = list(obs) if isinstance(obs, dict) else type(obs).__name__
            raise _error(env, name, f"must be a dict with the keys {list(space.spaces)}, got {got}")
        for key, inner in space.spaces.items():
            check_observation(env, obs[key], inner, (*path, str(key)))
        return
    if isinstance(space, spaces.Tuple):
        if not isinstance(obs, tuple) or len(obs) != len(space.spaces):
            got = f"{type(obs).__name__} of {np.size(obs)}"
            raise _error(env, name, f"must be a tuple of {len(space.spaces)} entries, got {got}")
        for number, (part, inner) in enumerate(zip(obs, space.spaces, strict=True)):
            check_observation(env, part, inner, (*path, str(number)))
        return
    if is_text(space):
        _check_texts(env, name, obs)
        return
    values = _numbers(env, name, obs, space.shape or ())
    if values.dtype.kind == "f" and not (finite := np.abs(values) <= LARGEST).all():  # NaN too
        wrong = values[~finite][0]
        raise _error(env, name, f"must be finite and at most {LARGEST:.4g}: {wrong}")
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        sizes = space.n if isinstance(space, spaces.Discrete) else space.nvec
        bad = (values < space.start) | (values >= space.start + sizes)
        if values.dtype.kind == "f" or bad.any():
            value = values.dtype if values.dtype.kind == "f" else values[bad][0]
            raise _error(env, name, f"must be of {brief(space)}, got {value}")


def _check_tuple(env: Any, method: str, result: Any, length: int) -> None:
    if not isinstance(result, tuple) or len(result) != length:
        got = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
        raise _error(env, method, f"must return a tuple of {length} values, got {got}")


def _check_texts(env: AnyVectorEnv, name: str, obs: Any) -> None:
    texts = obs.tolist() if isinstance(obs, np.ndarray) else obs
    if not isinstance(texts, tuple | list) or len(texts) != env.num_envs:
        got = f"{len(texts)}" if isinstance(texts, tuple | list) else type(texts).__name__
        raise _error(env, name, f"must be {env.num_envs} strings, got {got}")
    for slot, text in enumerate(texts):
        if not isinstance(text, str):
            raise _error(env, name, f"must be strings, got {type(text).__name__} in slot {slot}")


def _numbers(env: AnyVectorEnv, name: str, value: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return numbers [B, *shape] as an array."""
    if fault := masked_fault(value):
        raise _error(env, name, fault)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # lists of several lengths, tensors of a GPU
        raise _error(env, name, f"must be numbers that numpy reads: {error}") from error
    if array.dtype.kind not in "biuf":
        raise _error(env, name, f"must be numbers, got {array.dtype}")
    if array.shape != (env.num_envs, *shape):
        raise _error(env, name, f"must have the shape {[env.num_envs, *shape]}, got {list(array.shape)}")
    return array


def _error(env: Any, entry: str, fault: str) -> ValueError:
    inner = getattr(env, "unwrapped", env)
    spec = getattr(inner, "spec", None)
    return ValueError(f"environment {type(inner).__name__ if spec is None else spec.id}: {entry} {fault}")
