"""Task streams as files, TOML, YAML or JSON.

    schedule = "cyclic:50"               as `parse_schedule` reads it
    life_episodes = 1000                 0 is one endless life
    life_hazard = 0.001                  in its place: the probability that a life ends at an episode's end
    boundary = "none"                    what the observation tells of task changes
    unify = true                         whether tasks with different spaces share common ones

    [[tasks]]
    name = "plain"                       env if nothing is said; no two tasks have the same
    env = "CartPole-v1"                  as `gymnasium.make` takes it

    [[tasks]]
    name = "heavy"
    env = "CartPole-v1"
    drifts = "gravity:4+sticky_actions:0.25"             as `parse_drifts` reads it
    kwargs = { sutton_barto_reward = true }              for `gymnasium.make`
    references = { random = 22.0, oracle = 500.0 }
    success_return = 475.0               an episode with at least this return is a success; else the environment says

    [train]                              settings of `lifelong train`; the command line wins
    steps = 1_000_000

In place of tasks, `stream = "cued-recall"` and a table `options` configure a registered stream. Errors name the file,
the line and what is allowed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Required, TypedDict

from lifelong.envs.foreign import foreign_environments
from lifelong.envs.gym_task import GymTask
from lifelong.envs.parse import parse_drifts, parse_schedule
from lifelong.envs.task import References
from lifelong.schema import Place, SchemaError, Within, read_fields
from lifelong.tables import SUFFIXES, Table, TableError, clipped, read_table
from lifelong.trust import refusal

__all__ = ["StreamFile", "StreamFileError", "is_stream_file", "read_stream_file"]


class _References(TypedDict, total=False):
    random: float
    within: float
    cross: float
    oracle: float


class _Task(TypedDict, total=False):
    name: str
    env: Required[str]
    drifts: str
    kwargs: dict[str, Any]
    references: _References
    success_return: float


class _Entries(TypedDict, total=False):
    stream: str
    options: dict[str, Any]
    tasks: list[_Task]
    unify: bool
    schedule: str
    life_episodes: Annotated[int, Within(0)]
    life_hazard: Annotated[float, Within(above=0, most=1)]
    boundary: Literal["none", "flag", "task_id"]
    train: dict[str, Any]


class StreamFileError(ValueError):
    """Invalid stream file; the message says where and what is allowed."""


@dataclass(frozen=True)
class StreamFile:
    """Contents of a stream file.

    Args:
        stream: name for `make_stream`, or empty if there are tasks.
        options: of the stream, with the tasks.
        train: settings of training, unchecked.
        lines: numbers of lines by place.
    """

    stream: str
    options: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    lines: Mapping[Place, int] = field(default_factory=dict, repr=False, compare=False)


def is_stream_file(name: str) -> bool:
    """Return whether a stream's name is a file name."""
    return name.endswith(SUFFIXES)


def read_stream_file(path: Path | str, *, trust: bool = False) -> StreamFile:
    """Read and validate a stream file.

    Args:
        path: of the file.
        trust: whether it may name environments and memories that are neither registered nor of installed packages.

    Raises:
        StreamFileError: if it cannot be read or is invalid, or names such and is not trusted; with the line.
    """
    path = Path(path)
    try:
        reader = _Reader(path, read_table(path))
    except TableError as error:
        raise StreamFileError(str(error)) from error
    found = reader.read()
    if not trust:
        reader.refuse_foreign(found)
    return found


class _Reader:
    """Reader of one stream file."""

    def __init__(self, path: Path, table: Table) -> None:
        self.path, self.table = path, table

    def read(self) -> StreamFile:
        """Validate and return the contents."""
        try:
            top = read_fields(_Entries, self.table.content)
        except SchemaError as error:
            raise self.error(error.place, str(error)) from error
        if ("stream" in top) == ("tasks" in top):
            both = "stream and tasks exclude each other" if "tasks" in top else "neither stream nor tasks is there"
            raise self.error((), f"{both}; a file has one of them")
        of_stream = ("life_episodes", "life_hazard", "boundary", "unify")
        options: dict[str, Any] = {name: top[name] for name in of_stream if name in top}
        if "schedule" in top:
            options["schedule"] = self.parsed(("schedule",), parse_schedule, top["schedule"])
        if "life_episodes" in options:
            if "life_hazard" in options:
                both = f"{options['life_hazard']} and {options['life_episodes']}"
                raise self.error(("life_hazard",), f"life_hazard and life_episodes exclude each other: {both}")
            options["life_episodes"] = options["life_episodes"] or None
        if "stream" in top:
            if "unify" in top:
                raise self.error(("unify",), "unify is for tasks, not for a stream that has a name")
            if not top["stream"] or is_stream_file(top["stream"]):
                raise self.error(("stream",), f"stream must be a name, not another file, got {top['stream']!r}")
            return StreamFile(top["stream"], options | top.get("options", {}), top.get("train", {}), self.table.lines)
        if "options" in top:
            raise self.error(("options",), "options are for a stream that has a name, not for tasks")
        if not top["tasks"]:
            raise self.error(("tasks",), "a stream needs at least one task")
        options["tasks"] = self.tasks(top["tasks"])
        return StreamFile("", options, top.get("train", {}), self.table.lines)

    def refuse_foreign(self, found: StreamFile) -> None:
        """Refuse what leads to code that is neither registered nor of an installed package."""
        for name in foreign_environments(found.stream, {}, {}):
            raise self.error(("stream",), refusal("environment", name))
        for number, task in enumerate(() if found.stream else found.options["tasks"]):
            for name in foreign_environments(task.env_id, {}, task.kwargs):
                raise self.error(("tasks", number), refusal("environment", name))
        for name in foreign_environments("", self.table.content.get("options", {}), {}):
            raise self.error(("options",), refusal("environment", name))

    def tasks(self, listed: list[Any]) -> list[GymTask]:
        """Return the tasks; their names must be unique, else the second would silently be another task."""
        first: dict[str, int] = {}
        tasks = [self.task(content, number) for number, content in enumerate(listed)]
        for number, task in enumerate(tasks):
            if (before := first.setdefault(task.name, number)) != number:
                line = self.table.lines.get(("tasks", before))
                raise self.error(
                    ("tasks", number, "name"),
                    f"task {task.name!r} is listed twice{f', first in line {line}' if line else ''}; tasks that differ "
                    "need a name each, and the schedule says how often a task comes",
                )
        return tasks

    def task(self, task: dict[str, Any], number: int) -> GymTask:
        """Return one task."""
        drifts = self.parsed(("tasks", number, "drifts"), parse_drifts, task["drifts"]) if "drifts" in task else ()
        return GymTask(
            task.get("name", task["env"]),
            References(**task.get("references", {})),
            env_id=task["env"],
            kwargs=task.get("kwargs", {}),
            drifts=drifts,
            success_return=task.get("success_return"),
        )

    def parsed(self, place: Place, read: Callable[[str], Any], text: str) -> Any:
        """Return the parsed value of a text."""
        try:
            return read(text)
        except ValueError as error:
            raise self.error(place, str(error)) from error

    def error(self, place: Place, message: str) -> StreamFileError:
        """Return an error with the line of an entry, or of the nearest enclosing one."""
        line = self.table.line(place)
        return StreamFileError(f"{self.path}{f':{line}' if line else ''}: {clipped(message)}")
