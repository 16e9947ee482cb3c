"""Study files, TOML: a question, what is trained and compared, and what is expected.

    question = "Does a fixed state keep what an equal-bytes cache cannot?"
    stream   = "cued-recall"                     as `lifelong train` takes it
    train    = {cues = 16, steps = 4_000_000}    settings of `lifelong train`, of the stream, or of the memory
    seeds    = "20..29"                          paired: every arm lives the same lives
    arms     = ["gated_delta", "window", {memory = "gru", size = "parameters"}, {carry = "episode"}]
    size     = {state_bytes = 16_900, parameters = 60_000, tolerance = 0.02}
    tune     = {lr = [1e-3, 2e-3], shape = "grid", seeds = "1000..1001", by = "area(rho1, evaluation, 2:127)"}

    [[test]]                                     of every trained agent, beside `evaluation` at the end of training
    name = "far"
    by   = "retention"                           or "adaptation"; the rest are settings of that verb, or of the stream
    schedule = "spaced:8192"
    times = 64

    [[hypothesis]]                               see `formula.py`
    id       = "H1"
    says     = "the delta rule keeps more than the best cache"
    contrast = "gated_delta - best(window, gru)"
    measure  = "area(rho1, far, 64:1023)"
    expect   = "> 0"
    smallest = 0.02                              effect of interest
    correct  = "holm"                            or "none"

Errors name the file, the line and what is allowed.
"""

import hashlib
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from lifelong.envs.stream_file import is_stream_file, toml_lines
from lifelong.experiments.runs.errors import UserError, as_user_error
from lifelong.experiments.runs.seed_ranges import parse_seeds
from lifelong.experiments.studies.formula import CURVES, Contrast, Expectation, Measure
from lifelong.memory.registry import find_memory, foreign_memories
from lifelong.registry import nearest
from lifelong.trust import refusal

__all__ = ["EVALUATION", "Arm", "Hypothesis", "Place", "Size", "StudyFile", "Test", "Tune", "read_study_file"]

Place = tuple[str | int, ...]
"""Path of an entry in the file: keys, and indices in lists."""

EVALUATION = "evaluation"
"""Name of the test that every training ends with."""

_TOP: dict[str, type] = {
    "name": str, "question": str, "stream": str, "train": dict, "seeds": object, "arms": list, "size": dict,
    "tune": dict, "test": list, "hypothesis": list,
}  # fmt: skip
_SIZE: dict[str, type] = {"state_bytes": int, "parameters": int, "tolerance": float}
_HYPOTHESIS: dict[str, type] = {"id": str, "says": str, "contrast": str, "measure": str, "expect": str,
                                "smallest": float, "correct": str}  # fmt: skip
_WORDS = {str: "text", dict: "a table", list: "a list", int: "an integer", float: "a number"}
_NO_CODE = ("name", "device", "schedule", "drifts", "drift_schedule", "seeds", "by")
"""Settings whose texts have colons and lead to no code of others."""
_NAME = r"[\w./:@=+-]+"

HowEqual = Literal["equal", "parameters", "any"]


@dataclass(frozen=True)
class Size:
    """What all arms are made equal in.

    Args:
        state_bytes: of the memory's state, per life; None leaves it.
        parameters: of the whole agent; None leaves them.
        tolerance: share by which an arm may differ.
    """

    state_bytes: int | None = None
    parameters: int | None = None
    tolerance: float = 0.02


@dataclass(frozen=True)
class Arm:
    """What is compared: a memory, or other settings of training.

    Args:
        name: in tables and contrasts.
        settings: in place of the study's.
        size: `equal` in all that the study's `size` says, in `parameters` only, or in nothing (`any`).
        place: in the file.
    """

    name: str
    settings: dict[str, Any]
    size: HowEqual = "equal"
    place: Place = ()


