"""What the constructor of a gymnasium environment takes, for the message about a setting that it does not take."""

import inspect
from collections.abc import Mapping
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator

from lifelong.registry import nearest

__all__ = ["refused_settings"]

_OF_MAKE = ("max_episode_steps", "render_mode")  # what `gymnasium.make` itself takes


def refused_settings(env_id: str, settings: Mapping[str, Any]) -> str:
    """Return which of the settings an environment does not take and what it takes, as a sentence; or nothing.

    Args:
        env_id: as `gymnasium.make` takes it; of an environment that cannot be made there is nothing to say.
        settings: by name.
    """
    try:
        creator = gymnasium.spec(env_id).entry_point
        taken = _parameters(load_env_creator(creator) if isinstance(creator, str) else creator)
    except Exception:  # noqa: BLE001  whatever foreign code raises while it is imported
        return ""
    known = sorted({*taken, *_OF_MAKE})
    unknown = [name for name in settings if name not in known]
    if not unknown:
        return ""
    return f"it takes no setting {unknown[0]!r}{nearest(unknown[0], known)} it takes {', '.join(known)}"


def _parameters(creator: Any) -> list[str]:
    """Return the names that a function or class takes; of a class that passes on the rest, those of its bases too."""
    if not inspect.isclass(creator):
        return [name for name, parameter in inspect.signature(creator).parameters.items() if _is_named(parameter)]
    found: list[str] = []
    for base in creator.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        parameters = list(inspect.signature(base.__init__).parameters.values())[1:]  # without self
        found += [parameter.name for parameter in parameters if _is_named(parameter)]
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def _is_named(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
