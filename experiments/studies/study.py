"""A study: its file, plans, trials, results, and judgements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from lifelong.envs.stream_file import is_stream_file
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.studies.judgement import Judgement, judge
from lifelong.experiments.studies.measurements import Measurements, measured
from lifelong.experiments.studies.plan import (
    Plan,
    equal_parameters,
    plan_arms,
    with_settings,
    with_shape,
    with_sizes,
)
from lifelong.experiments.studies.registration import Registration, check_seeds, read_registration, standing
from lifelong.experiments.studies.search import Candidate, Effort, Range, Rounds, effort, search
from lifelong.experiments.studies.store import Found, Store
from lifelong.experiments.studies.study_file import StudyFile, Tune, read_study_file
from lifelong.experiments.studies.trial import Trial, code_version, content_hash

__all__ = ["Choice", "Study", "Tuning"]

_OPEN = ("seed", "runs", "name", "resume", "overwrite")
"""Settings of a trial that are not the arm's."""


@dataclass(frozen=True)
class Choice:
    """One set of settings that tuning tries.

    Args:
        settings: in place of the arm's, by name.
        trials: of it, one for each tuning seed.
    """

    settings: dict[str, Any]
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class Tuning:
    """How far the tuning of an arm is.

    Args:
        choices: tried so far, and to be tried next.
        ended: whether all have been tried.
        chosen: the best settings; None before the end, or if none has the measure.
    """

    choices: tuple[Choice, ...]
    ended: bool
    chosen: dict[str, Any] | None


