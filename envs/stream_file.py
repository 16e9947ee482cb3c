"""Task streams as files, TOML or YAML.

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

import importlib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lifelong.envs.foreign import foreign_environments
from lifelong.envs.gym_task import GymTask
from lifelong.envs.parse import parse_drifts, parse_schedule
from lifelong.envs.task import References
from lifelong.registry import nearest
from lifelong.trust import refusal

__all__ = ["StreamFile", "StreamFileError", "is_stream_file", "read_stream_file", "toml_lines"]

Place = tuple[str | int, ...]
"""Path of an entry in a file: keys, and indices in lists."""

_TOP: dict[str, type] = {
    "stream": str, "options": dict, "tasks": list, "unify": bool,
    "schedule": str, "life_episodes": int, "life_hazard": float, "boundary": str, "train": dict,
}  # fmt: skip
_TASK: dict[str, type] = {"name": str, "env": str, "drifts": str, "kwargs": dict, "references": dict,
                         "success_return": float}  # fmt: skip
_REFERENCES: dict[str, type] = dict.fromkeys(("random", "within", "cross", "oracle"), float)
_WORDS = {str: "text", dict: "a table", list: "a list of tables", bool: "true or false", int: "an integer",
          float: "a number"}  # fmt: skip
_SUFFIXES = (".toml", ".yaml", ".yml")


class StreamFileError(ValueError):
    """Invalid stream file; the message says where and what is allowed."""


@dataclass(frozen=True)
class StreamFile:
    """Contents of a stream file.

    Args:
        stream: name for `make_stream`, or empty if there are tasks.
        options: of the stream, with the tasks.
        train: settings of training, unchecked.
    """

    stream: str
    options: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)


def is_stream_file(name: str) -> bool:
    """Return whether a stream's name is a file name."""
    return name.endswith(_SUFFIXES)


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
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StreamFileError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    reader = _Reader(path, text)
    found = reader.read()
    if not trust:
        reader.refuse_foreign(found)
    return found


