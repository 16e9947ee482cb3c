"""One trial: train one agent with one seed in one task, evaluate it, and write one JSON file. A process of its own.

python -P -m lifelong.experiments.benchmarks.learning.trial '{"task": "CartPole-v1", "agent": "gru", ...}'
"""

import json
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.agents.durable import writing
from lifelong.experiments.benchmarks.learning.evaluation import Trained, binned
from lifelong.experiments.benchmarks.learning.others import OTHERS
from lifelong.experiments.benchmarks.learning.ours import OurAgent, config_of
from lifelong.experiments.benchmarks.learning.stable_baselines import StableBaselinesAgent
from lifelong.experiments.benchmarks.learning.tasks import TASKS
from lifelong.experiments.runs.code_version import code_hash, git_hash, package_version

__all__ = ["Trial", "run"]

_PACKAGES = ("lifelong-rl", "torch", "gymnasium", "minigrid", "popgym", "mujoco", "stable-baselines3", "sb3-contrib")


@dataclass(frozen=True, slots=True)
class Trial:
    """What one process trains.

    Args:
        task: name in `TASKS`.
        agent: one of `OTHERS`, or `memory` or `memory/carry`.
        seed: of everything.
        steps: environment steps of training.
        output: folder of all results.
        runs: folder of the runs of our agents, and of the logs of all.
    """

    task: str
    agent: str
    seed: int
    steps: int
    output: str
    runs: str

    @property
    def name(self) -> str:
        """Name of its files."""
        agent = "".join(c if c.isalnum() or c in "-_." else "-" for c in self.agent)
        return f"{self.task}-{agent}-seed{self.seed}"

    @property
    def path(self) -> Path:
        """Its result."""
        return Path(self.output) / "trials" / f"{self.name}.json"

    @property
    def log(self) -> Path:
        """What its process wrote."""
        return Path(self.runs) / f"{self.name}.log"


def run(trial: Trial) -> None:
    """Train, evaluate, and write the result.

    Raises:
        KeyboardInterrupt: if it was interrupted; nothing is written then.
    """
    wall, processor = time.perf_counter(), time.process_time()
    trained = _train(trial)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    factor = TASKS[trial.task].reward_factor
    curve = binned(trained.ends, trained.returns / factor, trained.steps)
    result = {
        "task": trial.task,
        "agent": trial.agent,
        "seed": trial.seed,
        "asked_steps": trial.steps,
        "steps": trained.steps,
        "drawn": _rounded(trained.evaluate(greedy=False) / factor),
        "greedy": _rounded(trained.evaluate(greedy=True) / factor),
        "seconds": round(wall, 2),
        "cpu_seconds": round(processor, 2),
        "curve": curve._asdict(),
        "settings": trained.settings,
        "versions": {name: package_version(name) for name in _PACKAGES} | {"python": platform.python_version()},
        "git": git_hash(),
        "code": code_hash(),
    }
    text = "{\n" + ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in result.items()) + "\n}\n"
    with writing(trial.path):
        trial.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = trial.path.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(trial.path)


def _train(trial: Trial) -> Trained:
    task = TASKS[trial.task]
    if trial.agent in OTHERS:
        return StableBaselinesAgent(task, trial.agent, trial.steps, trial.seed)
    run = Path(trial.runs) / trial.name
    return OurAgent(config_of(task.env_id, trial.agent, trial.steps, trial.seed, run))


def _rounded(returns: NDArray[np.float64]) -> list[list[Any]]:
    """Return the returns [SLOTS, EPISODES] with six digits."""
    return [[float(f"{value:.6g}") for value in row] for row in returns.tolist()]


if __name__ == "__main__":
    run(Trial(**json.loads(sys.argv[1])))
