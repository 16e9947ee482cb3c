"""Settings of `lifelong check`."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from lifelong.agents.carry import Carry
from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import UserError, check_fields
from lifelong.experiments.runs.names import check_memories, check_stream
from lifelong.experiments.runs.sizes import Layers, Lives, Seed, Width

__all__ = ["CheckConfig", "read"]


@dataclass(frozen=True)
class CheckConfig:
    """Check that a memory keeps its contract, and that learning recomputes the log-probabilities of acting.

    Args:
        memory: name of the memory (see `lifelong list`), or package.module:Class.
        env: stream, gym:<id>, or a stream file.
        carry: what ends the memory: only the life, a change of task, or every episode's end.
        memory_options: more settings of the memory.
        stream_options: more settings of the stream.
        env_kwargs: settings of the environment of gym:<id>, for `gymnasium.make`.
        width: width of the agent and its memory.
        layers: layers of the agent, each with a memory.
        num_envs: lives at the same time.
        segment: steps of each of the two segments.
        seed: random seed.
        device: where torch computes: cpu, cuda or cuda:<number>.
        trust: import the code that a stream file names: an environment that is neither registered nor of an installed
            package.
    """

    memory: str
    env: Annotated[str, tyro.conf.arg(metavar="STREAM")]
    carry: Carry = "lifetime"
    memory_options: tuple[str, ...] = ()
    stream_options: tuple[str, ...] = ()
    env_kwargs: tuple[str, ...] = ()
    width: Width = 64
    layers: Layers = 1
    num_envs: Lives = 4
    segment: int = 32
    seed: Seed = 0
    device: str = "cpu"
    trust: bool = False

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_fields(self)
        if not 2 <= self.segment <= 4096:
            raise UserError(f"segment must be 2 to 4096: segment={self.segment}")


def read(words: list[str]) -> CheckConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
    """
    config = parse(CheckConfig, words, "check")
    check_memories(config.memory)
    check_stream(config.env)
    return config
