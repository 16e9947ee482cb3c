"""Settings of `lifelong cost`."""

from dataclasses import dataclass
from pathlib import Path

from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import check_fields, check_output
from lifelong.experiments.runs.names import check_memories
from lifelong.experiments.runs.sizes import Batch, Length, Lives, Repeats, Threads, Width

__all__ = ["CostConfig", "read"]


@dataclass(frozen=True)
class CostConfig:
    """Measure the cost of each memory: bytes of state, operations and bytes of a step, time to act and to train.

    Args:
        memories: names of memories (see `lifelong list`), or package.module:Class; none is all, or those of `recall`.
        width: width of the memories.
        lives: number of lives that act in parallel.
        batch: sequences that are trained on together.
        length: steps of a sequence.
        recall: outputs of `lifelong recall`, whose sizes are taken and whose recall is drawn; they need a task in
            common.
        repeats: rounds of the timing.
        threads: threads of torch.
        device: where to compute: cpu, cuda or cuda:<number>.
        output: directory to write cost.md and the pictures to; if not given, the first of `recall`.
        trust: import the code that outputs of `recall` name: memories that are neither registered nor of an installed
            package.
    """

    memories: tuple[str, ...] = ()
    width: Width = 64
    lives: Lives = 64
    batch: Batch = 16
    length: Length = 128
    recall: tuple[Path, ...] = ()
    repeats: Repeats = 5
    threads: Threads = 1
    device: str = "cpu"
    output: Path | None = None
    trust: bool = False

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_fields(self)
        check_output(self.output, folder=True)


def read(words: list[str]) -> CostConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
    """
    config = parse(CostConfig, words, "cost")
    check_memories(*config.memories)
    return config
