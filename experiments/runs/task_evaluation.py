"""Evaluation during training: copies of the living agent on every task, for the performance matrix.

A copy has the weights, the memory and the life of the living agent as they are at that moment. Nothing it does reaches
the living one: it acts in a stream of its own (`lifelong.envs.fork`), with random numbers of its own.

| mode | what a copy's memory keeps |
| --- | --- |
| probe | nothing: every episode begins with the memory of the living agent |
| sandbox | what it writes in one episode is there in the next, and is thrown away at the end |
| empty | nothing, and every episode begins with an empty memory: what the slow weights know alone |
"""

from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from lifelong.agents import Rollout, join_rows
from lifelong.envs import TaskStream
from lifelong.envs.fork import fork
from lifelong.experiments.metrics.matrix import transfer_at_boundaries
from lifelong.experiments.metrics.rows import Rows
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.evaluation import own_random

__all__ = ["TaskEvaluation", "evaluate_tasks"]

_MOST_COPIES = 16  # of the lives side by side
_MOST_TASKS = 16  # for `auto`
_BUDGET = 0.05  # steps of evaluation for each step of training, at most, for `auto`
_START_BUDGET = 0.01  # of all steps of training, for the untrained agent, for `auto`
_LONGEST = 100_000  # steps of an episode beyond which an evaluation is given up
_CHUNK = 16  # steps between two looks at who has finished, at most


def evaluate_tasks(
    rollout: Rollout,
    position: dict[str, NDArray[Any]],
    copies: TaskStream,
    *,
    mode: Literal["probe", "sandbox", "empty"] = "probe",
    episodes: int = 1,
    seed: int = 0,
    most_steps: int | None = None,
) -> tuple[Rows, int]:
    """Evaluate copies of the living agent on every task and return the rows of their episodes.

    Args:
        rollout: of the living agent; left as it is. Copies act as it does, greedily if it is deterministic.
        position: of its stream.
        copies: a stream of its own, made as the living one, but for `num_envs`: of the first so many lives.
        mode: see the module.
        episodes: of each copy and task.
        seed: of the copies' actions.
        most_steps: environment steps of all copies together beyond which the evaluation is given up; None: no limit.

    Returns:
        Columns of `lifelong.envs.stream.ROW`, `episodes` rows for each copy and task, or none if it was given up, with
        the `step` of the living agent; and the environment steps taken.
    """
    slots, found, steps = np.arange(copies.num_envs), [], 0
    with own_random(seed):
        copy = Rollout(rollout.policy, copies, rollout.carry, cuda_graph="off", deterministic=rollout.deterministic)
        for task in range(len(copies.tasks)):
            for skip in range(1 if mode == "sandbox" else episodes):
                copy.observe(*fork(copies, position, slots, task, skip=skip))
                fresh = rollout.policy.backbone.initial_state(slots.size)
                copy.state = fresh if mode == "empty" else rollout.state[: slots.size].clone()
                first, wanted = copies.episode.copy(), episodes if mode == "sandbox" else 1
                place = {int(life): slot for slot, life in enumerate(copies.life)}
                acted = 0
                while (copies.episode - first).min() < wanted:
                    chunk = min(max(acted, 1), _CHUNK)
                    if most_steps is not None and steps + chunk * slots.size > most_steps:
                        return {}, steps
                    rows = copy.collect(chunk).episodes
                    acted, steps = acted + chunk, steps + chunk * slots.size
                    if rows:
                        begun = first[[place[life] for life in rows["life"].tolist()]]
                        kept = rows["episode"] < begun + wanted  # quick ones go on until the last has finished
                        found.append({name: column[kept] for name, column in rows.items()})
    rows = join_rows(found)
    return rows | {"step": np.full_like(rows["step"], rollout.steps)}, steps


