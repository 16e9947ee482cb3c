"""A study is run trial by trial: what is there is kept, what fails is told, what is interrupted goes on."""

import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lifelong.experiments.runs.episodes import read_episodes
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.studies import ray_cluster, running, study as studies, trial as trials
from lifelong.experiments.studies.measurements import measured
from lifelong.experiments.studies.page import check_report, write_report
from lifelong.experiments.studies.processes import Failed, lived, log_of, run_in_processes
from lifelong.experiments.studies.running import duration, run_study
from lifelong.experiments.studies.search import Effort
from lifelong.experiments.studies.trial import Interrupted, Trial, run_trial

from .conftest import result

TUNE = "seeds = ", 'tune = {lr = [1e-3, 2e-3], seeds = [8, 9], by = "area(rho1, far, 2:7)"}\nseeds = '


class Machine:
    """Runs trials by making their results up: better with lr = 2e-3, and better for gated_delta."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ran: list[str] = []
        self.broken: set[str] = set()
        self.interrupts: set[str] = set()
        monkeypatch.setattr(running, "run_in_processes", self.run)

    def run(self, trials: Sequence[Trial], workers: int, watch: Any) -> Iterator[tuple[Trial, Any]]:
        for trial in trials:
            if trial.label in self.interrupts:
                raise KeyboardInterrupt
            self.ran.append(trial.label)
            watch([trial])
            level = 0.5 + 0.2 * (trial.config.learning.lr == 2e-3) + 0.1 * (trial.arm == "gated_delta")
            yield trial, Failed("exit code 1: broken") if trial.label in self.broken else result(trial, level)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def told(study: Any, **settings: Any) -> tuple[int, str]:
    text = io.StringIO()
    return run_study(study, Console(file=text, width=200), **settings), text.getvalue()


def test_trials_run_seed_by_seed_and_finished_ones_are_kept(made: Any, machine: Machine) -> None:
    machine.broken = {"gru, seed 1"}
    failed, said = told(made())
    assert failed == 1
    assert machine.ran == [f"{arm}, seed {seed}" for seed in range(3) for arm in ("gated_delta", "gru")]
    assert "6 trials, 0 of them finished before" in said
    assert "gru, seed 1: failed: exit code 1: broken (see " in said
    assert "gated_delta, seed 0: 160 steps in 4 s  " in said
    assert "1 trials failed; the same command tries them again" in said
    machine.ran.clear()
    machine.broken = set()
    assert told(made())[0] == 0
    assert machine.ran == ["gru, seed 1"]
    assert told(made())[1].count("6 of them finished before") == 1


def test_the_time_left_counts_training_and_tests(made: Any, machine: Machine) -> None:
    said = told(made(), workers=1)[1]
    assert "1/6  gated_delta, seed 0: 160 steps in 4 s  30 s left" in said  # five trials of 4 and 2 seconds
    assert "3/6  gated_delta, seed 1: 160 steps in 4 s  18 s left" in said


def test_an_interrupted_study_says_how_it_goes_on(made: Any, machine: Machine) -> None:
    machine.interrupts = {"gru, seed 0"}
    with pytest.raises(KeyboardInterrupt, match="interrupted with 1 of 6 trials finished; the same command goes on"):
        told(made())
    machine.interrupts = set()
    machine.ran.clear()
    assert told(made())[0] == 0
    assert len(machine.ran) == 5


def test_other_code_runs_trials_again_unless_it_is_told_not_to(
    made: Any, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(made())
    machine.ran.clear()
    monkeypatch.setattr(studies, "code_version", lambda: "another")
    assert "6 of them finished before" in told(made(), any_code=True)[1]
    assert not machine.ran
    assert "6 are run again, since the code has changed; --any-code keeps their results" in told(made())[1]
    assert len(machine.ran) == 6


def test_the_best_of_what_is_tuned_is_run(made: Any, machine: Machine, tmp_path: Path) -> None:
    study = made(TUNE)
    failed, said = told(study)
    assert failed == 0
    assert machine.ran[:8].count("gru, seed 8 (tuning)") == 2
    assert len(machine.ran) == 8 + 6
    assert "gated_delta: tuned to lr 0.002" in said
    assert study.tuning(study.plans[0]).chosen == {"lr": 2e-3}
    assert {one.facts["steps"] for of_seed in study.results().values() for one in of_seed.values()} == {160}
    (trial, *_) = study.trials(study.plans[0], {"lr": 2e-3})
    assert trial.config.learning.lr == 2e-3
    assert not trial.name.count("tune")
    page = tmp_path / "report" / "README.md"
    write_report(study, page.parent)
    assert "Tuned on seeds 8, 9, by area(rho1, far, 2:7):" in page.read_text()
    assert "- gated_delta: lr 0.002 (lr at an edge of what was tried)" in page.read_text()
    assert check_report(page.parent) > 100


def test_halving_trains_for_few_steps_first(made: Any, machine: Machine, tmp_path: Path) -> None:
    study = made(
        ("seeds = ", 'tune = {lr = {from = 1e-3, to = 4e-3}, search = "random", samples = 4, halving = 2, seeds = [8], '
         'by = "return(far)"}\nseeds = '),
    )  # fmt: skip
    (delta, _) = study.plans
    assert study.tuning_effort(delta) == Effort(4 + 2, 4 / 2 + 2)
    tuning = study.tuning(delta)
    assert not tuning.ended
    assert [choice.trials[0].config.steps for choice in tuning.choices] == [80] * 4
    failed, said = told(study)
    assert failed == 0
    assert len(machine.ran) == 2 * (4 + 2) + 2 * 3
    tuning = study.tuning(delta)
    assert tuning.ended
    assert [choice.trials[0].config.steps for choice in tuning.choices] == [80] * 4 + [160] * 2
    chosen = tuning.choices[-2].settings  # results are made up: all of an arm are equal, and the first is taken
    assert tuning.chosen == chosen
    assert f"gated_delta: tuned to lr {chosen['lr']}" in said
    assert {one.config.learning.lr for one in study.trials(delta, chosen)} == {chosen["lr"]}
    machine.ran.clear()
    assert "12 tuning trials finished" in told(study)[1]
    assert not machine.ran
    page = tmp_path / "report" / "README.md"
    write_report(study, page.parent)
    assert "Tuned on seeds 8, by return(far) (random, 4 candidates, halving by 2):" in page.read_text()
    check_report(page.parent)


def test_tpe_goes_on_round_by_round(made: Any, machine: Machine) -> None:
    pytest.importorskip("optuna")
    tune = 'tune = {lr = {from = 1e-3, to = 4e-3}, search = "tpe", samples = 10, seeds = [8], by = "return(far)"}\n'
    study = made(("seeds = ", tune + "seeds = "))
    machine.interrupts = {"gru, seed 8 (tuning)"}
    with pytest.raises(KeyboardInterrupt, match="interrupted with 8 of 16 tuning trials finished"):
        told(study)
    machine.interrupts = set()
    assert told(made(("seeds = ", tune + "seeds = ")))[0] == 0
    assert len(machine.ran) == 2 * 10 + 2 * 3
    assert study.tuning_effort(study.plans[0]) == Effort(10, 10)


def test_one_process_runs_a_study_at_a_time(made: Any, machine: Machine) -> None:
    study = made()
    study.folder.mkdir()
    with running.RunLock(study.folder), pytest.raises(UserError, match="is in use by process"):
        told(made())


@pytest.mark.parametrize(("seconds", "said"), [(41.4, "41 s"), (720, "12 min"), (12_240, "3.4 h")])
def test_durations_in_words(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_the_process_of_a_trial_that_breaks_leaves_its_last_line(made: Any) -> None:
    study = made()
    (trial, *_) = study.trials(study.plans[0], {})
    ((_, said),) = run_in_processes([replace(trial, code="of yesterday")], 1)
    assert said == "exit code 1: the code has changed since the study was started: start it again"
    assert not trial.run.exists()


def test_steps_of_a_running_trial_are_read_from_its_log(made: Any) -> None:
    study = made()
    (trial, *_) = study.trials(study.plans[0], {})
    assert lived(trial) == 0
    log_of(trial).parent.mkdir(parents=True)
    log_of(trial).write_text("goes on\n1,024 of 51,200 steps · 900 steps/s\n25,600 of 51,200 steps · 900 steps/s\n")
    assert lived(trial) == 25_600


class LostError(Exception):
    """A worker was lost."""


class GoneError(Exception):
    """The cluster is gone."""


class TaskError(Exception):
    """A task raised."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class FakeRay:
    """As much of Ray as is used: tasks run when they are waited for, and workers are lost on order."""

    exceptions = SimpleNamespace(
        WorkerCrashedError=LostError, NodeDiedError=LostError, OutOfMemoryError=LostError, ObjectLostError=LostError,
        TaskCancelledError=LostError,
        RayTaskError=TaskError, RaySystemError=GoneError, LocalRayletDiedError=GoneError, RpcError=GoneError,
    )  # fmt: skip

    def __init__(self, errors: list[BaseException | None]) -> None:
        self.errors, self.address, self.tasks = errors, "", 0

    def init(self, *, address: str, **_: Any) -> None:
        if address == "nowhere":
            raise ConnectionError("Could not find any running Ray instance.")
        self.address = address

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def is_initialized(self) -> bool:
        return True

    def remote(self, **_: Any) -> Any:
        def submit(text: str) -> str:
            self.tasks += 1
            return f"{self.tasks} {text}"

        return lambda function: SimpleNamespace(remote=submit)

    def wait(self, waiting: list[str], **_: Any) -> tuple[list[str], list[str]]:
        return waiting[:1], waiting[1:]

    def get(self, one: str) -> str:
        error = self.errors.pop(0) if self.errors else None
        if isinstance(error, Interrupted):
            return ""
        if error is not None:
            raise error
        trial = Trial(**json.loads(one.partition(" ")[2]))
        return json.dumps(asdict(result(trial, 0.5)))

    def cancel(self, one: str) -> None:
        pass


