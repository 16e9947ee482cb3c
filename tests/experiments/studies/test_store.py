"""Results are found by what was asked and by which code, and survive a killed writer."""

import json
from dataclasses import replace
from typing import Any

import pytest

from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.studies.registration import check_seeds, read_registration, register, standing
from lifelong.experiments.studies.store import Store
from lifelong.experiments.studies.study import Study

from .conftest import result


def first_trial(study: Study) -> Any:
    return study.trials(study.plans[0], {})[0]


def test_a_result_is_found_again(made: Any) -> None:
    study = made()
    trial = first_trial(study)
    assert study.store.get(trial) is None
    study.store.add(trial, result(trial, 0.5))
    store = Store(study.folder, "kept", "cued-recall")
    found = store.get(trial)
    assert found is not None
    assert (found.arm, found.seed, found.facts["steps"]) == ("gated_delta", 0, 160)
    assert str(store.rows(found)) == str(result(trial, 0.5).rows)  # NaN is not NaN
    other = replace(trial, code="of another day")
    assert store.get(other) is None
    assert store.get(other, any_code=True) == found
    assert store.get(replace(trial, settings=trial.settings | {"steps": 161}), any_code=True) is None
    assert store.get(replace(trial, seed=1), any_code=True) is None


@pytest.mark.parametrize(("name", "before", "now"), [("packnet", 0, 5), ("normalize_reward", "off", "on")])
def test_what_was_trained_before_a_setting_is_what_is_trained_without_it(
    made: Any, name: str, before: Any, now: Any
) -> None:
    study = made()
    trial = first_trial(study)
    settings = {**trial.settings, "heads": "one", "ppo": {**trial.settings["ppo"], name: before}}
    older = {**trial.settings, "ppo": {key: x for key, x in settings["ppo"].items() if key != name}}
    del older["heads"]
    found = study.store.add(replace(trial, settings=older, code="older"), result(trial, 0.5))
    for entry, other in (("heads", "task"), ("ppo", {**settings["ppo"], name: now})):
        assert study.store.get(replace(trial, settings=settings), any_code=True) == found
        assert study.store.get(replace(trial, settings=settings | {entry: other}), any_code=True) is None


def test_other_tests_do_not_train_again(made: Any) -> None:
    trial = first_trial(made())
    more = replace(trial, tests=[*trial.tests, ["near", "retention", {"times": 1}]])
    assert more.run == trial.run
    assert more.key != trial.key
    assert replace(trial, training_code="other").run != trial.run


def test_a_line_that_was_cut_off_is_dropped(made: Any) -> None:
    study = made()
    trial = first_trial(study)
    study.store.add(trial, result(trial, 0.5))
    with study.store.index.open("a") as file:
        file.write('{"key": "ha')
    store = Store(study.folder, "kept", "cued-recall")
    assert len(store) == 1
    assert store.index.read_text().endswith("}\n")


def test_an_index_whose_head_was_cut_off_begins_anew(made: Any) -> None:
    study = made()
    trial = first_trial(study)
    study.store.folder.mkdir(parents=True)
    study.store.index.write_text('{"study": "ke')
    store = Store(study.folder, "kept", "cued-recall")
    assert len(store) == 0
    store.add(trial, result(trial, 0.5))
    assert len(Store(study.folder, "kept", "cued-recall")) == 1


def test_a_result_whose_rows_are_lost_counts_as_none(made: Any) -> None:
    study = made()
    trial = first_trial(study)
    found = study.store.add(trial, result(trial, 0.5))
    (study.store.folder / f"{found.key}.parquet").unlink()
    store = Store(study.folder, "kept", "cued-recall")
    assert store.get(trial, any_code=True) is None
    store.add(trial, result(trial, 0.5))
    assert Store(study.folder, "kept", "cued-recall").get(trial) is not None


def test_results_of_another_study_are_refused(made: Any) -> None:
    study = made()
    trial = first_trial(study)
    study.store.add(trial, result(trial, 0.5))
    with pytest.raises(UserError, match="has results of the study 'kept' on cued-recall, not of 'lost' on cued-recall"):
        _ = made(name="lost").store
    index = study.store.index
    index.write_text(index.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(UserError, match="has format 9, this version reads up to 1"):
        Store(study.folder, "kept", "cued-recall")
    for damaged in (b"no index\n", b"\xff\n"):
        index.write_bytes(damaged)
        with pytest.raises(UserError, match=r"index\.jsonl is no index of a study"):
            Store(study.folder, "kept", "cued-recall")


def test_a_registration_comes_before_the_first_trial(made: Any) -> None:
    study = made()
    assert standing(study.file, None, {}) == "exploratory: it was not registered"
    found, new = register(study.file, study.folder, 0)
    assert new
    assert found.sha256 == study.file.sha256
    whole = {"gated_delta": (0, 1, 2), "gru": (0, 1, 2)}
    for seeds in ({}, whole):
        assert standing(study.file, read_registration(study.folder), seeds) == ""
    assert standing(study.file, found, whole | {"gru": (0, 2)}) == (
        "exploratory: of 3 seeds that were registered 2 have all arms so far"
    )
    assert register(study.file, study.folder, 3) == (found, False)  # the same file
    changed = made(('expect = "> 0"', 'expect = "> 0.1"'))
    assert standing(changed.file, found, whole) == (
        f"exploratory: its file was changed after its registration on {found.date[:10]} (hypothesis)"
    )
    with pytest.raises(UserError, match="was registered as another file, and 3 of its trials have begun"):
        register(changed.file, changed.folder, 3)
    assert register(changed.file, changed.folder, 0)[1]  # nothing was run
    (before,) = study.folder.glob("registered-*.json")
    assert json.loads(before.read_text())["sha256"] == found.sha256
    other = made(name="lost")
    with pytest.raises(
        UserError, match=r"registered\.json is of the study 'kept', not of 'lost': take another --output"
    ):
        register(other.file, other.folder, 0)


def test_a_study_that_has_begun_cannot_be_registered(made: Any) -> None:
    study = made()
    with pytest.raises(UserError, match="study 'kept' was not registered, and 1 of its trials have begun"):
        register(study.file, study.folder, 1)
    assert not (study.folder / "registered.json").exists()


def test_fewer_seeds_than_registered_are_refused(made: Any) -> None:
    study = made()
    found, _ = register(study.file, study.folder, 0)
    fewer = made(('seeds = "0..2"', 'seeds = "0..1"'))
    with pytest.raises(UserError, match=r"kept\.toml:3: 2 seeds, 3 were registered; missing are 2: "):
        check_seeds(fewer.file, found)
    check_seeds(made(('seeds = "0..2"', 'seeds = "0..5"')).file, found)
    (study.folder / "registered.json").write_text(json.dumps({"study": "kept"}))
    with pytest.raises(UserError, match=r"registered\.json is no registration"):
        read_registration(study.folder)
