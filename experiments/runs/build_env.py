"""Build the stream of a config, without torch."""

from functools import partial
from typing import Any

from lifelong.envs import TaskStream, make_stream, parse_schedule
from lifelong.envs.composed_schedules import Order, find_task
from lifelong.envs.stream_file import is_stream_file
from lifelong.experiments.runs.config import TrainConfig, options
from lifelong.experiments.runs.errors import UserError, as_user_error
from lifelong.experiments.runs.machine_limits import check_stream_sizes
from lifelong.experiments.runs.names import check_stream

__all__ = ["make_env"]


def make_env(config: TrainConfig, **changes: Any) -> TaskStream:
    """Return the stream a resolved config names.

    Args:
        config: with every setting resolved.
        **changes: settings of the stream that win over the config's.

    Raises:
        UserError: if there is no such stream, or it does not take these settings.
    """
    settings: dict[str, Any] = {
        "num_envs": config.num_envs,
        "life_episodes": config.life_episodes or None,
        "seed": config.seed,
    }
    if config.env_kwargs:
        settings["env_kwargs"] = options(config.env_kwargs)
    given = options(config.stream_options) | changes
    if "env_workers" in given:
        raise UserError(
            f"env_workers is no setting of the stream but one of its own: --env-workers {given['env_workers']}"
        )
    if config.env_workers:
        lives = given.get("num_envs") or 0  # of copies, or of an evaluation: they may be fewer
        settings["env_workers"] = min(config.env_workers, lives) if lives else config.env_workers
    settings["life_hazard"] = None if "life_episodes" in given else config.life_hazard  # other lives are asked for
    if config.boundary != "none" or not is_stream_file(config.stream):
        settings["boundary"] = config.boundary
    if config.feedback is not None:
        settings["feedback"] = config.feedback
    if is_stream_file(config.stream):
        settings["trust"] = config.trust
    check_stream(config.stream)
    with as_user_error(prefix=f"stream {config.stream!r}: "):
        if config.schedule is not None:
            settings["schedule"] = parse_schedule(config.schedule)
        check_stream_sizes(partial(make_stream, config.stream), settings | given)
        stream = make_stream(config.stream, **(settings | given))
        if config.only_task is not None:
            stream.schedule = Order((find_task(config.only_task, [task.name for task in stream.tasks]),))
        return stream
