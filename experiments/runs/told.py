"""What a method of learning needs to be told of tasks, and whether it is."""

from lifelong.envs import TaskStream
from lifelong.envs.composed_schedules import changes_together
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.errors import UserError

__all__ = ["check_told"]


def check_told(config: TrainConfig, env: TaskStream) -> None:
    """Validate that methods that must be told when the task changes are told, and that all lives change at once.

    Args:
        config: resolved.
        env: its stream, of any number of lives.

    Raises:
        UserError: if not; says what is needed and what was given.
    """
    ewc, lives = config.learning.ewc, config.num_envs or 1
    if not ewc:
        return
    if env.boundary == "none":
        raise UserError(
            "ewc needs to be told when the task changes, which boundary flag or task_id does: "
            f"ewc={ewc:g}, boundary=none"
        )
    if len(env.tasks) < 2:
        raise UserError(f"ewc needs a stream of several tasks: ewc={ewc:g}, the stream has {env.tasks[0].name} alone")
    if lives > 1 and not changes_together(env.schedule):
        raise UserError(
            "ewc needs changes of task that all lives have in common, such as those of schedule block:50000 steps, or "
            f"one life: ewc={ewc:g}, num_envs={lives}, schedule={env.schedule}"
        )
