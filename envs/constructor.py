"""What the constructor of a gymnasium environment takes, for the message about a setting that it does not take."""

import inspect
from collections.abc import Mapping
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator

from lifelong.registry import nearest

__all__ = ["settings_fault"]

_OF_MAKE = ("max_episode_steps", "render_mode")  # what `gymnasium.make` itself takes


def settings_fault(env_id: str, settings: Mapping[str, Any]) -> str:
    """Return what is wrong with the settings of an environment, and what it takes, as a sentence; or nothing.

    Args:
        env_id: as `gymnasium.make` takes it; of one that is not found there is nothing to say.
        settings: by name.
    """
    try:
        creator = gymnasium.spec(env_id).entry_point
        if creator is None:
            return "it is a vector environment only, and lives are single ones; a stream makes copies itself"
        parameters, passes_on = _parameters(load_env_creator(creator) if isinstance(creator, str) else creator)
    except Exception:  # noqa: BLE001  whatever foreign code raises while it is imported
        return ""
    taken = sorted({*parameters, *_OF_MAKE})
    unknown = [name for name in settings if name not in taken and not passes_on]
    if unknown:
        return f"it takes no setting {unknown[0]!r}{nearest(unknown[0], taken)} it takes {', '.join(taken)}"
    given = {**(gymnasium.spec(env_id).kwargs or {}), **settings}
    missing = [name for name, parameter in parameters.items() if parameter.default is _NONE and name not in given]
    if missing:
        return f"it needs {', '.join(missing)}: --env-kwargs {' '.join(f'{name}=...' for name in missing)}"
    return ""


_NONE = inspect.Parameter.empty
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _parameters(creator: Any) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return what a function or class takes by name, and whether it takes any other name too.

    Of a class that passes on the rest to its base, those of the base are among them; these need no value.
    """
    if not inspect.isclass(creator):
        given = list(inspect.signature(creator).parameters.values())
        return {parameter.name: parameter for parameter in given if parameter.kind in _NAMED}, _is_open(given)
    found: dict[str, inspect.Parameter] = {}
    for base in creator.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        given = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]  # without self
        own = {parameter.name: parameter for parameter in given if parameter.kind in _NAMED}
        found = ({name: parameter.replace(default=None) for name, parameter in own.items()} if found else own) | found
        if not _is_open(given):
            return found, False
    return found, True


def _is_open(parameters: list[inspect.Parameter]) -> bool:
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
