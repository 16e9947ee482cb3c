"""Gate: checks everything that an environment hands over, before anything else of ours reads it.

| handed over | must be |
| --- | --- |
| `reset()` | a tuple (observation, info) |
| `step()` | a tuple (observation, reward, terminated, truncated, info) |
| observation | as its space, see `entries.py` |
| reward | a finite number that float32 holds: of Python, of numpy, or an array without axes |
| terminated, truncated | true or false, of Python or numpy; the integers 0 and 1 count as such |
| info | a dict; `success`, `is_success` and `lifelong_answer` of an episode's last step as `end_of_episode` says |
| `action_mask`, of `info` or an observation | as `legal_choices` says |
| `render()` of `rgb_array` | uint8 [height, width, 3] |
| `close()` | may do anything: what it raises is a warning, since nothing is lost by it |

All of it is checked in every step, but for the bounds of Boxes: those are checked at the first reset and the first step
of a task, where `gymnasium`'s own passive checker runs too; what that one says is a warning.
"""

import functools
import re
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium.utils.passive_env_checker import env_reset_passive_checker, env_step_passive_checker
from numpy.typing import NDArray

from lifelong.action_spaces import Masks
from lifelong.envs.checksum import checksum
from lifelong.envs.entries import ContractError, entry_check, number, refuse_outside, shown
from lifelong.readable import LARGEST

__all__ = ["Gate", "end_of_episode", "gate_of", "legal_choices"]

_LARGEST = float(LARGEST)  # of Python, which is compared faster
_RESET, _STEP = "(observation, info)", "(observation, reward, terminated, truncated, info)"
_ANSWERS = np.iinfo(np.int32)


class Gate(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Wrapper that checks what an environment hands over; spaces and values stay as they are.

    Args:
        env: as `gymnasium.make` returned it.
        observed: space of its observations, if it says more than the environment's own.
        first: whether its first reset and step are those of the task: bounds are checked, and the passive checker runs.

    Raises:
        ValueError: if its spaces are no spaces of gymnasium, or it is a vector environment or pays vectors.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], observed: gymnasium.Space[Any] | None = None, *, first: bool = True
    ) -> None:
        super().__init__(env)
        for what in ("observation_space", "action_space"):
            space = getattr(env, what, None)
            if not isinstance(space, gymnasium.Space):
                raise ValueError(f"{what} must be a space of gymnasium, got {shown(space)}")
        alone, paid = getattr(env.unwrapped, "num_envs", 1), getattr(env.unwrapped, "reward_space", None)
        if isinstance(alone, int) and alone > 1:
            raise ValueError(f"it must be a single environment, got num_envs={alone}; a stream makes copies itself")
        if isinstance(paid, gymnasium.Space) and paid.shape not in ((), (1,)):
            raise ValueError(f"rewards must be numbers, got {paid}; a wrapper may weigh them and return their sum")
        self._observed = env.observation_space if observed is None else observed
        self._check = entry_check(self._observed)
        self._new_reset = self._new_step = first
        self._env_step = env.step
        self.last_observation: Any = None
        """What the environment handed over last, as it did."""

    def checksum(self) -> int:
        """Return the checksum of what the environment handed over last."""
        return checksum(self.last_observation)

    def trust(self) -> None:
        """Take the first reset and step as seen: by the run that is resumed."""
        self._new_reset = self._new_step = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode.

        Raises:
            ContractError: if the environment raises, or hands over what it must not.
        """
        try:
            result: Any = self.env.reset(seed=seed, options=options)
        except BaseException as error:  # noqa: BLE001  whatever foreign code raises, SystemExit too
            _blame("reset()", error)
        if not isinstance(result, tuple) or len(result) != 2:
            raise ContractError("reset()", f"must return the pair {_RESET}, got {shown(result)}")
        obs, info = result
        self._check(obs)
        if not isinstance(info, dict):
            raise ContractError("info of reset()", f"must be a dict, got {shown(info)}")
        if self._new_reset:
            self._new_reset = False
            refuse_outside(self._observed, obs)
            self._warn(env_reset_passive_checker, "reset", result)
        self.last_observation = obs
        return obs, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the environment.

        Raises:
            ContractError: if the environment raises, or hands over what it must not.
        """
        try:
            result: Any = self._env_step(action)
        except BaseException as error:  # noqa: BLE001  whatever foreign code raises, SystemExit too
            _blame("step()", error)
        if not isinstance(result, tuple) or len(result) != 5:
            old = "; environments of gym return four, gymnasium's return five" if _length(result) == 4 else ""
            raise ContractError("step()", f"must return the tuple {_STEP}, got {shown(result)}{old}")
        obs, reward, terminated, truncated, info = result
        self._check(obs)
        if type(reward) is not float or not -_LARGEST <= reward <= _LARGEST:
            reward = _reward(reward)
        if type(terminated) is not bool:
            terminated = _flag("terminated", terminated)
        if type(truncated) is not bool:
            truncated = _flag("truncated", truncated)
        if not isinstance(info, dict):
            raise ContractError("info", f"must be a dict, got {shown(info)}")
        if self._new_step:
            self._new_step = False
            refuse_outside(self._observed, obs)
            self._warn(env_step_passive_checker, "step", result, action=action)
        self.last_observation = obs
        return obs, reward, terminated, truncated, info

    def render(self) -> Any:
        """Return what the environment draws.

        Raises:
            ContractError: if the environment raises, or its `rgb_array` is no picture.
        """
        try:
            picture: Any = self.env.render()
        except BaseException as error:  # noqa: BLE001  whatever foreign code raises, SystemExit too
            _blame("render()", error)
        if self.render_mode == "rgb_array":
            fits = isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim == 3
            if not fits or picture.shape[2] != 3:
                raise ContractError("render()", f"must return uint8 [height, width, 3], got {shown(picture)}")
        return picture

    def close(self) -> None:
        """Close the environment; what it raises is a warning."""
        try:
            super().close()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  whatever foreign code raises
            self._say(f"close() raised {type(error).__name__}: {error}", RuntimeWarning)

    def _warn(self, check: Callable[..., Any], method: str, result: Any, **given: Any) -> None:
        """Show what gymnasium's passive checker says of a result, without calling the method again."""

        @functools.wraps(getattr(self.env.unwrapped, method))  # the checker reads the signature
        def again(*_: Any, **__: Any) -> Any:
            return result

        env: Any = SimpleNamespace(observation_space=self.env.observation_space, **{method: again})
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                check(env, **given)
            except Exception as error:  # noqa: BLE001  of a check that is not among ours
                warnings.warn(str(error), UserWarning, stacklevel=1)
        for warning in said:
            self._say(re.sub(r"\x1b\[[0-9;]*m", "", str(warning.message)).removeprefix("WARN: "), UserWarning)

    def _say(self, text: str, category: type[Warning]) -> None:
        spec = self.env.unwrapped.spec
        name = type(self.env.unwrapped).__name__ if spec is None else spec.id
        warnings.warn(f"environment {name!r}: {text}", category, stacklevel=3)


