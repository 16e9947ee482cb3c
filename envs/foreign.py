"""Environments of others in the settings of a stream: gymnasium imports the module of `module:id`."""

from collections.abc import Iterator, Mapping
from typing import Any

from lifelong.trust import foreign, is_foreign

__all__ = ["foreign_environments"]

_NO_CODE = ("schedule", "drifts", "drift_schedule")
"""Settings whose texts have colons and lead to no code of others."""


def foreign_environments(stream: str, options: Mapping[str, Any], env_kwargs: Mapping[str, Any]) -> Iterator[str]:
    """Yield what may be `module:id` of another package.

    Args:
        stream: name of a stream, not of a file.
        options: its settings; `tasks` are ids.
        env_kwargs: settings of its environments; those of some make another one.
    """
    if is_foreign(stream.removeprefix("gym:")):
        yield stream
    yield from foreign({name: value for name, value in options.items() if name not in _NO_CODE})
    yield from foreign(env_kwargs)
