"""One trial of a study: train one agent with one seed, test it, and write one JSON file. A process of its own.

    python -P -m lifelong.experiments.studies.trial '{"study": "kept", "arm": "gru", "seed": 20, ...}'

A trial that was killed goes on: its training from the run's last checkpoint, its tests from those that are written.
`run_trial` is the whole of it, wherever it runs. A process that runs a trial also ends, at the next checkpoint, when
whoever started it is gone.
"""

import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console

from lifelong.agents.durable import writing
from lifelong.envs.stream_file import is_stream_file
from lifelong.experiments.runs.code_version import code_hash, git_hash
from lifelong.experiments.runs.config import TrainConfig, without_newer
from lifelong.experiments.runs.errors import UserError, known_errors
from lifelong.experiments.runs.facts import run_facts
from lifelong.experiments.runs.seeds import state_of
from lifelong.experiments.runs.trusted import check_trusted
from lifelong.experiments.studies.formula import TRAINING
from lifelong.experiments.studies.measurements import COLUMNS, measure_evaluation, measure_test, measure_training
from lifelong.experiments.studies.settings import test_config
from lifelong.experiments.studies.study_file import EVALUATION, Test
from lifelong.experiments.train import main as train

__all__ = ["Interrupted", "Result", "Trial", "code_version", "content_hash", "run_trial", "write_json"]

_MEASURED_BY = ("retention.py", "adaptation.py", "interference.py", "metrics", "studies/measurements.py")
"""Below `experiments/`: what measurements depend on beside the code that trains."""