class TaskEvaluation:
    """Decides when the tasks are evaluated, and keeps count of what that costs.

    Args:
        config: of the run, resolved.
        env: the living stream, reset.

    Raises:
        UserError: if an evaluation is asked for and lives of this stream cannot be copied.
    """

    def __init__(self, config: TrainConfig, env: TaskStream) -> None:
        self.config, self.env = config, env
        self.every, self.capped = config.evaluate_every, config.evaluate_every == "auto"
        self.refusal = ""
        """Why lives of this stream cannot be copied, where `auto` has found that out."""
        self.copies: TaskStream | None = None
        self.evaluated = self.steps = self.skipped = self.longest = 0
        self.task = -1
        self.learnt: dict[int, list[int]] = {}
        """Steps of training at which most lives were first, and last, in each task."""
        if self.capped:
            suited = env.retention == "gain" and config.endless and len(env.tasks) <= _MOST_TASKS
            self.every = "boundary" if suited else "off"
        if self.on:
            self._copy()

    def _copy(self) -> None:
        """Make the stream of the copies, and try it."""
        config = self.config
        try:
            if self.env.unforkable:
                raise ValueError(self.env.unforkable)
            with own_random(config.seed):
                self.copies = make_env(config, num_envs=min(self.env.num_envs, _MOST_COPIES))
                self.copies.reset()
                fork(self.copies, self.env.position(), np.arange(self.copies.num_envs), 0)
        except (ValueError, RuntimeError, OSError, gymnasium.error.Error) as error:
            refusal = " ".join(f"lives of stream {config.stream!r} cannot be copied: {error}".split())
            if not self.capped:
                raise UserError(f"evaluate_every={config.evaluate_every}: {refusal}") from error
            self.every, self.refusal = "off", refusal

    @property
    def on(self) -> bool:
        """Whether there is any evaluation."""
        return self.every != "off"

    def facts(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {
            "evaluated": self.evaluated, "evaluation_steps": self.steps, "evaluations_skipped": self.skipped,
            "evaluated_task": self.task, "longest_episode": self.longest,
            "learnt": {str(task): steps for task, steps in self.learnt.items()},
        }  # fmt: skip

    def restore(self, facts: dict[str, Any]) -> None:
        """Go on with what `facts` returned."""
        self.evaluated, self.steps = facts.get("evaluated", 0), facts.get("evaluation_steps", 0)
        self.skipped, self.longest = facts.get("evaluations_skipped", 0), facts.get("longest_episode", 0)
        self.task = facts.get("evaluated_task", -1)
        self.learnt = {int(task): list(steps) for task, steps in facts.get("learnt", {}).items()}

    def due(self, steps: int, episodes: Rows) -> bool:
        """Return whether the tasks are to be evaluated now; to be asked after every segment.

        Args:
            steps: environment steps of training so far.
            episodes: rows of the segment.
        """
        if not self.on:
            return False
        if episodes:
            self.longest = max(self.longest, int(episodes["length"].max()))
        task, before = int(np.bincount(self.env.task).argmax()), self.task
        self.task = task
        self.learnt.setdefault(task, [steps, steps])[1] = steps
        if self.every != "boundary":
            return steps - self.evaluated >= int(self.every)
        if before in (-1, task):
            return False
        affordable = self._affordable(steps, 1) and self._affordable(self.config.steps or 0, 2)  # one for the end
        self.skipped += not affordable
        return affordable

    def due_at_start(self) -> bool:
        """Return whether the untrained agent is to be evaluated, the baseline of forward transfer."""
        return self.every == "boundary"

    def due_at_end(self, steps: int) -> bool:
        """Return whether the tasks are to be evaluated when training is done.

        Args:
            steps: environment steps of training.
        """
        return self.on and self.evaluated != steps and self._affordable(steps, 1)

    def run(self, rollout: Rollout) -> Rows:
        """Evaluate every task and return the rows; none if it took too many steps."""
        assert self.copies is not None  # noqa: S101  it is on
        config = self.config
        most = _LONGEST * self.copies.num_envs * len(self.copies.tasks) * config.evaluate_episodes
        rows, steps = evaluate_tasks(
            rollout,
            self.env.position(),
            self.copies,
            mode=config.evaluate_mode,
            episodes=config.evaluate_episodes,
            seed=config.seed + rollout.steps,
            most_steps=self._left(rollout.steps) if self.capped else most,
        )
        self.evaluated, self.steps = rollout.steps, self.steps + steps
        return rows

    def transfer(self, steps: NDArray[np.int64], tasks: NDArray[np.int64], R: NDArray[np.float64]) -> dict[str, float]:
        """Return backward and forward transfer by TensorBoard tag, where tasks are evaluated at boundaries.

        A task counts from the block in which most lives were in it first, or last; NaN where there is none.

        Args:
            steps: [K] of training, of a performance matrix; its first may be 0, the untrained agent.
            tasks: [T] numbers.
            R: [K, T].
        """
        if self.every != "boundary":
            return {}
        found = transfer_at_boundaries(steps, tasks, R, self.learnt)
        return {f"transfer/{name}": value for name, value in found.items()}

    def cost(self, steps: int) -> str:
        """Return what the evaluations cost, in words; empty if there were none.

        Args:
            steps: environment steps of training.
        """
        if not self.steps:
            return ""
        skipped = f"; {self.skipped} left out, since 5 % are the most" if self.skipped else ""
        return f"{self.config.evaluate_mode}, {self.steps / max(steps, 1):.1%} of the steps{skipped}"

    def close(self) -> None:
        """Close the stream of the copies."""
        if self.copies is not None:
            self.copies.close()

    def _left(self, steps: int) -> int:
        """Return the steps that an evaluation may take, after so many of training."""
        whole = _BUDGET * steps if steps else _START_BUDGET * (self.config.steps or 0)
        return int(whole) - self.steps

    def _affordable(self, steps: int, evaluations: int) -> bool:
        """Return whether so many more evaluations cost at most their share of the steps, as far as is known."""
        if not self.capped:
            return True
        assert self.copies is not None  # noqa: S101  it is on
        each = self.copies.num_envs * len(self.copies.tasks) * self.config.evaluate_episodes
        return self.steps + evaluations * each * (self.longest + _CHUNK) <= _BUDGET * steps