@dataclass(frozen=True)
class Test:
    """How every trained agent is measured.

    Args:
        name: in measures.
        by: the verb that measures.
        settings: of the verb, or of the stream.
        place: in the file.
    """

    __test__ = False  # no test of pytest

    name: str
    by: str
    settings: dict[str, Any]
    place: Place = ()


@dataclass(frozen=True)
class Tune:
    """Choices of which every arm takes its best before its seeds are run.

    Args:
        settings: values to try, by setting.
        shape: whether shapes of equal bytes are tried too.
        seeds: of tuning, none of which is a seed of the study.
        by: measure whose mean over these seeds decides.
    """

    settings: dict[str, tuple[Any, ...]]
    shape: bool
    seeds: tuple[int, ...]
    by: Measure


@dataclass(frozen=True)
class Hypothesis:
    """A prediction.

    Args:
        id: short name.
        says: the prediction in words.
        contrast: what is compared.
        measure: in what.
        expect: of the difference.
        smallest: effect of interest: a difference that is below it for sure refutes; None is the margin of `expect`.
        corrected: whether it belongs to the family that Holm's method corrects.
    """

    id: str
    says: str
    contrast: Contrast
    measure: Measure
    expect: Expectation
    smallest: float | None
    corrected: bool


@dataclass(frozen=True)
class StudyFile:
    """Contents of a study file, checked as far as that is possible without making anything.

    Args:
        path: of the file.
        sha256: of its bytes.
        name: of the study.
        question: that it asks.
        stream: that agents are trained on, unless an arm says otherwise.
        train: settings of all arms.
        seeds: of the trials.
        arms: that are compared.
        size: that they are made equal in; None leaves them as they are.
        tune: choices before; None for none.
        tests: of every agent, the evaluation at the end of training first.
        hypotheses: in their order.
        lines: numbers of lines by place.
        text: of the file.
        trust: whether it may name memories and environments that are neither registered nor of installed packages.
    """

    path: Path
    sha256: str
    name: str
    question: str
    stream: str
    train: dict[str, Any]
    seeds: tuple[int, ...]
    arms: tuple[Arm, ...]
    size: Size | None
    tune: Tune | None
    tests: tuple[Test, ...]
    hypotheses: tuple[Hypothesis, ...]
    lines: dict[Place, int] = field(repr=False)
    text: str = field(repr=False)
    trust: bool = False

    def error(self, place: Place, message: str, word: str = "") -> UserError:
        """Return an error with the file and the line of an entry.

        Args:
            place: of the entry, or of one around it.
            message: what is wrong, and what is allowed.
            word: looked for below the place, where a value fills several lines.
        """
        return UserError(f"{self.path}:{_line(self.lines, self.text, place, word)}: {message}")


