"""The memory of training carried on: copies of the living agent live on, frozen, and are compared with new lives."""

import math
from dataclasses import dataclass

import numpy as np

from lifelong.agents import Rollout
from lifelong.envs import TaskStream
from lifelong.experiments.metrics.rows import Rows
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.task_evaluation import evaluate_tasks

__all__ = ["CarriedOn", "carry_on"]

_EPISODES = 10  # of every life
_PATIENCE = 4  # times the steps of the new lives, after which it is given up


@dataclass(frozen=True, slots=True)
class CarriedOn:
    """Mean return with the memory of training, and of new lives.

    Args:
        carried: mean return of copies of the living agent.
        carried_error: its standard error over lives; NaN of one life.
        new: mean return of new lives.
        new_error: its standard error over lives.
    """

    carried: float
    carried_error: float
    new: float
    new_error: float

    def sentence(self) -> str:
        """Return both, and what to do where they differ by more than twice the standard error of the difference."""
        said = (
            f"mean return with the memory of training carried on {self.carried:.4g} ± {self.carried_error:.2g}, of new "
            f"lives {self.new:.4g} ± {self.new_error:.2g}"
        )
        error = math.hypot(self.carried_error, self.new_error)
        if self.carried - self.new > 2 * error:
            return f"{said}: new lives are worse; trained with --life-hazard 0.1 both are known"
        if self.new - self.carried > 2 * error:
            return f"{said}: the memory of training makes it worse"
        return said


def carry_on(config: TrainConfig, rollout: Rollout, env: TaskStream, new: Rows, steps: int) -> CarriedOn:
    """Evaluate copies of the living agent for ten episodes each, and compare them with new lives.

    Args:
        config: of the run, resolved.
        rollout: of the living agent; left as it is.
        env: its stream, of one task.
        new: rows of new lives, the first ten episodes of which count.
        steps: of a new life.

    Raises:
        ValueError: if lives of this stream cannot be copied, or ten episodes take too long.
        StreamError: if an environment breaks.
    """
    copies = make_env(config, num_envs=min(env.num_envs, config.evaluation_lives or env.num_envs))
    try:
        copies.reset()
        most = _PATIENCE * steps * copies.num_envs
        rows, _ = evaluate_tasks(
            rollout,
            env.position(),
            copies,
            mode="sandbox",
            episodes=_EPISODES,
            seed=config.seed,
            most_steps=most,
        )
    finally:
        copies.close()
    if not rows["return"].size:
        raise ValueError(f"{_EPISODES} episodes of {copies.num_envs} lives took more than {most:,} steps")
    return CarriedOn(*_mean(rows), *_mean({name: column[new["episode"] < _EPISODES] for name, column in new.items()}))


def _mean(rows: Rows) -> tuple[float, float]:
    """Return the mean over lives of their mean return, and its standard error."""
    lives = np.unique(rows["life"])
    means = np.array([rows["return"][rows["life"] == life].mean() for life in lives])
    error = means.std(ddof=1) / math.sqrt(lives.size) if lives.size > 1 else math.nan
    return float(means.mean()), float(error)
