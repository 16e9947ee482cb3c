"""A run is born whole, and replaces another only once it has lived."""

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong.agents import PPO
from lifelong.agents.checkpoint import has_checkpoint
from lifelong.experiments.runs import new_run as module
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.episodes import read_episodes
from lifelong.experiments.runs.errors import TrainingError, UserError
from lifelong.experiments.runs.lock import LOCK, RunLock
from lifelong.experiments.runs.new_run import NewRun
from lifelong.experiments.runs.open_run import LAST, open_run
from lifelong.experiments.train import main

Configs = Callable[..., TrainConfig]
Killed = Callable[[int, Callable[[], object]], bool]
AGENT = torch.nn.Linear(1, 1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Leave out versions and hashes, which take longer than all else."""
    if "killed_before" in request.fixturenames:
        monkeypatch.setattr(module, "origin", lambda *given: {})


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != LOCK}


def test_killed_before_any_change_a_new_run_is_not_there_or_whole(tiny: Configs, killed_before: Killed) -> None:
    config, change = tiny().resolved(), 0
    while killed_before(change, lambda: NewRun(config, AGENT)):
        change += 1
        assert not config.run.exists()
        NewRun(config, AGENT).discard()
        assert list(config.runs.iterdir()) == []
    assert change > 4
    assert open_run(config.run) == config
    assert not RunLock.is_held(config.run), "its process has ended"
    with pytest.raises(UserError, match="exists: pass --overwrite to replace it, --resume"):
        NewRun(config, AGENT)
    NewRun(replace(config, overwrite=True), AGENT).discard()
    assert [path.name for path in config.runs.iterdir()] == ["tiny"]


def test_killed_before_any_change_the_old_run_or_the_new_one_is_there(tiny: Configs, killed_before: Killed) -> None:
    old, new = tiny().resolved(), tiny(seed=1, overwrite=True).resolved()
    names, change, found, killed = ["config.json", "rows", "weights"], 0, [], True

    def replaced() -> None:
        run = NewRun(new, AGENT)
        (run.folder / "lived").touch()
        run.settle()
        run.leave()

    while killed:
        shutil.rmtree(old.runs, ignore_errors=True)
        NewRun(old, AGENT).leave()
        for name in names[1:]:
            (old.run / name).touch()
        killed = killed_before(change, replaced)
        change += 1
        found.append(open_run(old.run).seed)  # mends it
        assert set(content(old.run)) == {*names} if not found[-1] else {"config.json", "lived"}
        replaced()
        assert open_run(old.run).seed == 1
        assert [path.name for path in old.runs.iterdir()] == ["tiny"]
    assert change > 12
    assert found == sorted(found)
    assert set(found) == {0, 1}


def test_a_run_that_was_killed_before_its_first_checkpoint_goes_on_from_its_config(tiny: Configs) -> None:
    whole = main(tiny(name="whole")).folder
    config = tiny(name="born").resolved()
    NewRun(config, AGENT).leave()
    (config.run / "checkpoints" / ".last.new").mkdir(parents=True)
    (config.run / "checkpoints" / ".last.new" / "policy.safetensors").write_bytes(b"half of i")
    (config.run / "events.out.tfevents.1").write_bytes(b"")
    assert not has_checkpoint(config.run / LAST)
    torch.manual_seed(99)
    assert main(TrainConfig(resume=config.run)).finished
    for name, column in read_episodes(whole).items():
        assert column.tobytes() == read_episodes(config.run)[name].tobytes()
    for path in (whole / LAST).glob("*.safetensors"):
        assert path.read_bytes() == (config.run / LAST / path.name).read_bytes()
    assert not (config.run / "events.out.tfevents.1").exists()


def test_an_empty_folder_is_no_obstacle(tiny: Configs) -> None:
    tiny().run.mkdir(parents=True)
    assert main(tiny()).finished


STOPS: dict[str, tuple[type[BaseException], str, dict[str, Any], Callable[..., Any] | None]] = {
    "a learning rate of a slip": (TrainingError, r"after 96 steps: .*nan.*tiny stays as it was$", {"lr": 1e30}, None),
    "a failure": (TrainingError, r"boom'; run .*tiny stays as it was$", {}, lambda *given: int("boom")),
    "an interrupt": (KeyboardInterrupt, r"stopped by SIGHUP; run .*tiny stays as it was$", {},
                     lambda *given: signal.raise_signal(signal.SIGHUP)),
}  # fmt: skip


@pytest.mark.parametrize("stop", STOPS)
def test_a_run_stays_as_it_was_if_its_replacement_has_not_lived(
    stop: str, tiny: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, said, settings, learn = STOPS[stop]
    folder = main(tiny()).folder
    before = content(folder)
    if learn is not None:
        monkeypatch.setattr(PPO, "learn", learn)
    with pytest.raises(kind, match=said):
        main(tiny(seed=1, overwrite=True, **settings))
    assert content(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]
    assert not RunLock.is_held(folder)


def test_a_replacement_that_fails_later_can_go_on(tiny: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = main(tiny(name="whole", seed=1)).folder
    folder = main(tiny(seed=0)).folder
    learn, count = PPO.learn, [0]

    def fails(self: PPO, *given: Any) -> Any:
        count[0] += 1
        return learn(self, *given) if count[0] != 4 else 1 / 0

    with monkeypatch.context() as patch:
        patch.setattr(PPO, "learn", fails)
        with pytest.raises(TrainingError, match="its checkpoint is of step 96; go on with"):
            main(tiny(seed=1, overwrite=True))
    assert open_run(folder).seed == 1
    assert main(TrainConfig(resume=folder)).finished
    assert (folder / LAST / "policy.safetensors").read_bytes() == (whole / LAST / "policy.safetensors").read_bytes()
    assert len(read_episodes(folder)["step"]) == 160
    assert sorted(path.name for path in folder.parent.iterdir()) == ["tiny", "whole"]


def test_a_run_behind_a_link_is_replaced_behind_it(tiny: Configs, tmp_path: Path) -> None:
    folder = main(tiny()).folder
    place = tmp_path / "disk" / "long name"
    place.parent.mkdir()
    folder.rename(place)
    folder.symlink_to(place)
    outcome = main(tiny(seed=1, overwrite=True))
    assert outcome.folder == folder
    assert folder.is_symlink()
    assert folder.resolve() == place
    assert open_run(place).seed == 1
    assert len(read_episodes(folder)["step"]) == 160
    assert [path.name for path in place.parent.iterdir()] == ["long name"]
    assert main(TrainConfig(resume=folder)).finished


def test_a_link_to_nothing_leads_to_a_new_run(tiny: Configs, tmp_path: Path) -> None:
    tiny().runs.mkdir()
    tiny().run.symlink_to(tmp_path / "disk")
    assert main(tiny()).finished
    assert open_run(tmp_path / "disk").seed == 0


def test_what_is_written_before_a_run_has_its_name_is_written_once(tiny: Configs) -> None:
    config = tiny(log="csv", overwrite=True, evaluate_every="32", steps=320)
    main(replace(config, overwrite=False))
    before = (config.run / "scalars.csv").read_text()
    main(config)
    after = (config.run / "scalars.csv").read_text()
    found = [[line for line in text.splitlines() if line.startswith("tasks/")] for text in (before, after)]
    assert found[0] == found[1]
    assert len(found[0]) > 20
    assert json.loads((config.run / "config.json").read_text())["config"]["overwrite"] is True