def read_study_file(path: Path | str, *, trust: bool = False) -> StudyFile:
    """Read and check a study file.

    Args:
        path: of the file.
        trust: whether it may name memories and environments that are neither registered nor of installed packages.

    Raises:
        UserError: if it cannot be read or is invalid, or names such and is not trusted; with the line.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        return _Reader(path, text, tomllib.loads(text), hashlib.sha256(content).hexdigest(), trust).read()
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        where = line[1] if line else str(text.count("\n") + 1)  # at the end of the document
        raise UserError(f"{path}:{where}: no TOML: {error}") from error


class _Reader:
    """Reader of one study file."""

    def __init__(self, path: Path, text: str, content: dict[str, Any], sha256: str, trust: bool) -> None:
        self.path, self.text, self.content, self.sha256, self.trust = path, text, content, sha256, trust
        self.lines = toml_lines(text)

    def read(self) -> StudyFile:
        """Check and return the contents."""
        top = self.table(self.content, _TOP, ())
        for name in ("question", "seeds", "arms"):
            if name not in top:
                raise self.error((), f"a study needs {name}; known entries: {', '.join(_TOP)}")
        name = top.get("name", self.path.stem)
        if not re.fullmatch(r"[\w.-]+", name):
            raise self.error(("name",), f"name must be letters, digits, -, _ and .: {name!r}")
        stream, train = top.get("stream", "cued-recall"), top.get("train", {})
        if not self.trust:
            self.refuse_foreign(top)
        seeds = self.seeds(top["seeds"], ("seeds",))
        arms = self.arms(top["arms"], train)
        tests = self.tests(top.get("test", []))
        kinds = {test.name: test.by for test in tests}
        size = self.size(top["size"]) if "size" in top else None
        tune = self.tune(top["tune"], seeds, kinds, size) if "tune" in top else None
        return StudyFile(
            self.path,
            self.sha256,
            name,
            top["question"],
            stream,
            train,
            seeds,
            arms,
            size,
            tune,
            tests,
            self.hypotheses(top.get("hypothesis", []), [arm.name for arm in arms], kinds),
            self.lines,
            self.text,
            self.trust,
        )

    def refuse_foreign(self, top: Mapping[str, Any]) -> None:
        """Refuse what leads to code that is neither registered nor of an installed package."""
        tables: list[tuple[Place, Any]] = [((), {"stream": top.get("stream", "")})]
        tables += [((name,), top.get(name, {})) for name in ("train", "tune")]
        arms = [{"memory": arm} if isinstance(arm, str) else arm for arm in top["arms"]]
        tables += [(("arms", number), arm) for number, arm in enumerate(arms)]
        tables += [(("test", number), test) for number, test in enumerate(top.get("test", []))]
        for place, table in tables:
            for name, value in table.items() if isinstance(table, dict) else ():
                for found in () if name in _NO_CODE else foreign_memories("none", {name: _plain(name, value)}):
                    raise self.error((*place, name), refusal("code", found), found)

    def seeds(self, given: Any, place: Place) -> tuple[int, ...]:
        """Return seeds from a text such as `20..29`, or a list of numbers."""
        if isinstance(given, list) and given and all(isinstance(one, int) and one >= 0 for one in given):
            text = ",".join(map(str, given))
        elif isinstance(given, str):
            text = re.sub(r"(\d)\s*-\s*(\d)", r"\1..\2", given)
        else:
            raise self.error(place, f'seeds are a text such as "20..29", or a list of numbers; got {given!r}')
        try:
            return parse_seeds(text)
        except UserError as error:
            raise self.error(place, str(error)) from error

    def arms(self, listed: list[Any], train: Mapping[str, Any]) -> tuple[Arm, ...]:
        """Return the arms; their names must differ."""
        if not listed:
            raise self.error(("arms",), "a study needs at least one arm")
        found: list[Arm] = []
        for number, content in enumerate(listed):
            arm = self.arm(content, number, train)
            if arm.name in [other.name for other in found]:
                raise self.error(arm.place, f"two arms are named {arm.name!r}: give one a name of its own", arm.name)
            found.append(arm)
        return tuple(found)

    def arm(self, content: Any, number: int, train: Mapping[str, Any]) -> Arm:
        """Return one arm; without a name it has that of its memory, and its other settings behind it."""
        place: Place = ("arms", number)
        if isinstance(content, str):
            content = {"memory": content}
        if not isinstance(content, dict):
            raise self.error(place, f"an arm is the name of a memory, or a table of settings; got {content!r}")
        settings = {key: value for key, value in content.items() if key not in ("name", "size")}
        size = content.get("size", "equal")
        if size not in get_args(HowEqual):
            raise self.error(
                place, f"size of an arm must be one of {', '.join(get_args(HowEqual))}; got {size!r}", "size"
            )
        for key in ("memory", "name"):
            if not isinstance(content.get(key, ""), str):
                raise self.error(place, f"{key} must be text, got {content[key]!r}", key)
        if "memory" in settings:
            self.parsed(place, lambda: _check_memory(settings["memory"]), settings["memory"])
        others = [f"{value}" for key, value in settings.items() if key != "memory"]
        name = content.get("name", "/".join([settings.get("memory", train.get("memory", "gated_delta")), *others]))
        if not re.fullmatch(_NAME, name):
            raise self.error(place, f"an arm needs a name without spaces and brackets: name = ...; got {name!r}", name)
        return Arm(name, settings, size, place)

    def size(self, content: dict[str, Any]) -> Size:
        """Return what arms are equal in."""
        found = Size(**self.table(content, _SIZE, ("size",)))
        for name in ("state_bytes", "parameters"):
            value = getattr(found, name)
            if value is not None and value < 1:
                raise self.error(("size", name), f"{name} must be positive: {name}={value}", name)
        if not 0 <= found.tolerance < 1:
            raise self.error(("size", "tolerance"), f"tolerance must lie in [0, 1): {found.tolerance}", "tolerance")
        if found.state_bytes is None and found.parameters is None:
            raise self.error(("size",), "size needs state_bytes, parameters, or both")
        return found

    def tune(
        self, content: dict[str, Any], seeds: Collection[int], kinds: Mapping[str, str], size: Size | None
    ) -> Tune:
        """Return what is tuned."""
        for name in ("seeds", "by"):
            if name not in content:
                raise self.error(("tune",), f"tune needs {name}: the seeds to choose on, and the measure that decides")
        tuning = self.seeds(content["seeds"], ("tune", "seeds"))
        if both := sorted(set(tuning) & set(seeds)):
            raise self.error(
                ("tune", "seeds"), f"seed {both[0]} is one of the study's: tuning has seeds of its own", "seeds"
            )
        shape = content.get("shape")
        if shape not in (None, "grid"):
            raise self.error(("tune", "shape"), f'shape must be "grid", or left out; got {shape!r}', "shape")
        if shape and (size is None or size.state_bytes is None):
            raise self.error(("tune", "shape"), "shapes are tried at equal bytes: size needs state_bytes", "shape")
        tried = {name: value for name, value in content.items() if name not in ("seeds", "by", "shape")}
        for name, values in tried.items():
            if not isinstance(values, list) or not values:
                raise self.error(
                    ("tune", name), f"{name} of tune must be a list of values to try; got {values!r}", name
                )
        if not tried and not shape:
            raise self.error(("tune",), 'tune tries nothing: give a setting a list of values, or shape = "grid"')
        by = self.parsed(("tune", "by"), lambda: Measure.parse(self.text_of(content["by"], ("tune", "by")), kinds))
        return Tune({name: tuple(values) for name, values in tried.items()}, bool(shape), tuning, by)

    def tests(self, listed: list[Any]) -> tuple[Test, ...]:
        """Return the tests, the evaluation of training first."""
        found = [Test(EVALUATION, "retention", {})]
        for number, content in enumerate(listed):
            place: Place = ("test", number)
            if not isinstance(content, dict):
                raise self.error(place, f"a test is a table: [[test]]; got {content!r}")
            name, by = content.get("name"), content.get("by", "retention")
            if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
                raise self.error(place, f"a test needs a name of letters, digits, -, _ and .; got {name!r}")
            if name in [test.name for test in found]:
                raise self.error((*place, "name"), f"two tests are named {name!r}")
            if by not in CURVES:
                hint = nearest(str(by), CURVES)
                raise self.error((*place, "by"), f"no test by {by!r}{hint} known: {', '.join(CURVES)}")
            settings = {key: value for key, value in content.items() if key not in ("name", "by")}
            found.append(Test(name, by, settings, place))
        return tuple(found)

    def hypotheses(self, listed: list[Any], arms: Collection[str], kinds: Mapping[str, str]) -> tuple[Hypothesis, ...]:
        """Return the hypotheses; their ids must differ."""
        found: list[Hypothesis] = []
        for number, content in enumerate(listed):
            one = self.hypothesis(content, ("hypothesis", number), arms, kinds)
            if one.id in [other.id for other in found]:
                raise self.error(("hypothesis", number, "id"), f"two hypotheses have the id {one.id!r}")
            found.append(one)
        return tuple(found)

    def hypothesis(self, content: Any, place: Place, arms: Collection[str], kinds: Mapping[str, str]) -> Hypothesis:
        """Return one hypothesis."""
        if not isinstance(content, dict):
            raise self.error(place, f"a hypothesis is a table: [[hypothesis]]; got {content!r}")
        said = self.table(content, _HYPOTHESIS, place)
        for name in ("id", "says", "contrast", "measure", "expect"):
            if name not in said:
                raise self.error(place, f"a hypothesis needs {name}; known: {', '.join(_HYPOTHESIS)}")
        correct, smallest = said.get("correct", "holm"), said.get("smallest")
        if correct not in ("holm", "none"):
            raise self.error((*place, "correct"), f'correct must be "holm" or "none"; got {correct!r}')
        contrast = self.parsed((*place, "contrast"), lambda: Contrast.parse(said["contrast"], arms))
        measure = self.parsed((*place, "measure"), lambda: Measure.parse(said["measure"], kinds))
        expect = self.parsed((*place, "expect"), lambda: Expectation.parse(said["expect"]))
        if smallest is not None and expect.sign * (smallest - expect.margin) < 0:
            side = "above" if expect.sign > 0 else "below"
            message = (
                f"the smallest effect of interest must lie {side} the margin {expect.margin:g}: smallest={smallest}"
            )
            raise self.error((*place, "smallest"), message)
        return Hypothesis(said["id"], said["says"], contrast, measure, expect, smallest, correct == "holm")

    def table(self, content: Mapping[str, Any], known: Mapping[str, type], place: Place) -> dict[str, Any]:
        """Check and return a table's entries and their types."""
        for name, value in content.items():
            if name not in known:
                hint = nearest(str(name), known)
                raise self.error((*place, name), f"no entry {name!r}{hint} known: {', '.join(known)}", name)
            kind = known[name]
            fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
            if not fits or (isinstance(value, bool) and kind is not object):
                raise self.error((*place, name), f"{name} must be {_WORDS[kind]}, got {value!r}", name)
        return dict(content)

    def text_of(self, value: Any, place: Place) -> str:
        """Return a value that must be text."""
        if not isinstance(value, str):
            raise self.error(place, f"{place[-1]} must be text, got {value!r}", str(place[-1]))
        return value

    def parsed(self, place: Place, read: Callable[[], Any], word: str = "") -> Any:
        """Return what is read from a text."""
        try:
            return read()
        except ValueError as error:
            raise self.error(place, str(error), word or str(place[-1])) from error

    def error(self, place: Place, message: str, word: str = "") -> UserError:
        """Return an error with the line of an entry."""
        return UserError(f"{self.path}:{_line(self.lines, self.text, place, word)}: {message}")


def _plain(name: str, value: Any) -> Any:
    """Return a value of a setting; of one that is an id of gymnasium what could be imported."""
    if name == "stream" and isinstance(value, str):
        return "" if is_stream_file(value) else value.removeprefix("gym:")
    return value


def _check_memory(name: str) -> None:
    with as_user_error():
        find_memory(name)


def _line(lines: Mapping[Place, int], text: str, place: Place, word: str) -> int:
    """Return the line of an entry; of one inside a value over several lines, the first that has the word."""
    there = place
    while there and there not in lines:
        there = there[:-1]
    first = lines.get(there, 1)
    if there == place or not word:
        return first
    last = min((line for line in lines.values() if line > first), default=text.count("\n") + 2)
    found = re.compile(rf"(?<![\w-]){re.escape(word)}(?![\w-])")
    below = text.splitlines()[first - 1 : last - 1]
    return next((first + number for number, line in enumerate(below) if found.search(line)), first)
