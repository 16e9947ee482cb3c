"""What a method of learning needs to be told of tasks, and whether it is."""

from lifelong.envs import TaskStream
from lifelong.envs.composed_schedules import changes_together, shortest_stay
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
    given, lives = config.learning.needs_task_changes, config.num_envs or 1
    if config.heads == "task" and env.boundary != "task_id":
        raise UserError(
            f"heads=task needs to be told the task, which boundary=task_id does, got boundary={env.boundary}"
        )
    if config.learning.packnet and config.heads != "task":
        raise UserError(
            f"packnet needs a head for each task, which heads=task gives: packnet={config.learning.packnet}, "
            f"heads={config.heads}"
        )
    if not given:
        return
    method = given.partition("=")[0]
    if env.boundary == "none":
        raise UserError(
            f"{method} needs to be told when the task changes, which boundary flag or task_id does: {given}, "
            "boundary=none"
        )
    if len(env.tasks) < 2:
        alone = ", ".join(task.name for task in env.tasks)
        raise UserError(f"{method} needs a stream of several tasks: {given}, the stream has {alone} alone")
    if lives > 1 and not changes_together(env.schedule):
        raise UserError(
            f"{method} needs changes of task that all lives have in common, such as those of schedule block:50000 "
            f"steps, or one life: {given}, num_envs={lives}, schedule={env.schedule}"
        )
    stay, update = shortest_stay(env.schedule, len(env.tasks)), lives * (config.segment or 1)
    if stay is not None and stay < update:
        raise UserError(
            f"{method} answers one change of task in an update, of num_envs * segment = {update:,} steps: a task must "
            f"stay for as many, got {stay:,}: {given}, schedule={env.schedule}"
        )
