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
    by   = "retention"                           or "adaptation", "interference" (of `disturbed_by`); the rest are
                                                 settings of that verb, or of the stream; "training" has none: it
                                                 measures the rows that the training left
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
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, Literal, Required, TypedDict

from lifelong.envs.stream_file import is_stream_file
from lifelong.experiments.runs.errors import UserError, as_user_error
from lifelong.experiments.runs.seed_ranges import parse_seeds
from lifelong.experiments.studies.formula import CURVES, Contrast, Expectation, Measure
from lifelong.experiments.studies.search import How, Range, Search
from lifelong.memory.registry import find_memory, foreign_memories
from lifelong.registry import nearest
from lifelong.schema import Place, SchemaError, Within, read_fields, shown
from lifelong.tables import Table, TableError, clipped, read_table
from lifelong.trust import refusal

__all__ = ["EVALUATION", "Arm", "Hypothesis", "Place", "Size", "StudyFile", "Test", "Tune", "read_study_file"]

EVALUATION = "evaluation"
"""Name of the test that every training ends with."""

_NO_CODE = ("name", "device", "schedule", "drifts", "drift_schedule", "seeds", "by")
"""Settings whose texts have colons and lead to no code of others."""
_NAME = r"[\w./:@=+-]+"
_LONGEST = 100  # characters of a name that files have
_LESS_IS_BETTER = ("forgetting", "recovery", "loss")

HowEqual = Literal["equal", "parameters", "any"]


@dataclass(frozen=True)
class Size:
    """What all arms are made equal in.

    Args:
        state_bytes: of the memory's state, per life; None leaves it.
        parameters: of the whole agent; None leaves them.
        tolerance: share by which an arm may differ.
    """

    state_bytes: Annotated[int | None, Within(1)] = None
    parameters: Annotated[int | None, Within(1)] = None
    tolerance: Annotated[float, Within(0.0, 0.99)] = 0.02


class _Hypothesis(TypedDict, total=False):
    id: Required[str]
    says: Required[str]
    contrast: Required[str]
    measure: Required[str]
    expect: Required[str]
    smallest: float
    correct: Literal["holm", "none"]


class _Entries(TypedDict, total=False):
    name: str
    question: Required[str]
    stream: str
    train: dict[str, Any]
    seeds: Required[str | list[Annotated[int, Within(0)]]]
    arms: Required[list[str | dict[str, Any]]]
    size: Size
    tune: dict[str, Any]
    test: list[dict[str, Any]]
    hypothesis: list[_Hypothesis]


class _Named(TypedDict, total=False):
    memory: str
    name: str
    size: HowEqual


class _Tune(TypedDict, total=False):
    seeds: Required[str | list[Annotated[int, Within(0)]]]
    by: Required[str]
    shape: Literal["grid"]
    search: How
    samples: Annotated[int, Within(2)]
    halving: Annotated[int, Within(2)]


_Range = TypedDict("_Range", {"from": Required[float | int], "to": Required[float | int], "log": bool}, total=False)