def on_ray(study: Any, monkeypatch: pytest.MonkeyPatch, *errors: BaseException | None) -> tuple[int, str]:
    monkeypatch.setitem(sys.modules, "ray", FakeRay(list(errors)))
    return told(study, ray="auto")


def test_on_a_cluster_lost_trials_are_tried_again(made: Any, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    study = made()
    failed, said = on_ray(study, monkeypatch, None, LostError(), Interrupted("ended"), TaskError(UserError("no")))
    assert failed == 1
    assert "failed: no (see" in said
    assert not machine.ran
    assert len(study.store) == 5
    assert on_ray(made(), monkeypatch)[0] == 0
    local = made()
    told(local)
    assert not machine.ran, "results of a cluster are those of this machine"


def test_a_cluster_that_vanishes_loses_nothing(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    study = made()
    with pytest.raises(
        UserError, match="the Ray cluster is gone with 5 trials unfinished: far away; what has ended is kept"
    ):
        on_ray(study, monkeypatch, None, GoneError("far away"))
    assert len(made().store) == 1


def test_a_missing_ray_and_a_missing_cluster_are_told(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"--ray auto needs Ray: pip install 'lifelong-rl\[ray\]'"):
        told(made(), ray="auto")
    monkeypatch.setitem(sys.modules, "ray", FakeRay([]))
    with pytest.raises(UserError, match="no Ray cluster at 'nowhere': Could not find"):
        told(made(), ray="nowhere")
    assert not made().folder.exists()


def test_a_trial_is_trained_once_and_tested_once(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    study = made()
    (trial, *_) = study.trials(study.plans[0], {})
    trained, tested = [], []
    train, measure = trials.train, trials.measure_test
    monkeypatch.setattr(
        trials, "train", lambda config, *given, **more: trained.append(1) or train(config, *given, **more)
    )
    monkeypatch.setattr(trials, "measure_test", lambda *given: tested.append(1) or measure(*given))
    first = run_trial(trial)
    assert first.facts["steps"] == 160
    assert set(first.rows["test"]) == {"evaluation", "far"}
    assert {"rho", "rho1", "return", "known", "index"} == set(first.rows["quantity"])
    again = json.loads(ray_cluster.run_trial_json(json.dumps(asdict(trial))))
    assert str(again["rows"]) == str(first.rows)
    assert (trained, tested) == ([1], [1])
    assert trial.result.exists()


def test_a_training_is_measured_by_its_own_rows(made: Any, tmp_path: Path) -> None:
    study = made(
        ("times = 2", 'by = "training"'),
        (
            "life_episodes = 8",
            "life_episodes = 0, schedule = \"cyclic:4\", evaluate_every = '64', evaluate_mode = 'sandbox'",
        ),
        ("area(rho1, far, 2:7)", "area(visit, far, 2:2) - area(visit, far, 1:1) + final_average(far)"),
    )
    (trial, *_) = study.trials(study.plans[0], {})
    found = run_trial(trial)
    rows = read_episodes(trial.run, ["train"])
    mine = [k for k, test in enumerate(found.rows["test"]) if test == "far"]
    curve = {found.rows["first"][k]: found.rows["value"][k] for k in mine if found.rows["quantity"][k] == "visit"}
    assert set(curve) == set((rows["visit"] + 1).tolist())
    assert len(curve) > 2
    for visit, score in curve.items():  # episodes of cues are one step
        stays = [(rows["task"] == task) & (rows["visit"] == visit - 1) for task in range(3)]
        by_hand = np.mean([rows["normalised"][stay].mean() for stay in stays if stay.any()])
        assert score == pytest.approx(by_hand, abs=1e-6)
    assert max(curve.values()) > min(curve.values())
    (final,) = (found.rows["value"][k] for k in mine if found.rows["quantity"][k] == "final_average")
    assert -1 < final <= 1
    (one,) = study.file.hypotheses
    assert measured(found.rows, one.measure) == pytest.approx(curve[2] - curve[1] + final)
    for plan in study.plans:
        for each in study.trials(plan, {}):
            study.store.add(each, found)
    folder = tmp_path / "page"
    write_report(study, folder)
    text = (folder / "README.md").read_text()
    assert "The training itself" in text
    assert "mean score over the steps of a visit to a task, by the number of the visit" in text
    assert check_report(folder) > 20


def test_what_something_else_leaves_is_measured_in_a_study(made: Any) -> None:
    study = made(
        ("times = 2", "by = 'interference'\nmost = 16\nlives = 16\nbefore = 12\ndisturbed_by = 'cued-recall'"),
        ("area(rho1, far, 2:7)", "area(left, far, 16:16) - area(left, far, 0:0) + area(loss, far, 16:16)"),
    )
    (trial, *_) = study.trials(study.plans[0], {})
    found = run_trial(trial)
    mine = [k for k, test in enumerate(found.rows["test"]) if test == "far"]
    assert [(found.rows["quantity"][k], found.rows["first"][k]) for k in mine] == [
        ("left", 0), ("left", 16), ("loss", 0), ("loss", 16),
    ]  # fmt: skip
    (one,) = study.file.hypotheses
    assert measured(found.rows, one.measure) == pytest.approx(0, abs=1e-6)  # loss is rho(0) - rho(n)
    assert (trial.run / "report").is_dir()


def test_a_process_of_other_code_refuses_a_trial(made: Any) -> None:
    study = made()
    (trial, *_) = study.trials(study.plans[0], {})
    with pytest.raises(UserError, match="the code has changed since the study was started"):
        run_trial(Trial(**asdict(trial) | {"code": "of yesterday"}))
    assert not trial.run.exists()
