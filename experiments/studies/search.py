"""Search for the settings of an arm: grid, random draws, tree-structured Parzen estimators; successive halving.

A search is a generator. It yields rounds of candidates, is sent a score for each of them, and returns the best. What it
yields depends on the scores alone, never on how many of a round are tried at a time, so that one core and a cluster
find the same.
"""

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Annotated, Any, Literal

import numpy as np

from lifelong.experiments.runs.errors import UserError
from lifelong.schema import Within

__all__ = ["Candidate", "Effort", "How", "Range", "Rounds", "Search", "effort", "search"]

How = Literal["grid", "random", "tpe"]
_TOGETHER = 8
"""Candidates of a round of `tpe`: each round learns from those before."""
_DRAWS = 100  # tries for a random candidate that was not drawn before


@dataclass(frozen=True)
class Range:
    """Values from one to another, both among them.

    Args:
        low: least; two integers make a range of integers.
        high: greatest.
        log: whether their logarithms are spread evenly, not they themselves.
    """

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether its values are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, share: float) -> float:
        """Return the value at a share of the range, 0 to 1, with four significant digits."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = low + share * (high - low)
        return self.rounded(math.exp(value) if self.log else value)

    def rounded(self, value: float) -> float:
        """Return a value of the range near a number."""
        return min(max(round(value) if self.whole else float(f"{value:.4g}"), self.low), self.high)


@dataclass(frozen=True)
class Search:
    """How settings are searched.

    Args:
        how: `grid`, all combinations of lists; `random`, draws from lists and ranges; `tpe`, draws that follow the best
            so far, by Optuna.
        samples: candidates of `random` and `tpe`.
        halving: with n all are trained for few of the steps first, the best 1/n of them for n times as many, and so on;
            0 trains every candidate for all steps.

    Source:
        TPE: Bergstra et al. 2011, Algorithms for Hyper-Parameter Optimization. Successive halving: Jamieson and
        Talwalkar 2016, https://arxiv.org/abs/1502.07943.
    """

    how: How = "grid"
    samples: Annotated[int, Within(0)] = 0
    halving: Annotated[int, Within(0)] = 0

    @property
    def words(self) -> str:
        """How it searches, in words; empty for a grid whose candidates are all trained for all steps."""
        parts = [] if self.how == "grid" else [f"{self.how}, {self.samples} candidates"]
        return ", ".join(parts + ([f"halving by {self.halving}"] if self.halving else []))


@dataclass(frozen=True)
class Candidate:
    """Settings to try.

    Args:
        settings: by name.
        share: of the steps of training.
    """

    settings: dict[str, Any]
    share: float = 1.0


Rounds = Generator[list[Candidate], Sequence[float], dict[str, Any] | None]
"""Yields candidates, is sent their scores, returns the best settings; None if no score is a number."""


def search(how: Search, space: Mapping[str, Sequence[Any] | Range]) -> Rounds:
    """Return the rounds of a search.

    Args:
        how: to search.
        space: values to try by setting, a list or a range.

    Raises:
        UserError: if Optuna is needed and missing.
    """
    if how.how == "tpe":
        return _tpe(how.samples, space)
    found = _grid(space) if how.how == "grid" else list(islice(_random(space), how.samples))
    return _halved(found, how.halving)


@dataclass(frozen=True)
class Effort:
    """What a search costs.

    Args:
        candidates: that are tried.
        trainings: of all steps that they amount to; halving trains most of them for few.
    """

    candidates: int
    trainings: float


def effort(rounds: Rounds) -> Effort:
    """Return what a search costs, whatever the scores."""
    shares: list[float] = []
    tried = next(rounds)
    while True:
        shares += [candidate.share for candidate in tried]
        try:
            tried = rounds.send([0.0] * len(tried))
        except StopIteration:
            return Effort(len(shares), sum(shares))


def _grid(space: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(space, values, strict=True)) for values in product(*space.values())]


def _random(space: Mapping[str, Sequence[Any] | Range]) -> Iterator[dict[str, Any]]:
    """Yield draws that differ, as long as there are such."""
    rng = np.random.default_rng(0)  # the same for every arm
    drawn: list[dict[str, Any]] = []
    while True:
        for _ in range(_DRAWS):
            one = {name: _drawn(values, rng) for name, values in space.items()}
            if one not in drawn:
                break
        else:
            return
        drawn.append(one)
        yield one


def _drawn(values: Sequence[Any] | Range, rng: np.random.Generator) -> Any:
    return values.at(rng.random()) if isinstance(values, Range) else values[int(rng.integers(len(values)))]


def _first_share(candidates: int, halving: int) -> float:
    share = 1.0
    while halving and candidates > halving:
        candidates, share = math.ceil(candidates / halving), share / halving
    return share


def _halved(settings: list[dict[str, Any]], halving: int) -> Rounds:
    """Try all; with halving, the best for more steps until so few are left that they are trained for all."""
    while True:
        share = _first_share(len(settings), halving)
        scores = yield [Candidate(one, share) for one in settings]
        ranked = sorted(
            range(len(settings)), key=lambda i: -_or_least(scores[i])
        )  # the first of equal ones stays first
        if share == 1.0:
            return settings[ranked[0]] if math.isfinite(_or_least(scores[ranked[0]])) else None
        settings = [settings[i] for i in sorted(ranked[: math.ceil(len(settings) / halving)])]


def _tpe(samples: int, space: Mapping[str, Sequence[Any] | Range]) -> Rounds:
    """Try what tree-structured Parzen estimators of good and bad settings propose."""
    try:
        import optuna
    except ImportError as error:
        raise UserError("search = \"tpe\" needs Optuna: pip install 'lifelong-rl[search]'") from error
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions: dict[str, Any] = {}
    for name, values in space.items():
        if isinstance(values, Range):
            low, high, log = values.low, values.high, values.log
            distributions[name] = (
                IntDistribution(int(low), int(high), log) if values.whole else FloatDistribution(low, high, log)
            )
        else:
            distributions[name] = CategoricalDistribution(range(len(values)))  # values may be lists or tables
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    best, most = None, -math.inf
    while samples > 0:
        asked = [study.ask(distributions) for _ in range(min(_TOGETHER, samples))]
        samples -= len(asked)
        found = [{name: _valued(space[name], value) for name, value in one.params.items()} for one in asked]
        scores = yield [Candidate(settings) for settings in found]
        for one, settings, score in zip(asked, found, scores, strict=True):
            if not math.isfinite(score):
                study.tell(one, state=TrialState.FAIL)
                continue
            study.tell(one, score)
            if score > most:
                best, most = settings, score
    return best


def _valued(values: Sequence[Any] | Range, proposed: Any) -> Any:
    return values.rounded(proposed) if isinstance(values, Range) else values[proposed]


def _or_least(score: float) -> float:
    return score if math.isfinite(score) else -math.inf
