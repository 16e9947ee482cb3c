"""Settings of trainings and tests from the flat tables of a study file: each name is found where it belongs.

A name is a setting of `lifelong train` (or of the verb that tests), of PPO, of the stream, or of the memory, in this
order; lists and tables of TOML take the place of words.
"""

import inspect
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from lifelong.agents.ppo_config import PPOConfig
from lifelong.envs.registry import find_stream
from lifelong.envs.stream_file import is_stream_file, read_stream_file
from lifelong.experiments.adaptation import AdaptationConfig
from lifelong.experiments.associative_recall.equal_size import memory_settings
from lifelong.experiments.interference import InterferenceConfig
from lifelong.experiments.retention import RetentionConfig
from lifelong.experiments.runs.config import PPOOverrides, TrainConfig
from lifelong.experiments.runs.errors import UserError, as_user_error
from lifelong.experiments.studies.formula import TRAINING
from lifelong.experiments.studies.study_file import Arm, Place, StudyFile, Test
from lifelong.registry import load, unknown
from lifelong.schema import read_value, shown

__all__ = ["TESTS", "check_test", "test_config", "train_config"]

TestConfig = RetentionConfig | AdaptationConfig | InterferenceConfig
TESTS: dict[str, type[TestConfig]] = {
    "retention": RetentionConfig,
    "adaptation": AdaptationConfig,
    "interference": InterferenceConfig,
}
"""Settings of what tests an agent, by verb."""
_DISTURBANCE = {"disturbed_by": "by", "disturbed_by_options": "by_options"}
"""Settings of `lifelong interference` whose own names are taken: `by` of a test is its verb."""

_OF_THE_STUDY = {"seed", "name", "runs", "resume", "overwrite", "new_episodes", "trust", "ppo"}
"""Settings of training that a study gives itself."""
_OF_THE_TRIAL = {"run", "seed", "threads", "env_workers", "device", "trust"}
"""Settings of a test that a trial gives itself."""
_PPO = {field.name for field in fields(PPOConfig)}

Given = tuple[str, Any, Place]
"""Name and value of a setting, and where it stands."""


def train_config(file: StudyFile, arm: Arm, changes: Mapping[str, Any] | None = None) -> TrainConfig:
    """Return the settings of an arm's trainings, seed and names left open.

    Args:
        file: of the study.
        arm: of it.
        changes: settings that win over the arm's, such as those that are tuned.

    Raises:
        UserError: if a setting is unknown, or has a wrong type or value; with the line.
    """
    given: list[Given] = [(name, value, ("train", name)) for name, value in file.train.items()]
    given += [(name, value, (*arm.place, name)) for name, value in arm.settings.items()]
    given += [(name, value, ("tune", name)) for name, value in (changes or {}).items()]
    said = {name: value for name, value, _ in given}
    stream = said.get("stream", file.stream)
    with _at(file, (*arm.place, "stream") if "stream" in arm.settings else ("stream",), str(stream)):
        of_stream = _stream_settings(str(stream))
    memory = str(said.get("memory", TrainConfig.memory))
    with _at(file, (*arm.place, "memory") if "memory" in arm.settings or "memory" not in said else ("train",), memory):
        of_memory = memory_settings(memory)
    hints, ppo_hints = (get_type_hints(kind, include_extras=True) for kind in (TrainConfig, PPOOverrides))
    own = {field.name for field in fields(TrainConfig)} - _OF_THE_STUDY
    plain: dict[str, Any] = {"stream": stream, "paired_weights": True, "trust": file.trust}
    plain["processes"] = 1  # trials share the cores
    learning: dict[str, Any] = {}
    words: dict[str, dict[str, Any]] = {"stream_options": {}, "memory_options": {}, "env_kwargs": {}}
    for name, value, place in given:
        with _at(file, place, name):
            if name in words:
                words[name] |= _table(name, value)
            elif name in own:
                plain[name] = _typed(name, value, hints[name])
            elif name in _PPO:
                learning[name] = _typed(name, value, ppo_hints[name])
            elif name in of_stream:
                words["stream_options"][name] = value
            elif name in of_memory:
                words["memory_options"][name] = value
            else:
                _refuse(name, {*own, *_PPO}, of_stream, of_memory)
    with _at(file, arm.place, arm.name):
        plain |= {name: tuple(_words(table)) for name, table in words.items() if table}
        return TrainConfig(**plain, ppo=PPOOverrides(**learning))