class _Test(TypedDict, total=False):
    name: Required[str]
    by: str


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
        search: how the values are searched.
    """

    settings: dict[str, tuple[Any, ...] | Range]
    shape: bool
    seeds: tuple[int, ...]
    by: Measure
    search: Search


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
        table: that the file holds.
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
    table: Table = field(repr=False)
    trust: bool = False

    @property
    def text(self) -> str:
        """The text of the file."""
        return self.table.text

    def error(self, place: Place, message: str, word: str = "") -> UserError:
        """Return an error with the file and the line of an entry.

        Args:
            place: of the entry, or of one around it.
            message: what is wrong, and what is allowed.
            word: looked for below the place, where a value fills several lines.
        """
        return _error(self.path, self.table, place, message, word)


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
        return _Reader(path, read_table(path, ".toml"), trust).read()
    except TableError as error:
        raise UserError(str(error)) from error


class _Reader:
    """Reader of one study file."""

    def __init__(self, path: Path, table: Table, trust: bool) -> None:
        self.path, self.table, self.trust = path, table, trust

    def read(self) -> StudyFile:
        """Check and return the contents."""
        self.refuse_dates(self.table.content, ())
        top = self.fields(_Entries, self.table.content, ())
        name = top.get("name", self.path.stem)
        if not _is_name(name):
            raise self.error(("name",), f"name must be at most {_LONGEST} letters, digits, -, _ and .: {shown(name)}")
        stream, train = top.get("stream", "cued-recall"), top.get("train", {})
        if "stream" in train:
            raise self.error(("train", "stream"), "stream stands at the top of the file, or in an arm", "stream")
        if not self.trust:
            self.refuse_foreign(top)
        seeds = self.seeds(top["seeds"], ("seeds",))
        arms = self.arms(top["arms"], train)
        tests = self.tests(top.get("test", []))
        kinds = {test.name: test.by for test in tests}
        size: Size | None = top.get("size")
        if size is not None and size.state_bytes is None and size.parameters is None:
            raise self.error(("size",), "size needs state_bytes, parameters, or both")
        tune = self.tune(top["tune"], seeds, kinds, size) if "tune" in top else None
        return StudyFile(
            self.path,
            hashlib.sha256(self.table.text.encode()).hexdigest(),
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
            self.table,
            self.trust,
        )

    def refuse_dates(self, content: Any, place: Place) -> None:
        """Refuse dates and times, which no setting has."""
        if isinstance(content, date | time):  # a datetime is a date
            raise self.error(place, f"a date or time is no value of a study, got {content}", str(content))
        parts = (
            content.items() if isinstance(content, dict) else enumerate(content if isinstance(content, list) else ())
        )
        for key, value in parts:
            self.refuse_dates(value, (*place, key))

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

    def seeds(self, given: str | list[int], place: Place) -> tuple[int, ...]:
        """Return seeds from a text such as `20..29`, or a list of numbers."""
        text = re.sub(r"(\d)\s*-\s*(\d)", r"\1..\2", given) if isinstance(given, str) else ",".join(map(str, given))
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
        self.some(_Named, content, place)
        settings = {key: value for key, value in content.items() if key not in ("name", "size")}
        size = content.get("size", "equal")
        if "memory" in settings:
            self.parsed(place, lambda: _check_memory(settings["memory"]), settings["memory"])
        others = [
            shown(value) if not isinstance(value, str) else value for key, value in settings.items() if key != "memory"
        ]
        name = content.get("name", "/".join([settings.get("memory", train.get("memory", "gated_delta")), *others]))
        if not re.fullmatch(_NAME, name):
            raise self.error(
                place, f"an arm needs a name without spaces and brackets: name = ...; got {shown(name)}", name
            )
        return Arm(name, settings, size, place)

    def tune(
        self, content: dict[str, Any], seeds: Collection[int], kinds: Mapping[str, str], size: Size | None
    ) -> Tune:
        """Return what is tuned."""
        self.some(_Tune, content, ("tune",))
        tuning = self.seeds(content["seeds"], ("tune", "seeds"))
        if both := sorted(set(tuning) & set(seeds)):
            raise self.error(
                ("tune", "seeds"), f"seed {both[0]} is one of the study's: tuning has seeds of its own", "seeds"
            )
        shape = content.get("shape")
        if shape and (size is None or size.state_bytes is None):
            raise self.error(("tune", "shape"), "shapes are tried at equal bytes: size needs state_bytes", "shape")
        how = self.search(content)
        tried = {
            name: self.values(name, values, how)
            for name, values in content.items()
            if name not in _Tune.__annotations__
        }
        if not tried and not shape:
            raise self.error(("tune",), 'tune tries nothing: give a setting a list of values, or shape = "grid"')
        by = self.parsed(("tune", "by"), lambda: Measure.parse(content["by"], kinds))
        if all(term.sign > 0 and term.quantity in _LESS_IS_BETTER for term in by.terms):
            raise self.error(
                ("tune", "by"),
                f"the greatest is chosen, and of {by.text} less is better: -{by.text} turns it round",
                "by",
            )
        return Tune(tried, bool(shape), tuning, by, how)

    def search(self, content: Mapping[str, Any]) -> Search:
        """Return how values are searched."""
        how: How = content.get("search", "grid")
        if how == "grid" and "samples" in content:
            raise self.error(
                ("tune", "samples"), 'samples are of search = "random" or "tpe"; a grid tries all', "samples"
            )
        if how != "grid" and "samples" not in content:
            raise self.error(("tune", "search"), f'search = "{how}" needs samples, how many it tries', "search")
        if how == "tpe" and "halving" in content:
            raise self.error(
                ("tune", "halving"), 'halving goes with search = "grid" and "random", not with "tpe"', "halving"
            )
        if "steps" in content and "halving" in content:
            raise self.error(("tune", "halving"), "halving sets the steps itself: leave steps out of tune", "halving")
        return Search(how, content.get("samples", 0), content.get("halving", 0))

    def values(self, name: str, given: Any, how: Search) -> tuple[Any, ...] | Range:
        """Return the values of a setting that are tried: those of a list, or a range."""
        place: Place = ("tune", name)
        if isinstance(given, list) and given:
            if any(value in given[:number] for number, value in enumerate(given)):
                raise self.error(place, f"{name} of tune has a value twice: {shown(given)}", name)
            return tuple(given)
        if not isinstance(given, dict):
            allowed = "a list of values to try" + (", or {from = ..., to = ...}" if how.how != "grid" else "")
            raise self.error(place, f"{name} of tune must be {allowed}; got {shown(given)}", name)
        self.fields(_Range, given, place)
        if how.how == "grid":
            raise self.error(place, f'{name} of tune is a range: it needs search = "random" or "tpe"', name)
        low, high, log = given["from"], given["to"], given.get("log", False)
        if not low < high:
            raise self.error(place, f"{name} of tune must go from less to more; got {low} to {high}", name)
        if log and low <= 0:
            raise self.error(place, f"{name} of tune has no logarithm at {low}: log = true needs from > 0", name)
        return Range(low, high, log)

    def tests(self, listed: list[Any]) -> tuple[Test, ...]:
        """Return the tests, the evaluation of training first."""
        found = [Test(EVALUATION, "retention", {})]
        for number, content in enumerate(listed):
            place: Place = ("test", number)
            self.some(_Test, content, place)
            name, by = content["name"], content.get("by", "retention")
            if not _is_name(name):
                raise self.error(
                    place, f"a test needs a name of at most {_LONGEST} letters, digits, -, _ and .; got {shown(name)}"
                )
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

    def hypothesis(
        self, said: Mapping[str, Any], place: Place, arms: Collection[str], kinds: Mapping[str, str]
    ) -> Hypothesis:
        """Return one hypothesis."""
        correct, smallest = said.get("correct", "holm"), said.get("smallest")
        contrast = self.parsed((*place, "contrast"), lambda: Contrast.parse(said["contrast"], arms))
        measure = self.parsed((*place, "measure"), lambda: Measure.parse(said["measure"], kinds))
        expect = self.parsed((*place, "expect"), lambda: Expectation.parse(said["expect"]))
        sides = [side for pair in contrast.comparisons for side in (pair.left, pair.right) if side is not None]
        grouped = [side.label for side in sides if len(side.arms) > 1 and side.by == "best"]
        if expect.sign < 0 and grouped:
            message = (
                f"{grouped[0]} is the arm with the greatest mean, and to be less than that is little: with < compare "
                "with each, [A, B], or turn the measure round, -forgetting(x)"
            )
            raise self.error((*place, "expect"), message)
        if smallest is not None and expect.sign * (smallest - expect.margin) < 0:
            side = "above" if expect.sign > 0 else "below"
            message = (
                f"the smallest effect of interest must lie {side} the margin {expect.margin:g}: smallest={smallest}"
            )
            raise self.error((*place, "smallest"), message)
        return Hypothesis(said["id"], said["says"], contrast, measure, expect, smallest, correct == "holm")

    def fields(self, kind: Any, content: Any, place: Place) -> dict[str, Any]:
        """Return a table's entries; validate their names and types."""
        try:
            return read_fields(kind, content)
        except SchemaError as error:
            word = next((str(part) for part in reversed(error.place) if isinstance(part, str)), "")
            raise self.error((*place, *error.place), str(error), word) from error

    def some(self, kind: Any, content: Mapping[str, Any], place: Place) -> None:
        """Validate the entries of a table that a `TypedDict` has; others are settings."""
        self.fields(kind, {name: value for name, value in content.items() if name in kind.__annotations__}, place)

    def parsed(self, place: Place, read: Callable[[], Any], word: str = "") -> Any:
        """Return what is read from a text."""
        try:
            return read()
        except ValueError as error:
            raise self.error(place, str(error), word or str(place[-1])) from error

    def error(self, place: Place, message: str, word: str = "") -> UserError:
        """Return an error with the line of an entry."""
        return _error(self.path, self.table, place, message, word)


def _plain(name: str, value: Any) -> Any:
    """Return a value of a setting; of one that is an id of gymnasium what could be imported."""
    if name == "stream" and isinstance(value, str):
        return "" if is_stream_file(value) else value.removeprefix("gym:")
    return value


def _check_memory(name: str) -> None:
    with as_user_error():
        find_memory(name)


def _error(path: Path, table: Table, place: Place, message: str, word: str) -> UserError:
    """Return an error with the line of an entry; of one inside a value over several lines, the first with the word."""
    there = place
    while there and there not in table.lines:
        there = there[:-1]
    first = table.lines.get(there, 1)
    last = min((line for line in table.lines.values() if line > first), default=first + 1000)
    if there != place and word:
        found = re.compile(rf"(?<![\w-]){re.escape(word)}(?![\w-])")
        below = table.text.splitlines()[first - 1 : last - 1]
        first = next((first + number for number, line in enumerate(below) if found.search(line)), first)
    return UserError(f"{path}:{first}: {clipped(message)}")


def _is_name(text: str) -> bool:
    """Return whether a text can name a file in any folder."""
    return re.fullmatch(r"[\w.-]+", text) is not None and text.strip(".") != "" and len(text) <= _LONGEST
