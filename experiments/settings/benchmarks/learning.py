"""Settings of `lifelong bench learning`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lifelong.experiments.benchmarks.learning.others import OTHERS
from lifelong.experiments.benchmarks.learning.tasks import TASKS
from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.errors import UserError, as_user_error, check_fields, check_output
from lifelong.experiments.runs.sizes import Count
from lifelong.memory.registry import known_memories
from lifelong.registry import Entry, find, nearest

__all__ = ["BenchConfig", "read"]


@dataclass(frozen=True)
class BenchConfig:
    """Compare learning curves and final returns of our agents with other libraries'.

    Args:
        tasks: names of tasks (an unknown one is answered with all of them); none is all.
        agents: names of memories, `/episode` or `/task` behind one for another carry, and agents of other libraries:
            sb3-ppo and sb3-recurrent-ppo, with RL Zoo's settings, or with `/ours` behind them our preset's.
        seeds: such as 0..4 or 0,1,2.
        steps: environment steps of each training; if not given, the task's.
        processes: trials at a time.
        output: folder of the results, the tables and the figure.
        runs: folder of the runs of our agents, and of the logs of all trials.
        report_only: train nothing; write tables and figure from the results that are there.
    """

    tasks: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="TASK")] = ()
    agents: tuple[str, ...] = ("none", "gru", "gated_delta", "sb3-ppo", "sb3-recurrent-ppo")
    seeds: str = "0..4"
    steps: Count | None = None
    processes: Count = 2
    output: Path = Path("docs/results/learning")
    runs: Path = Path("runs/learning")
    report_only: bool = False

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_fields(self)
        check_output(self.output, folder=True)
        check_output(self.runs, folder=True)
        if not self.agents:
            raise UserError("agents must not be empty")
        for name in self.tasks:
            if name not in TASKS:
                raise UserError(f"no task {name!r}{nearest(name, TASKS)} known: {', '.join(TASKS)}")
        known = known_memories() | {name: Entry("", summary) for name, summary in OTHERS.items()}
        for agent in self.agents:
            memory = agent.partition("/")[0]
            if agent not in OTHERS and ":" not in memory:
                with as_user_error():
                    find("agent", memory, known, ", or package.module:Class")


def read(words: list[str]) -> BenchConfig:
    """Return the settings that words of the command line ask for.

    Raises:
        UserError: if a word is wrong.
    """
    return parse(BenchConfig, words, "bench learning")