class _Reader:
    """Reader of one stream file."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        parse = _parse_toml if path.suffix == ".toml" else _parse_yaml
        try:
            self.content, self.lines = parse(text)
        except StreamFileError as error:
            raise StreamFileError(f"{path}: {error}") from error.__cause__

    def read(self) -> StreamFile:
        """Validate and return the contents."""
        top = self.table(self.content, _TOP, ())
        if ("stream" in top) == ("tasks" in top):
            both = "stream and tasks exclude each other" if "tasks" in top else "neither stream nor tasks is there"
            raise self.error((), f"{both}; a file has one of them")
        of_stream = ("life_episodes", "life_hazard", "boundary", "unify")
        options: dict[str, Any] = {name: top[name] for name in of_stream if name in top}
        if "schedule" in top:
            options["schedule"] = self.parsed(("schedule",), parse_schedule, top["schedule"])
        if "life_episodes" in options:
            if options["life_episodes"] < 0:
                raise self.error(("life_episodes",), f"life_episodes must not be negative: {options['life_episodes']}")
            options["life_episodes"] = options["life_episodes"] or None
        if "life_hazard" in options:
            self.check_hazard(options["life_hazard"], options.get("life_episodes"))
        if "stream" in top:
            if "unify" in top:
                raise self.error(("unify",), "unify is for tasks, not for a stream that has a name")
            return StreamFile(top["stream"], options | top.get("options", {}), top.get("train", {}))
        if "options" in top:
            raise self.error(("options",), "options are for a stream that has a name, not for tasks")
        if not top["tasks"]:
            raise self.error(("tasks",), "a stream needs at least one task")
        options["tasks"] = self.tasks(top["tasks"])
        return StreamFile("", options, top.get("train", {}))

    def refuse_foreign(self, found: StreamFile) -> None:
        """Refuse what leads to code that is neither registered nor of an installed package."""
        for name in foreign_environments(found.stream, {}, {}):
            raise self.error(("stream",), refusal("environment", name))
        for number, task in enumerate(found.options.get("tasks", ()) if not found.stream else ()):
            for name in foreign_environments(task.env_id, {}, task.kwargs):
                raise self.error(("tasks", number), refusal("environment", name))
        for name in foreign_environments("", self.content.get("options", {}), {}):
            raise self.error(("options",), refusal("environment", name))

    def check_hazard(self, hazard: float, life_episodes: int | None) -> None:
        """Validate `life_hazard`, beside `life_episodes`."""
        if not 0 < hazard <= 1:
            raise self.error(("life_hazard",), f"life_hazard must lie above 0 and be at most 1: {hazard}")
        if life_episodes is not None:
            raise self.error(
                ("life_hazard",), f"life_hazard and life_episodes exclude each other: {hazard} and {life_episodes}"
            )

    def tasks(self, listed: list[Any]) -> list[GymTask]:
        """Return the tasks; their names must be unique, else the second would silently be another task."""
        first: dict[str, int] = {}
        tasks = [self.task(content, number) for number, content in enumerate(listed)]
        for number, task in enumerate(tasks):
            if (before := first.setdefault(task.name, number)) != number:
                line = self.lines.get(("tasks", before))
                raise self.error(
                    ("tasks", number, "name"),
                    f"task {task.name!r} is listed twice{f', first in line {line}' if line else ''}; tasks that differ "
                    "need a name each, and the schedule says how often a task comes",
                )
        return tasks

    def task(self, content: Any, number: int) -> GymTask:
        """Return one task."""
        place: Place = ("tasks", number)
        if not isinstance(content, dict):
            raise self.error(place, f"a task must be a table, got {content!r}")
        task = self.table(content, _TASK, place)
        if "env" not in task:
            raise self.error(place, "a task needs env, the id of an environment")
        references = self.table(task.get("references", {}), _REFERENCES, (*place, "references"))
        drifts = self.parsed((*place, "drifts"), parse_drifts, task["drifts"]) if "drifts" in task else ()
        name, kwargs, least = task.get("name", task["env"]), task.get("kwargs", {}), task.get("success_return")
        scores = References(**references)
        try:
            return GymTask(name, scores, env_id=task["env"], kwargs=kwargs, drifts=drifts, success_return=least)
        except ValueError as error:
            raise self.error((*place, "success_return"), str(error)) from error

    def table(self, content: Mapping[str, Any], known: Mapping[str, type], place: Place) -> dict[str, Any]:
        """Validate and return a table's entries and their types."""
        for name, value in content.items():
            here = (*place, name)
            if name not in known:
                hint = nearest(str(name), known)
                raise self.error(here, f"no entry {name!r}{hint} known: {', '.join(known)}")
            kind = known[name]
            fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
            if not fits or (isinstance(value, bool) and kind is not bool):
                raise self.error(here, f"{name} must be {_WORDS[kind]}, got {value!r}")
        return dict(content)

    def parsed(self, place: Place, read: Callable[[str], Any], text: str) -> Any:
        """Return the parsed value of a text."""
        try:
            return read(text)
        except ValueError as error:
            raise self.error(place, str(error)) from error

    def error(self, place: Place, message: str) -> StreamFileError:
        """Return an error with the line of an entry, or of the nearest enclosing one."""
        while place and place not in self.lines:
            place = place[:-1]
        line = self.lines.get(place)
        return StreamFileError(f"{self.path}{f':{line}' if line else ''}: {message}")


def _parse_toml(text: str) -> tuple[dict[str, Any], dict[Place, int]]:
    try:
        return tomllib.loads(text), toml_lines(text)
    except tomllib.TOMLDecodeError as error:  # its message has line and column
        raise StreamFileError(f"no TOML: {error}") from error


def toml_lines(text: str) -> dict[Place, int]:
    """Return the lines of headers and keys; values over several lines and tables in one line have that of their key."""
    lines: dict[Place, int] = {}
    place: Place = ()
    count: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*(\[\[?)\s*([^\]]+?)\s*\]", line):
            keys: list[str | int] = []
            for part in header[2].split("."):
                name = part.strip().strip("\"'")
                if header[1] == "[[" and not keys:
                    count[name] = count.get(name, -1) + 1
                keys += [name, count[name]] if name in count else [name]
            place = tuple(keys)
            lines[place] = number
            lines.setdefault(place[:1], number)
        elif key := re.match(r"\s*([\w\"'-]+)\s*=", line):
            lines[(*place, key[1].strip("\"'"))] = number
    return lines


def _parse_yaml(text: str) -> tuple[dict[str, Any], dict[Place, int]]:
    yaml: Any = importlib.import_module("yaml")
    lines: dict[Place, int] = {}

    def note(node: Any, place: Place) -> None:
        lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                lines[(*place, key.value)] = key.start_mark.line + 1
                note(value, (*place, key.value))
        elif isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                note(value, (*place, number))

    try:
        content, root = yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise StreamFileError(f"no YAML: {getattr(error, 'problem', None) or error}{where}") from error
    if not isinstance(content, dict):
        raise StreamFileError(f"a stream file is a table of entries, got {type(content).__name__}")
    note(root, ())
    return content, lines