def gate_of(env: Any) -> Gate:
    """Return the gate in an environment of a task."""
    while not isinstance(env, Gate):
        env = env.env
    return env


def end_of_episode(info: dict[str, Any], *, success: bool = True) -> tuple[float, int | None]:
    """Return what `info` of an episode's last step says: the success, and the answer or None.

    Args:
        info: `success`, or else `is_success`, is true, false, a number from 0 to 1, or None or NaN where nothing is
            known; `lifelong_answer` is an integer of 32 bits.
        success: whether it is asked for.

    Raises:
        ContractError: if one of them is something else.
    """
    said: float = np.nan
    name = "success" if "success" in info else "is_success"
    if success and info.get(name) is not None:
        value = number(info[name])
        if value is None or not (0 <= value <= 1 or value != value):
            raise ContractError(
                f"info[{name!r}]",
                f"must be true, false or a number from 0 to 1, got {shown(info[name])}; a task with success_return "
                "does not read it",
            )
        said = value
    if "lifelong_answer" not in info:
        return said, None
    value = number(info["lifelong_answer"])
    if value is None or value % 1 or not _ANSWERS.min <= value <= _ANSWERS.max:
        raise ContractError(
            "info['lifelong_answer']", f"must be an integer of 32 bits, got {shown(info['lifelong_answer'])}"
        )
    return said, int(value)


def legal_choices(masks: Masks, mask: Any) -> NDArray[np.bool_]:
    """Return what an `action_mask` says, all choices side by side.

    Args:
        masks: of the environment's actions.
        mask: of its `info`, or an entry of its observation; see `lifelong.action_spaces`.

    Raises:
        ContractError: if it is no mask of these actions.
    """
    try:
        return masks.read(mask)
    except (TypeError, ValueError) as error:
        raise ContractError("action_mask", str(error).removeprefix("action_mask ")) from error


def _blame(method: str, error: BaseException) -> NoReturn:
    if isinstance(error, KeyboardInterrupt):
        raise error
    raise ContractError(method, f"raised {type(error).__name__}: {error}") from error


def _length(result: Any) -> int:
    return len(result) if isinstance(result, tuple) else -1


def _reward(reward: Any) -> float:
    """Return a reward that is no float of Python, or refuse it."""
    if isinstance(reward, int | float) and -_LARGEST <= reward <= _LARGEST:  # those of numpy are floats too
        return float(reward)
    value = number(reward)
    if value is None:
        raise ContractError("reward", f"must be a number, got {shown(reward)}")
    if not np.isfinite(value):
        raise ContractError("reward", f"must be finite: {value}")
    if abs(value) > _LARGEST:
        raise ContractError("reward", f"must be at most {_LARGEST:.4g}, which float32 holds: {value}")
    return value


def _flag(name: str, flag: Any) -> bool:
    """Return a flag that is no bool of Python, or refuse it."""
    if type(flag) is not np.bool_:
        known = isinstance(flag, int | np.generic | np.ndarray) and not np.ma.is_masked(flag)
        array = np.asarray(flag) if known else np.array("none")
        if array.shape or array.dtype.kind not in "biu" or not 0 <= array <= 1:
            raise ContractError(name, f"must be true or false, or the integers 0 or 1, got {shown(flag)}")
    return bool(flag)