class Study:
    """A study, from its file and its folder.

    Args:
        file: of the study.
        folder: of its registration, runs and results; None is runs/studies/NAME.
    """

    def __init__(self, file: StudyFile, folder: Path | None = None) -> None:
        self.file = file
        self.folder = folder or Path("runs") / "studies" / file.name

    @classmethod
    def from_file(cls, path: Path | str, folder: Path | str | None = None, *, trust: bool = False) -> Self:
        """Return the study of a file.

        Args:
            path: of the file.
            folder: of its results; None is runs/studies/NAME.
            trust: whether it may name memories and environments that are neither registered nor of installed packages.

        Raises:
            UserError: if the file is wrong, or names such and is not trusted; with the line.
        """
        return cls(read_study_file(path, trust=trust), None if folder is None else Path(folder))

    @cached_property
    def plans(self) -> list[Plan]:
        """What each arm trains, and what it costs."""
        return plan_arms(self.file)

    @cached_property
    def store(self) -> Store:
        """Results so far."""
        return Store(self.folder, self.file.name, self.file.stream)

    @property
    def registration(self) -> Registration | None:
        """Its registration; None without one."""
        return read_registration(self.folder)

    @property
    def standing(self) -> str:
        """Why it is exploratory; empty if it is as registered."""
        return standing(self.file, self.registration, self.results())

    @property
    def begun(self) -> int:
        """How many trials have results or runs."""
        runs = self.folder / "runs"
        return max(len(self.store), sum(path.is_dir() for path in runs.iterdir()) if runs.is_dir() else 0)

    def tuning(self, plan: Plan, *, any_code: bool = False) -> Tuning:
        """Return how far the tuning of an arm is: what it has tried, what it tries next, what it chose.

        Args:
            plan: of the arm.
            any_code: whether results of other code count where there are none of this code.

        Raises:
            UserError: if the search needs a package that is missing.
        """
        rounds = self._search(plan)
        if rounds is None:
            return Tuning((), True, {} if self.file.tune is None else _only(_space(self.file.tune, plan)))
        choices: list[Choice] = []
        candidates = next(rounds)
        while True:
            tried = [self._choice(plan, candidate) for candidate in candidates]
            choices += tried
            scores = [self._score(choice, any_code) for choice in tried]
            known = [score for score in scores if score is not None]
            if len(known) < len(scores):
                return Tuning(tuple(choices), False, None)
            try:
                candidates = rounds.send(known)
            except StopIteration as end:
                return Tuning(tuple(choices), True, end.value)

    def tuning_effort(self, plan: Plan) -> Effort:
        """Return what the tuning of an arm costs, over all of its seeds."""
        rounds = self._search(plan)
        if rounds is None or self.file.tune is None:
            return Effort(0, 0.0)
        one, seeds = effort(rounds), len(self.file.tune.seeds)
        return Effort(one.candidates * seeds, one.trainings * seeds)

    def _search(self, plan: Plan) -> Rounds | None:
        """Return the rounds of an arm's tuning; None if there is nothing to choose."""
        tune = self.file.tune
        if tune is None:
            return None
        space = _space(tune, plan)
        return None if _only(space) is not None else search(tune.search, space)

    def _choice(self, plan: Plan, candidate: Candidate) -> Choice:
        tune = self.file.tune
        assert tune is not None  # noqa: S101  there are candidates
        steps = {} if candidate.share == 1.0 else {"steps": max(round((plan.config.steps or 0) * candidate.share), 1)}
        changed = self._changed(plan, steps | candidate.settings)
        return Choice(candidate.settings, tuple(self._trial(changed, seed, "tune") for seed in tune.seeds))

    def _score(self, choice: Choice, any_code: bool) -> float | None:
        """Return the mean over the tuning seeds, NaN where the measure has none; None while trials are missing."""
        tune = self.file.tune
        assert tune is not None  # noqa: S101  there are choices
        found = [self.store.get(trial, any_code=any_code) for trial in choice.trials]
        there = [one for one in found if one is not None]
        if len(there) < len(found):
            return None
        return float(np.mean([measured(self.store.rows(one), tune.by) for one in there]))

    def trials(self, plan: Plan, chosen: Mapping[str, Any]) -> list[Trial]:
        """Return the trials of an arm, one for each seed.

        Args:
            plan: of the arm.
            chosen: by tuning; nothing without.
        """
        changed = self._changed(plan, chosen)
        return [self._trial(changed, seed, "final") for seed in self.file.seeds]

    def results(self, *, any_code: bool = True) -> dict[str, dict[int, Found]]:
        """Return the results of every arm by seed, as far as they are there.

        Args:
            any_code: whether results of other code count where there are none of this code.
        """
        found: dict[str, dict[int, Found]] = {}
        for plan in self.plans:
            chosen = self.tuning(plan, any_code=any_code).chosen
            trials = [] if chosen is None else self.trials(plan, chosen)
            of_seed = {trial.seed: self.store.get(trial, any_code=any_code) for trial in trials}
            found[plan.arm.name] = {seed: one for seed, one in of_seed.items() if one is not None}
        return found

    def rows(self) -> dict[str, dict[int, Measurements]]:
        """Return the measurements of every arm by seed, as far as they are there."""
        return {
            arm: {seed: self.store.rows(one) for seed, one in of_seed.items()}
            for arm, of_seed in self.results().items()
        }

    def judge(self, *, partial: bool = False) -> list[Judgement]:
        """Return what the results say of each hypothesis.

        Args:
            partial: whether seeds may be missing.

        Raises:
            UserError: if seeds are missing, or fewer than were registered; says how many.
        """
        check_seeds(self.file, self.registration)
        rows = self.rows()
        if not partial:
            self.check_complete(rows)
        return judge(self.file, rows, standing(self.file, self.registration, rows))

    def check_complete(self, rows: Mapping[str, Mapping[int, Any]]) -> None:
        """Validate that all trials have results.

        Raises:
            UserError: if one is missing; says how many.
        """
        wanted = len(rows) * len(self.file.seeds)
        there = sum(map(len, rows.values()))
        if there < wanted:
            first = next(arm for arm, of_seed in rows.items() if len(of_seed) < len(self.file.seeds))
            raise UserError(
                f"study {self.file.name!r} has {there} of {wanted} trials ({first} has {len(rows[first])} of "
                f"{len(self.file.seeds)} seeds): lifelong study run {self.file.path} goes on, --partial takes what is "
                "there"
            )

    def tuned(self, plan: Plan, chosen: Mapping[str, Any]) -> Plan:
        """Return the plan of an arm with what tuning has chosen, and the sizes that it then has.

        Args:
            plan: of the arm.
            chosen: by tuning; nothing without.
        """
        return with_sizes(self._changed(plan, chosen)) if chosen else plan

    def _changed(self, plan: Plan, chosen: Mapping[str, Any]) -> Plan:
        """Return the plan of an arm with settings that tuning tries; its sizes are still those of the plan."""
        changes = {name: value for name, value in chosen.items() if name != "shape"}
        config = with_settings(self.file, plan, changes) if changes else plan.config
        if "shape" in chosen:
            config = with_shape(config, chosen["shape"])
            config = equal_parameters(config, self.file.size if plan.arm.size != "any" else None)
        return replace(plan, config=config)

    def _trial(self, plan: Plan, seed: int, purpose: str) -> Trial:
        settings = {name: value for name, value in plan.config.to_json().items() if name not in _OPEN}
        if is_stream_file(plan.config.stream):  # a machine of a cluster has another working directory
            settings["stream"] = str(Path(plan.config.stream).resolve())
        tests = [[test.name, test.by, test.settings] for test in self.file.tests]
        content = content_hash(plan.config, plan.plug_ins or {})
        return Trial(
            self.file.name,
            plan.arm.name,
            seed,
            settings,
            tests,
            str(self.folder.resolve()),
            purpose,
            content,
            code_version(),
            trust=self.file.trust,
        )


def _space(tune: Tune, plan: Plan) -> dict[str, Sequence[Any] | Range]:
    """Return the values that tuning tries in an arm, by setting."""
    space: dict[str, Sequence[Any] | Range] = dict(tune.settings)
    return space | ({"shape": plan.shapes} if plan.shapes else {})


def _only(space: Mapping[str, Sequence[Any] | Range]) -> dict[str, Any] | None:
    """Return the one candidate of a space, without the shape, which is the plan's; None if there are more."""
    if any(isinstance(values, Range) or len(values) > 1 for values in space.values()):
        return None
    return {name: values[0] for name, values in space.items() if name != "shape" and not isinstance(values, Range)}
