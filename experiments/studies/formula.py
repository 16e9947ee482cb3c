"""What a hypothesis compares: a measure of each trial, a contrast of arms, and what is expected of it.

    measure  = "area(rho1, far, 64:8192)"          mean of rho1 over the lag bins of the test `far` from 64 to 8192
    measure  = "return(near) - return(far)"        terms are added and subtracted, with spaces around the sign
    measure  = "-forgetting(whole)"                a minus in front turns one round
    contrast = "gated_delta - gru"                 names of arms, with spaces around the minus
    contrast = "[delta_net, gla] - best(window, heavy_hitter)"     each of the first against the best of the second
    contrast = "gated_delta"                       against 0
    expect   = "> 0", ">= -0.02"                   the difference, and the margin it is compared with

A side of a contrast is an arm, a list of arms (each is a comparison of its own), `best(...)`, the arm with the greatest
mean over seeds, or `mean(...)`, the mean of arms seed by seed.
"""

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from lifelong.registry import nearest

__all__ = ["CURVES", "NUMBERS", "TRAINING", "Comparison", "Contrast", "Expectation", "Measure", "Side", "Term"]

TRAINING = "training"
"""Kind of a test that measures the rows which a training has left; the other kinds are verbs."""

CURVES = {
    "retention": ("rho", "rho1"),
    "adaptation": ("new", "old", "unchanged", "first"),
    "interference": ("left", "loss"),
    TRAINING: ("visit",),
}
"""Curves by kind of test: retention pooled and at first exposure, over lags; P(answer) over meetings since a change;
retention after n steps of something else, and what is lost of it; mean score over the steps of a visit to a task, by
the number of the visit."""

NUMBERS: dict[str, tuple[str, ...]] = {
    "retention": ("return", "known", "index"),
    "adaptation": (),
    "interference": (),
    TRAINING: ("final_average", "forgetting", "backward", "forward", "recovery", "savings"),
}
"""Single numbers by kind of test: mean return, P(success) of tasks met before, memory index; of the performance matrix
the mean score of all tasks at the end, that of each at its best less that at the end, and backward and forward transfer
where tasks are evaluated at boundaries; the median of the episodes until a life has recovered from a change of task,
and the part of them that the last visit to a task saves of its first."""

_TERM = re.compile(r"(\w+)\(([^()]*)\)")
_NAME = r"[\w./:@=+-]+"


@dataclass(frozen=True, slots=True)
class Term:
    """One number of a trial.

    Args:
        sign: 1 or -1.
        quantity: a curve or a number of the test.
        test: name of the test.
        lags: first and last lag of an area; None of a number.
    """

    sign: int
    quantity: str
    test: str
    lags: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """A sum of terms.

    Args:
        text: as it was written.
        terms: of the sum.
    """

    text: str
    terms: tuple[Term, ...]

    @classmethod
    def parse(cls, text: str, tests: Mapping[str, str]) -> "Measure":
        """Return the measure of a text.

        Args:
            text: such as `area(rho1, far, 2:128)`.
            tests: kinds of the study's tests by name.

        Raises:
            ValueError: if it is none; names the nearest of what is known.
        """
        signs, parts = _summands(text)
        return cls(text, tuple(_term(sign, part, tests) for sign, part in zip(signs, parts, strict=True)))

    def value(self, number: Callable[[Term], float]) -> float:
        """Return the sum of the terms; NaN if one is not known.

        Args:
            number: value of a term, without its sign.
        """
        return math.fsum(term.sign * number(term) for term in self.terms)


def _summands(text: str) -> tuple[list[int], list[str]]:
    """Return the signs and the texts of what is added."""
    text = text.strip()
    words = re.split(r"\s+([+-])\s+(?![^(]*\))", text.removeprefix("-").lstrip())
    signs = [-1 if text.startswith("-") else 1] + [1 if word == "+" else -1 for word in words[1::2]]
    return signs, words[::2]


def _term(sign: int, text: str, tests: Mapping[str, str]) -> Term:
    match = _TERM.fullmatch(text.strip())
    form = "a measure is area(CURVE, TEST, FIRST:LAST) or NUMBER(TEST), such as area(rho1, evaluation, 2:127)"
    if match is None:
        raise ValueError(f"{form}; got {text!r}")
    name, given = match[1], [part.strip() for part in match[2].split(",")]
    if name != "area":
        test = given[0] if len(given) == 1 and given[0] else ""
        _known("test", test, tests)
        _known("number", name, (*NUMBERS[tests[test]], "area"), f" of a test by {tests[test]}")
        return Term(sign, name, test)
    if len(given) != 3:
        raise ValueError(f"{form}; got {text!r}")
    curve, test, lags = given
    _known("test", test, tests)
    _known("curve", curve, CURVES[tests[test]], f" of a test by {tests[test]}")
    least = 0 if tests[test] in ("adaptation", "interference") else 1
    ends = re.fullmatch(r"(\d+)\s*:\s*(\d+)", lags)
    if ends is None or not least <= int(ends[1]) <= int(ends[2]):
        raise ValueError(f"lags are FIRST:LAST, from {least}, such as 2:127; got {lags!r}")
    return Term(sign, curve, test, (int(ends[1]), int(ends[2])))


