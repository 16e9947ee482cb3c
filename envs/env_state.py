"""States that environments offer: an episode of a million steps is brought back without a million steps.

An environment offers its state by two methods, which the outermost wrapper that has them answers for all below it:

    get_state() -> state      arrays, numbers, texts, bytes, None, and dicts, lists and tuples of these
    set_state(state)          after `reset`; the next step is then the one after `get_state`

Its generator `np_random` is kept beside the state. Of wrappers above it, those of the table have nothing to keep but
the number of steps; under any other no state is taken, and the episode is replayed from its beginning.

| wrapper | what it keeps |
| --- | --- |
| gymnasium's TimeLimit | steps of the episode |
| gymnasium's OrderEnforcing and PassiveEnvChecker; of task streams Gate, MaskInfo, TextWords, Adapted | nothing |
"""

import base64
import inspect
import json
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from lifelong.envs.entries import ContractError
from lifelong.envs.gate import Gate
from lifelong.envs.mask_info import MaskInfo
from lifelong.envs.text_words import TextWords
from lifelong.envs.unify_spaces import Adapted

__all__ = ["EVERY", "Elsewhere", "offers_state", "put_state", "take_state"]

EVERY = 1_000
"""Steps of an episode after which a state is taken again: no more are replayed."""

_PASSED = (TimeLimit, OrderEnforcing, PassiveEnvChecker, Gate, MaskInfo, TextWords, Adapted)
_SPELLED = (type(None), bool, int, float, str)
_KINDS = "biufcSU"


class Elsewhere(gymnasium.Env[Any, Any]):
    """An environment that lives elsewhere, where these functions are called instead."""

    def offers_state(self) -> bool:
        """See `offers_state`."""
        raise NotImplementedError

    def take_state(self) -> bytes:
        """See `take_state`."""
        raise NotImplementedError

    def put_state(self, state: bytes, steps: int) -> None:
        """See `put_state`."""
        raise NotImplementedError


def offers_state(env: gymnasium.Env[Any, Any]) -> bool:
    """Return whether the state of an environment, made by `gym_stream.make_task`, can be taken."""
    far = _elsewhere(env)
    return _holder(env) is not None if far is None else far.offers_state()


def take_state(env: gymnasium.Env[Any, Any]) -> bytes:
    """Return the state of an environment that offers it.

    Raises:
        TypeError: if it holds something else than the table of this module's head says.
    """
    if (far := _elsewhere(env)) is not None:
        return far.take_state()
    random: Any = env.unwrapped.np_random.bit_generator.state
    return json.dumps([_spelled(_offered(env).get_state()), _spelled(random)], separators=(",", ":")).encode()


def put_state(env: gymnasium.Env[Any, Any], state: bytes, steps: int) -> None:
    """Set the state of an environment that was just reset.

    Args:
        env: of the task it was taken from.
        state: as `take_state` returned it.
        steps: of the episode until then.

    Raises:
        ValueError: if these are no bytes of a state, or the environment offers none.
        ContractError: if the environment refuses it.
    """
    if (far := _elsewhere(env)) is not None:
        far.put_state(state, steps)
        return
    try:
        own, random = (_read(part) for part in json.loads(state))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"the state of an environment cannot be read: {error}") from error
    holder = _offered(env)
    try:
        holder.set_state(own)
        env.unwrapped.np_random.bit_generator.state = random
    except Exception as error:
        raise ContractError("set_state()", f"raised {type(error).__name__}: {error}") from error
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, TimeLimit):
            env._elapsed_steps = steps  # type: ignore[assignment]  # declared as None
        env = env.env


def _elsewhere(env: Any) -> Elsewhere | None:
    while isinstance(env, Adapted):
        env = env.env
    return env if isinstance(env, Elsewhere) else None


def _offered(env: gymnasium.Env[Any, Any]) -> Any:
    holder = _holder(env)
    if holder is None:
        raise ValueError("this environment offers no state: it has no get_state and set_state, or a wrapper over them")
    return holder


def _holder(env: Any) -> Any:
    """Return the environment or wrapper that answers for its state; None if there is none."""
    while not _has_both(type(env)):
        if type(env) not in _PASSED:
            return None
        env = env.env
    return env


def _has_both(kind: type) -> bool:
    """Return whether a class of environments has both methods, with no more arguments than they get here."""
    try:
        inspect.signature(kind.get_state).bind("self")  # type: ignore[attr-defined]
        inspect.signature(kind.set_state).bind("self", "state")  # type: ignore[attr-defined]
    except (AttributeError, TypeError, ValueError):
        return False
    return True


def _spelled(part: Any) -> Any:
    """Return a part of a state as JSON."""
    if isinstance(part, np.ndarray | np.generic):
        array = np.asarray(part)
        if array.dtype.kind not in _KINDS:
            raise TypeError(f"an array of {array.dtype} cannot be kept")
        kind = "array" if isinstance(part, np.ndarray) else "number"
        return {kind: [array.dtype.str, list(array.shape), base64.b64encode(array.tobytes()).decode()]}
    if isinstance(part, bytes | bytearray):
        return {"bytes": base64.b64encode(part).decode()}
    if isinstance(part, dict):
        return {"dict": [[_spelled(key), _spelled(value)] for key, value in part.items()]}
    if type(part) in (list, tuple):
        return {type(part).__name__: [_spelled(inner) for inner in part]}
    if type(part) not in _SPELLED:
        raise TypeError(f"a {type(part).__name__} cannot be kept")
    return part


def _read(part: Any) -> Any:
    """Return what `_spelled` wrote."""
    if not isinstance(part, dict):
        return part
    ((kind, content),) = part.items()
    if kind in ("array", "number"):
        name, shape, data = content
        dtype = np.dtype(name)
        if dtype.kind not in _KINDS:
            raise ValueError(f"an array of {dtype} is none of a state")
        array = np.frombuffer(base64.b64decode(data), dtype).reshape(shape).copy()
        return array if kind == "array" else array[()]
    if kind == "bytes":
        return base64.b64decode(content)
    if kind == "dict":
        return {_read(key): _read(value) for key, value in content}
    return {"list": list, "tuple": tuple}[kind](_read(inner) for inner in content)
