"""Tables from files of JSON, TOML and YAML, with the line of every entry; whatever is in the file, it ends soon.

Files of people's are short: at most `MOST_BYTES`, tables and lists at most `DEEPEST` in each other, with at most
`MOST_ENTRIES` of YAML once its aliases are written out. In YAML `1e-3` is a number, as in YAML 1.2.
"""

import importlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from lifelong.schema import Place, shown

__all__ = ["SUFFIXES", "Table", "TableError", "clipped", "parse_json", "parse_toml", "read_file", "read_table"]

SUFFIXES = (".toml", ".yaml", ".yml", ".json")
MOST_BYTES = 2**18
DEEPEST = 64
MOST_ENTRIES = 20_000

_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+")  # YAML 1.1 wants a point and a sign
_LONGEST = 100  # characters of what a parser says


class TableError(ValueError):
    """A file cannot be read as a table; says why, with the line where it is known."""


class _FaultError(Exception):
    """A text is no table; says why, and in which line."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


class Table(NamedTuple):
    """Content of a file.

    Args:
        content: entries by name.
        lines: numbers of lines by place; values over several lines and tables in one have that of their key.
        text: of the file.
    """

    content: dict[str, Any]
    lines: dict[Place, int]
    text: str

    def line(self, place: Place) -> int | None:
        """Return the line of an entry, or of the nearest one around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place)


def read_table(path: Path, suffix: str = "") -> Table:
    """Return the table in a file.

    Args:
        path: of the file.
        suffix: one of `SUFFIXES`, what it is; that of its name if not given.

    Raises:
        TableError: if it cannot be read; names the file, and the line where it is known.
    """
    data = read_file(path)
    try:
        text = data.decode()
    except ValueError as error:
        raise TableError(f"cannot read {path}: {_short(error)}") from error
    parse = {".toml": _parse_toml, ".json": _parse_json}.get(suffix or path.suffix, _parse_yaml)
    try:
        if len(data) > MOST_BYTES:
            raise _FaultError(f"it has {len(data):,} bytes, at most {MOST_BYTES:,} are read")
        return Table(*parse(text), text)
    except _FaultError as fault:
        raise TableError(f"{path}{f':{fault.line}' if fault.line else ''}: {fault}") from fault


def read_file(path: Path) -> bytes:
    """Return the content of a regular file: a device or a pipe in its place would never end.

    Raises:
        TableError: if it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise TableError(f"cannot read {path}: it is no regular file")
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise TableError(f"cannot read {path}: {getattr(error, 'strerror', None) or _short(error)}") from error


def parse_json(text: str | bytes) -> Any:
    """Return the content of JSON.

    Raises:
        TableError: if it is none, or nested too deeply.
    """
    try:
        return _shallow(json.loads(text))
    except (_FaultError, ValueError, RecursionError) as error:
        raise TableError(f"is no JSON that can be read: {_short(error)}") from error


def parse_toml(text: str) -> dict[str, Any]:
    """Return the table of a text of TOML.

    Raises:
        TableError: if it is none, or takes too long.
    """
    try:
        return _parse_toml(text)[0]
    except _FaultError as error:
        raise TableError(str(error)) from error


def _parse_json(text: str) -> tuple[dict[str, Any], dict[Place, int]]:
    try:
        return _table(json.loads(text)), {}
    except (ValueError, RecursionError) as error:
        raise _FaultError(f"no JSON: {_short(error)}", getattr(error, "lineno", None)) from error


def _parse_toml(text: str) -> tuple[dict[str, Any], dict[Place, int]]:
    for row, line in enumerate(text.splitlines(), 1):  # of such keys the parser takes cubic time
        if line.count(".") > DEEPEST and any(part.count(".") > DEEPEST for part in re.split(r"[^\w\"'. \t-]+", line)):
            raise _FaultError(f"a key has more than {DEEPEST} parts", row)
    try:
        return _table(tomllib.loads(text)), _toml_lines(text)
    except (ValueError, RecursionError) as error:
        found = re.search(r"line (\d+)", str(error))
        at_end = text.count("\n") + 1 if "at end of document" in str(error) else None
        raise _FaultError(f"no TOML: {_short(error)}", int(found[1]) if found else at_end) from error


def _toml_lines(text: str) -> dict[Place, int]:
    lines: dict[Place, int] = {}
    place: Place = ()
    count: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("["):
            header, keys = line.strip(), list[str | int]()
            for part in header.lstrip("[").partition("]")[0].split("."):
                name = part.strip().strip("\"'")
                if header.startswith("[[") and not keys:
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
    loader: Any = type("Loader", (yaml.SafeLoader,), {})
    loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
    loader.add_constructor("tag:yaml.org,2002:timestamp", loader.construct_yaml_str)  # a name such as 2026-01-31
    lines: dict[Place, int] = {}
    entries = 0

    def note(node: Any, place: Place) -> None:
        nonlocal entries
        entries += 1
        if len(place) > DEEPEST:
            raise _FaultError(f"nested deeper than {DEEPEST}", node.start_mark.line + 1)
        if entries > MOST_ENTRIES:
            raise _FaultError(f"more than {MOST_ENTRIES:,} entries, aliases written out")
        lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name = key.value if isinstance(key, yaml.ScalarNode) else "?"
                lines[(*place, name)] = key.start_mark.line + 1
                note(value, (*place, name))
        elif isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                note(value, (*place, number))

    try:
        reader = loader(text)
        root = reader.get_single_node()
        if root is None:
            raise _FaultError("the file is empty")
        note(root, ())
        return _table(reader.construct_document(root)), lines
    except _FaultError:
        raise
    except Exception as error:
        mark = getattr(error, "problem_mark", None)
        said = _short(getattr(error, "problem", None) or error)
        raise _FaultError(f"no YAML: {said}", mark.line + 1 if mark else None) from error


def _table(content: Any) -> dict[str, Any]:
    """Return a table whose names are texts, and that is not nested too deeply."""
    if not isinstance(content, dict):
        raise _FaultError(f"a file is a table of entries, got {type(content).__name__}")
    found: dict[str, Any] = _shallow(content)
    return found


def _shallow(content: Any) -> Any:
    """Return what is not nested too deeply, with texts as names."""
    waiting: list[tuple[Any, int]] = [(content, 1)]
    while waiting:
        value, depth = waiting.pop()
        if depth > DEEPEST:
            raise _FaultError(f"nested deeper than {DEEPEST}")
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise _FaultError(f"names of entries must be text, got {shown(key)}")
            waiting += [(one, depth + 1) for one in value.values()]
        elif isinstance(value, list):
            waiting += [(one, depth + 1) for one in value]
    return content


def clipped(text: str, most: int = 220) -> str:
    """Return a text in one line, shortened where it is long: it may quote a file."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]}..."


def _short(error: Any) -> str:
    return clipped(str(error), _LONGEST)
