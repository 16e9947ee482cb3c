"""What the settings of a run lead to that is code of others, and whether a file may name it."""

from collections.abc import Iterator
from pathlib import Path

from lifelong.envs.foreign import foreign_environments
from lifelong.envs.stream_file import is_stream_file
from lifelong.experiments.runs.config import TrainConfig, options
from lifelong.experiments.runs.errors import UserError
from lifelong.memory.registry import foreign_memories
from lifelong.trust import Trust, refusal

__all__ = ["check_trusted", "foreign_names", "with_trust"]


def foreign_names(config: TrainConfig) -> frozenset[str]:
    """Return the names in a config that lead to code that is neither registered nor of an installed package.

    What a stream file names is not among them: it is checked where that is read.
    """
    return frozenset(name for _, name in _named(config))


def check_trusted(config: TrainConfig, file: Path | str, trust: Trust) -> None:
    """Validate that a file leads to no code of others, or is trusted.

    Args:
        config: that the file holds.
        file: for the error.
        trust: whether it is trusted, or names that are.

    Raises:
        UserError: if it does; names what, and the remedy.
    """
    if trust is True:
        return
    for kind, name in _named(config):
        if not trust or name not in trust:
            raise UserError(f"{file}: {refusal(kind, name)}")


def with_trust(config: TrainConfig) -> str:
    """Return the option with which a run goes on, where its `config.json` needs it, with a space before."""
    return " --trust" if config.trust or foreign_names(config) else ""


def _named(config: TrainConfig) -> Iterator[tuple[str, str]]:
    for name in foreign_memories(config.memory, options(config.memory_options)):
        yield "memory", name
    for name in foreign_memories(config.working_memory or "off", {}):
        yield "working memory", name
    stream = "" if is_stream_file(config.stream) else config.stream
    for name in foreign_environments(stream, options(config.stream_options), options(config.env_kwargs)):
        yield "environment", name