@cache
def code_version() -> str:
    """Return a hash of the code that trains agents and of the code that measures them."""
    top = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256(code_hash().encode())
    for place in (top / name for name in _MEASURED_BY):
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(f"{path.relative_to(top).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()


class Interrupted(KeyboardInterrupt):
    """A signal ended a trial; it goes on from its last checkpoint."""


@dataclass(frozen=True, eq=False)
class Trial:
    """What is trained and tested.

    Args:
        study: name of the study.
        arm: name of the arm.
        seed: of weights, actions and lives.
        settings: of training, resolved, as JSON; without seed and names.
        tests: name, verb and settings of each test.
        folder: of the study.
        purpose: `final`, or `tune`.
        content: of a stream file, and of memories from elsewhere: a hash of what names alone do not tell.
        code: version of the code that trains and measures; a process of another version refuses the trial.
        training_code: hash of the code that trains.
        trust: whether the study may name memories and environments that are neither registered nor of installed
            packages.
    """

    study: str
    arm: str
    seed: int
    settings: dict[str, Any]
    tests: list[list[Any]]
    folder: str
    purpose: str = "final"
    content: str = ""
    code: str = field(default_factory=code_version)
    training_code: str = field(default_factory=code_hash)
    trust: bool = False

    @property
    def trained(self) -> str:
        """Hash of what is trained, by any code."""
        place = {"stream": Path(self.settings["stream"]).name} if is_stream_file(self.settings["stream"]) else {}
        return _hash([without_newer(self.settings) | place, self.seed, self.content])

    @property
    def asked(self) -> str:
        """Hash of what is trained and tested, by any code."""
        return _hash([self.trained, self.tests])

    @property
    def key(self) -> str:
        """Hash of what is trained and tested, and of the code."""
        return _hash([self.asked, self.code])

    @property
    def name(self) -> str:
        """Name of its run: what other settings or other code trained has another."""
        arm = "".join(c if c.isalnum() or c in "-_." else "-" for c in self.arm)
        tuned = "-tune" if self.purpose == "tune" else ""
        return f"{arm}{tuned}-seed{self.seed}-{_hash([self.trained, self.training_code])[:8]}"

    @property
    def run(self) -> Path:
        """Its run directory."""
        return Path(self.folder) / "runs" / self.name

    @property
    def result(self) -> Path:
        """File of its result."""
        return self.run / "study" / f"result-{self.key[:16]}.json"

    @property
    def config(self) -> TrainConfig:
        """Settings of its training."""
        config = TrainConfig.from_json(self.settings)
        return replace(config, seed=self.seed, runs=self.run.parent, name=self.name, trust=self.trust)

    @property
    def label(self) -> str:
        """How it is told of."""
        return f"{self.arm}, seed {self.seed}" + (" (tuning)" if self.purpose == "tune" else "")


@dataclass(frozen=True)
class Result:
    """What came of a trial.

    Args:
        rows: its measurements, columns by name.
        facts: where they come from: steps, seconds of training and of tests, git and code hash, versions, device,
            command.
    """

    rows: dict[str, list[Any]]
    facts: dict[str, Any] = field(default_factory=dict)


def content_hash(config: TrainConfig, plug_ins: Mapping[str, Any]) -> str:
    """Return a hash of a stream file's content and of memories that are not this package's; empty without both.

    Args:
        config: of the training.
        plug_ins: as `plug_in_memories` returns them.
    """
    parts = [str(found.get("sha256")) for _, found in sorted(plug_ins.items())]
    if is_stream_file(config.stream):
        parts.append(hashlib.sha256(Path(config.stream).read_bytes()).hexdigest())
    return " ".join(parts)


def run_trial(trial: Trial, console: Console | None = None) -> Result:
    """Train, test and return the result; what an earlier process has done already is kept.

    Args:
        trial: what to do.
        console: for progress; None for silence.

    Raises:
        Interrupted: if a signal ended it; the same call goes on.
        UserError: if the code is not the one that the trial is of, or it names code of others and is not trusted.
        Exception: whatever training and testing raise.
    """
    console = console or Console(quiet=True)
    if trial.code != code_version():
        raise UserError("the code has changed since the study was started: start it again")
    config = trial.config
    check_trusted(config, trial.label, trial.trust)
    state = state_of(config)
    if state != "finished":
        asked = TrainConfig(resume=trial.run, trust=trial.trust) if state == "interrupted" else config
        if not train(asked, console, tables=False).finished:
            raise Interrupted(f"{trial.label} was interrupted")
    rows: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    began = time.perf_counter()
    for name, by, settings in trial.tests:
        console.print(f"test {name}", highlight=False)
        for column, values in _tested(trial, Test(name, by, settings)).items():
            rows[column] += values
    testing = time.perf_counter() - began
    facts = run_facts(trial.run)
    origin = json.loads((trial.run / "config.json").read_text(encoding="utf-8"))["origin"]
    kept = ("git", "versions", "device", "threads", "machine")
    return Result(
        rows,
        {name: origin.get(name) for name in kept}
        | {"steps": facts["steps"], "seconds": round(facts["seconds"], 2), "tests_seconds": round(testing, 2)}
        | {"run": trial.name, "measured": git_hash()},
    )


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that the file is there whole or not at all."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
        temporary.replace(path)


def _tested(trial: Trial, test: Test) -> dict[str, list[Any]]:
    """Return the measurements of a test, from its file if it was done before."""
    path = trial.run / "study" / f"{test.name}-{_hash([test.by, test.settings, trial.code])[:16]}.json"
    if path.exists():
        found: dict[str, list[Any]] = json.loads(path.read_text(encoding="utf-8"))
        return found
    if test.name == EVALUATION:
        found = measure_evaluation(test.name, trial.run, trust=trial.trust)
    elif test.by == TRAINING:
        found = measure_training(test.name, trial.run, trust=trial.trust)
    else:
        config = test_config(test, trial.run, trial.seed, trial.config.stream)
        config = replace(config, threads=trial.config.threads or 1, trust=trial.trust)
        found = measure_test(test.name, config)
    write_json(path, found)
    return found


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _end_with_the_parent() -> None:
    """End this process as a signal would when its standard input closes: then whoever started it is gone."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def _main() -> int:
    trial = Trial(**json.loads(sys.argv[1]))
    _end_with_the_parent()
    try:
        write_json(trial.result, asdict(run_trial(trial, Console(stderr=True))))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except known_errors() as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