def _known(kind: str, name: str, known: Collection[str], where: str = "") -> None:
    if name not in known:
        raise ValueError(f"no {kind} {name!r}{where}{nearest(name, known)} known: {', '.join(known)}")


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison.

    Args:
        arms: at least one.
        by: `best`, the arm with the greatest mean over seeds, or `mean`, of the arms seed by seed.
    """

    arms: tuple[str, ...]
    by: Literal["best", "mean"] = "best"

    @property
    def label(self) -> str:
        """As it is written."""
        return self.arms[0] if len(self.arms) == 1 else f"{self.by}({', '.join(self.arms)})"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A difference of two sides; without a right side, of the left and 0."""

    left: Side
    right: Side | None

    @property
    def label(self) -> str:
        """As it is written."""
        return self.left.label if self.right is None else f"{self.left.label} - {self.right.label}"


@dataclass(frozen=True, slots=True)
class Contrast:
    """Comparisons that a hypothesis makes.

    Args:
        text: as it was written.
        comparisons: one for each pair of what is listed in brackets.
    """

    text: str
    comparisons: tuple[Comparison, ...]

    @classmethod
    def parse(cls, text: str, arms: Collection[str]) -> "Contrast":
        """Return the contrast of a text.

        Args:
            text: such as `gated_delta - best(window, gru)`.
            arms: names of the study's arms.

        Raises:
            ValueError: if it is none, or names an arm that there is not.
        """
        parts = re.split(r"\s+-\s+(?![^(\[]*[)\]])", text.strip())
        if len(parts) > 2:
            raise ValueError(f"a contrast has two sides, with one minus between; got {text!r}")
        left, right = (list(_sides(part, arms)) for part in (parts[0], parts[1] if len(parts) == 2 else ""))
        if not left:
            raise ValueError("a contrast names at least one arm")
        others: list[Side | None] = [*right] or [None]
        pairs = [Comparison(one, other) for one in left for other in others]
        for pair in pairs:
            if pair.right is not None and set(pair.left.arms) & set(pair.right.arms):
                raise ValueError(f"an arm cannot be compared with itself: {pair.label}")
        if len(set(pairs)) < len(pairs):
            raise ValueError(f"a contrast makes each comparison once; got {text!r}")
        return cls(text, tuple(pairs))


def _sides(text: str, arms: Collection[str]) -> Iterator[Side]:
    """Yield the sides that a text lists."""
    text = text.strip()
    if not text:
        return
    listed = re.fullmatch(r"\[(.*)\]", text)
    grouped = re.fullmatch(r"(\w+)\((.*)\)", text)
    if grouped and not listed:
        if grouped[1] not in ("best", "mean"):
            raise ValueError(f"arms are joined by best(...) or mean(...), got {grouped[1]}(...)")
        joined = tuple(_arms(grouped[2], arms))
        if len(set(joined)) < len(joined):
            raise ValueError(f"{grouped[1]}(...) names each arm once; got {text!r}")
        yield Side(joined, "best" if grouped[1] == "best" else "mean")
        return
    for arm in _arms(listed[1] if listed else text, arms):
        yield Side((arm,))


def _arms(text: str, known: Collection[str]) -> Iterator[str]:
    for part in text.split(","):
        name = part.strip().strip("\"'")
        if name not in known and not re.fullmatch(_NAME, name):
            raise ValueError(f"a contrast is made of names of arms, got {part.strip()!r}")
        _known("arm", name, known)
        yield name


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a hypothesis says of a difference.

    Args:
        text: as it was written.
        sign: 1 if the difference is expected above the margin, -1 if below.
        margin: that it is compared with.
    """

    text: str
    sign: Literal[1, -1]
    margin: float

    @classmethod
    def parse(cls, text: str) -> "Expectation":
        """Return the expectation of a text.

        Raises:
            ValueError: if it is none.
        """
        match = re.fullmatch(r"\s*(>=?|<=?)\s*([+-]?\d*\.?\d+(?:[eE][+-]?\d+)?)\s*", text)
        if match is None:
            raise ValueError(f'expect is a sign and a number, such as "> 0", or ">= -0.02" for no worse; got {text!r}')
        if not math.isfinite(float(match[2])):
            raise ValueError(f"the margin of expect must be finite, got {text!r}")
        return cls(text.strip(), 1 if match[1][0] == ">" else -1, float(match[2]))
