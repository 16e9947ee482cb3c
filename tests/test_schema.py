"""The validator of annotations: what fits, what it says of what does not."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Required, TypedDict

import numpy as np
import pytest

from lifelong.schema import SchemaError, Within, check, read_fields


@dataclass(frozen=True)
class Inner:
    share: Annotated[float, Within(0.0, 1.0)] = 0.5


@dataclass(frozen=True)
class Settings:
    steps: Annotated[int, Within(1)]
    rate: Annotated[float | None, Within(above=0)] = None
    word: Literal["one", "two"] | None = None
    names: tuple[str, ...] = ()
    pair: tuple[int, float] = (0, 0.0)
    place: Path = Path()
    on: bool = False
    table: dict[str, int] = field(default_factory=dict)
    inner: Inner = Inner()


class Entries(TypedDict, total=False):
    name: Required[str]
    tasks: list[Inner]


def test_a_table_is_read_as_the_fields_have_it() -> None:
    table = {"steps": 1e3, "rate": 1, "word": "one", "names": ["a"], "pair": [1, 2], "place": "x/y", "table": {"a": 1},
             "inner": {"share": 1}}  # fmt: skip
    found = Settings(**read_fields(Settings, table))
    assert found == Settings(1000, 1.0, "one", ("a",), (1, 2.0), Path("x/y"), table={"a": 1}, inner=Inner(1.0))
    assert [type(one) for one in (found.steps, found.rate, found.pair[1], found.inner.share)] == [
        int,
        float,
        float,
        float,
    ]


@pytest.mark.parametrize(
    ("change", "said", "place"),
    [
        ({"steps": 0}, "steps must be positive: steps=0", ("steps",)),
        ({"steps": 2.5}, "steps must be an integer, got 2.5", ("steps",)),
        ({"steps": True}, "steps must be an integer, got True", ("steps",)),
        ({"steps": 2**63}, "steps must have at most 63 bits: steps=9223372036854775808", ("steps",)),
        ({"steps": "7"}, "steps must be an integer, got '7'", ("steps",)),
        ({"rate": math.nan}, "rate must be finite: rate=nan", ("rate",)),
        ({"rate": math.inf}, "rate must be finite: rate=inf", ("rate",)),
        ({"rate": 10**400}, "rate must be finite: rate=1000", ("rate",)),
        ({"word": "tow"}, "word must be one of one, two, got 'tow'; did you mean 'two'?", ("word",)),
        ({"names": "ab"}, "names must be a list of texts, got 'ab'", ("names",)),
        ({"names": ["a", 1]}, "names: each must be a text, got 1", ("names", 1)),
        ({"names": ["\ud800"]}, "names must be text that UTF-8 can hold", ("names",)),
        ({"place": "a\0b"}, "place must hold no NUL character", ("place",)),
        ({"pair": [1]}, "pair must be a list of 2 integers, got [1]", ("pair",)),
        ({"on": 1}, "on must be true or false, got 1", ("on",)),
        ({"table": {"a": "b"}}, "table must be a table of settings, got {'a': 'b'}", ("table",)),
        ({"inner": {"share": 2}}, "share must lie in [0, 1]: share=2", ("inner", "share")),
        ({"inner": {"shere": 2}}, "no entry 'shere'; did you mean 'share'?", ("inner", "shere")),
        ({"step": 1}, "no entry 'step'; did you mean 'steps'?", ("step",)),
        ({"xyz": 1}, "no entry 'xyz'; known: inner, names, on, pair, place, rate, steps, table, word", ("xyz",)),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(change: dict[str, Any], said: str, place: tuple[str, ...]) -> None:
    with pytest.raises(SchemaError) as caught:
        read_fields(Settings, {"steps": 1} | change)
    assert str(caught.value).startswith(said)
    assert caught.value.place == place
    assert len(str(caught.value)) < 200


def test_what_must_be_there_is_missed() -> None:
    with pytest.raises(SchemaError, match="steps is missing"):
        read_fields(Settings, {})
    with pytest.raises(SchemaError, match="name is missing"):
        read_fields(Entries, {})
    with pytest.raises(SchemaError, match="must be a table of names and values, got \\[\\]"):
        read_fields(Settings, [])
    assert read_fields(Entries, {"name": "a", "tasks": [{"share": 1}]}) == {"name": "a", "tasks": [Inner(1.0)]}
    with pytest.raises(SchemaError) as caught:
        read_fields(Entries, {"name": "a", "tasks": [{}, {"share": 2}]})
    assert caught.value.place == ("tasks", 1, "share")


def test_what_was_made_is_checked_by_the_same() -> None:
    check(Settings(np.int64(3), np.float32(0.5)))  # type: ignore[arg-type]
    for settings, said in (
        (Settings(1e3), "steps must be an integer, got 1000.0"),  # type: ignore[arg-type]
        (Settings(1, -1), "rate must be positive: rate=-1"),
        (Settings(1, place="x"), "place must be a path, got 'x'"),  # type: ignore[arg-type]
    ):
        with pytest.raises(SchemaError, match=said):
            check(settings)
