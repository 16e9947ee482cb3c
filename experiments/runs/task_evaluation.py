"""Evaluation during training: copies of the living agent on every task, for the performance matrix.

A copy has the weights, the memory and the life of the living agent as they are at that moment. Nothing it does reaches
the living one: it acts in a stream of its own (`lifelong.envs.fork`), with random numbers of its own.

| mode | what a copy's memory keeps |
| --- | --- |
| probe | nothing: every episode begins with the memory of the living agent |
| sandbox | what it writes in one episode is there in the next, and is thrown away at the end |
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lifelong.agents import Rollout, join_rows
from lifelong.envs import TaskStream
from lifelong.envs.fork import fork
from lifelong.experiments.metrics.rows import Rows
from lifelong.experiments.runs.build import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.evaluation import own_random

__all__ = ["TaskEvaluation", "evaluate_tasks"]

_MOST_COPIES = 16  # of the lives side by side
_MOST_TASKS = 16  # for `auto`
_BUDGET = 0.05  # steps of evaluation for each step of training, at most, for `auto`
_CHUNK = 16  # steps between two looks at who has finished


def evaluate_tasks(
    rollout: Rollout,
    position: dict[str, NDArray[Any]],
    copies: TaskStream,
    *,
    mode: Literal["probe", "sandbox"] = "probe",
    episodes: int = 1,
    seed: int = 0,
) -> tuple[Rows, int]:
    """Evaluate copies of the living agent on every task and return the rows of their episodes.

    Args:
        rollout: of the living agent; left as it is.
        position: of its stream.
        copies: a stream of its own, made as the living one, but for `num_envs`: of the first so many lives.
        mode: see the module.
        episodes: of each copy and task.
        seed: of the copies' actions.

    Returns:
        Columns of `lifelong.envs.stream.ROW`, `episodes` rows for each copy and task, and the environment steps taken.
    """
    slots, found, steps = np.arange(copies.num_envs), [], 0
    with own_random(seed):
        copy = Rollout(rollout.policy, copies, rollout.carry, cuda_graph="off")
        for task in range(len(copies.tasks)):
            for skip in range(episodes if mode == "probe" else 1):
                copy.observe(*fork(copies, position, slots, task, skip=skip))
                copy.state = rollout.state[: slots.size].clone()
                first, wanted = copies.episode.copy(), 1 if mode == "probe" else episodes
                place = {int(life): slot for slot, life in enumerate(copies.life)}
                while (copies.episode - first).min() < wanted:
                    rows = copy.collect(_CHUNK).episodes
                    steps += _CHUNK * slots.size
                    if rows:
                        begun = first[[place[life] for life in rows["life"].tolist()]]
                        kept = rows["episode"] < begun + wanted  # quick ones go on until the last has finished
                        found.append({name: column[kept] for name, column in rows.items()})
    return join_rows(found), steps


class TaskEvaluation:
    """Decides when the tasks are evaluated, and keeps count of what that costs.

    Args:
        config: of the run, resolved.
        env: the living stream.
        facts: what `facts` gave when the checkpoint was made, of a resumed run.
    """

    def __init__(self, config: TrainConfig, env: TaskStream, facts: dict[str, Any]) -> None:
        self.config, self.env = config, env
        self.every = config.evaluate_every
        if self.every == "auto":
            suited = env.retention == "gain" and not config.life_episodes and len(env.tasks) <= _MOST_TASKS
            self.every = "boundary" if suited else "off"
        self.capped = config.evaluate_every == "auto"
        self.copies: TaskStream | None = None
        self.evaluated: int = facts.get("evaluated", 0)
        self.steps: int = facts.get("evaluation_steps", 0)
        self.task: int = facts.get("evaluated_task", -1)

    @property
    def on(self) -> bool:
        """Whether there is any evaluation."""
        return self.every != "off"

    def facts(self) -> dict[str, int]:
        """Return what a resumed run needs."""
        return {"evaluated": self.evaluated, "evaluation_steps": self.steps, "evaluated_task": self.task}

    def due(self, steps: int) -> bool:
        """Return whether the tasks are to be evaluated now.

        Args:
            steps: environment steps of training so far.
        """
        if not self.on:
            return False
        if self.capped and self.steps > _BUDGET * steps:
            return False
        if self.every != "boundary":
            return steps - self.evaluated >= int(self.every)
        task, before = int(np.bincount(self.env.task).argmax()), self.task
        self.task = task
        return before not in (-1, task)

    def run(self, rollout: Rollout) -> Rows:
        """Evaluate every task and return the rows."""
        if self.copies is None:
            self.copies = make_env(self.config, num_envs=min(self.env.num_envs, _MOST_COPIES))
        rows, steps = evaluate_tasks(
            rollout,
            self.env.position(),
            self.copies,
            mode=self.config.evaluate_mode,
            episodes=self.config.evaluate_episodes,
            seed=self.config.seed + rollout.steps,
        )
        self.evaluated, self.steps = rollout.steps, self.steps + steps
        return rows

    def cost(self, steps: int) -> str:
        """Return what the evaluations cost, in words; empty if there were none."""
        return f"{self.config.evaluate_mode}, {self.steps / max(steps, 1):.1%} of the steps" if self.steps else ""

    def close(self) -> None:
        """Close the stream of the copies."""
        if self.copies is not None:
            self.copies.close()