def test_config(test: Test, run: Path, seed: int, stream: str) -> TestConfig:
    """Return the settings of a test of one run.

    Args:
        test: of the study.
        run: directory of the run.
        seed: of the lives.
        stream: of the run.

    Raises:
        UserError: if a setting is unknown, or has a wrong type or value.
    """
    plain, words = _test_settings(test, stream)
    settings: dict[str, Any] = {"seed": seed} | plain
    return TESTS[test.by](run, **settings, stream_options=words)


test_config.__test__ = False  # type: ignore[attr-defined]  # no test of pytest


def _test_settings(test: Test, stream: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the settings of a test's verb, and those of the stream as words."""
    kind = TESTS[test.by]
    hints = get_type_hints(kind, include_extras=True)
    own = {field.name for field in fields(kind)} - _OF_THE_TRIAL
    of_stream = _stream_settings(stream)
    plain: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for given, value in test.settings.items():
        name = _DISTURBANCE.get(given, given) if test.by == "interference" else given
        if name == "stream_options":
            options |= _table(name, value)
        elif name in own:
            plain[name] = _typed(name, value, hints[name])
        elif name in of_stream:
            options[name] = value
        else:
            _refuse(given, {*own, *_DISTURBANCE} if test.by == "interference" else own, of_stream, ())
    return plain, tuple(_words(options))


def check_test(file: StudyFile, test: Test, stream: str) -> None:
    """Check the settings of a test.

    Raises:
        UserError: if one is unknown, or has a wrong type or value; with the line.
    """
    for name in test.settings:
        with _at(file, (*test.place, name), name):
            if test.by == TRAINING:
                raise UserError(f"a test by training measures the rows that it left and has no settings, got {name}")
            _test_settings(replace(test, settings={name: test.settings[name]}), stream)
    if test.by == TRAINING:
        return
    with _at(file, test.place, test.name):
        test_config(test, Path("run"), 0, stream)


def _stream_settings(stream: str) -> set[str]:
    """Return the names of a stream's settings that have no flag of their own."""
    if is_stream_file(stream):
        with as_user_error():
            stream = read_stream_file(stream, trust=True).stream or "gym:"  # nothing else of it is used here
    with as_user_error():
        target = "lifelong.envs.gym_stream:GymStream" if stream.startswith("gym:") else find_stream(stream).target
        names = set(inspect.signature(load("stream", target)).parameters)
    return (names | {"drifts", "drift_schedule"}) - {"self", "num_envs", "seed", "tasks", "env_workers"}


def _refuse(name: str, own: Collection[str], of_stream: Collection[str], of_memory: Collection[str]) -> None:
    if name in _OF_THE_STUDY | _OF_THE_TRIAL:
        raise UserError(f"{name} is the study's own and cannot be set here")
    known = {*own, *of_stream, *of_memory} - {"**"}
    raise UserError(f"no setting {shown(name)}{unknown(name, known)}")


class _at:  # noqa: N801  used as a function
    """Put file and line before the message of a user error."""

    def __init__(self, file: StudyFile, place: Place, word: str) -> None:
        self.file, self.place, self.word = file, place, word

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UserError) and not str(error).startswith(f"{self.file.path}:"):
            raise self.file.error(self.place, str(error), self.word) from error


def _typed(name: str, value: Any, hint: Any) -> Any:
    """Return a value of a setting as its type has it.

    Raises:
        UserError: if it cannot be meant.
    """
    number = name in ("checkpoint_every", "evaluate_every") and type(value) is int
    with as_user_error():
        return read_value(name, str(value) if number else value, hint)


def _table(name: str, value: Any) -> dict[str, Any]:
    """Return a table of settings, from a table or a list of name=value words."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, list) and all(isinstance(word, str) and "=" in word for word in value):
        return {word.partition("=")[0]: word.partition("=")[2] for word in value}
    raise UserError(f"{name} must be a table of settings, got {shown(value)}")


def _words(table: Mapping[str, Any]) -> Iterator[str]:
    for name, value in table.items():
        yield f"{name}={value if isinstance(value, str) else json.dumps(value)}"
