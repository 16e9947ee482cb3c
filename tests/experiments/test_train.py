import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.envs.registration import find_highest_version, get_env_id, parse_env_id
from rich.console import Console
from safetensors.torch import load_file

from lifelong import cli
from lifelong.agents import Rollout, load_checkpoint
from lifelong.agents.ppo_config import PPOConfig
from lifelong.envs.suites import SUITES, import_suite, make_registered
from lifelong.experiments.runs.arguments import parse
from lifelong.experiments.runs.config import ALIASES, FORMAT, PPOOverrides, TrainConfig, options
from lifelong.experiments.runs.episodes import read_episodes
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.open_run import open_run
from lifelong.experiments.runs.trainer import Trainer
from lifelong.experiments.train import Outcome, main
from lifelong.memory import MEMORIES

Configs = Callable[..., TrainConfig]
CHECKPOINT = Path("checkpoints", "last")


BIG_SUITES = {"ALE/", "dm_control/", "Meta-World/", "AntMaze_", "HandManipulate"}
"""Suites, by a prefix of theirs, of which a sample is taken: they have hundreds of ids that differ in little."""
SAMPLE = (
    *(f"ALE/{game}-v5" for game in ("Breakout", "Freeway", "MontezumaRevenge", "MsPacman", "PrivateEye", "Seaquest")),
    "PongNoFrameskip-v4", "Atari84-v0",
    *(f"dm_control/{task}-v0" for task in (
        "acrobot-swingup", "ball_in_cup-catch", "cartpole-balance", "cheetah-run", "dog-walk", "finger-turn_hard",
        "fish-swim", "humanoid-stand", "manipulator-bring_ball", "quadruped-walk", "reacher-hard", "walker-run",
        "CmuHumanoidGoToTarget")),
    "FetchReach-v4", "FetchPickAndPlaceDense-v4", "HandReach-v3", "HandManipulateBlockRotateZ-v1",
    "HandManipulatePen_ContinuousTouchSensors-v1", "AntMaze_UMaze-v5", "PointMaze_Medium_Diverse_GR-v3",
    "AdroitHandDoor-v1", "AdroitHandRelocateSparse-v1", "FrankaKitchen-v1",
    "Meta-World/MT1", "Meta-World/goal_observable", "Meta-World/goal_hidden",
)  # fmt: skip
KWARGS = {f"Meta-World/{name}": ("env_name=reach-v3",) for name in ("MT1", "goal_observable", "goal_hidden")}


class KilledError(BaseException):
    """Stands for a killed process."""


def killed() -> None:
    raise KilledError


def interrupted() -> None:
    signal.raise_signal(signal.SIGINT)


def stacked_atari(game: str = "Breakout") -> gymnasium.Env[Any, Any]:
    """Return a game as most papers have it: grey, 84 by 84, the last four frames."""
    env = gymnasium.make(f"ALE/{game}-v5", frameskip=1)
    return gymnasium.wrappers.FrameStackObservation(gymnasium.wrappers.AtariPreprocessing(env), 4)


def every_id() -> list[str]:
    """Return the newest version of every environment that is registered when all suites that are here are imported.

    Of `BIG_SUITES` the ids in `SAMPLE`.
    """
    for suite in SUITES:
        if suite.is_installed:
            import_suite(suite)
    if find_spec("ale_py") and "Atari84-v0" not in gymnasium.registry:
        gymnasium.register("Atari84-v0", stacked_atari)
    names = {parse_env_id(env_id)[:2] for env_id, spec in gymnasium.registry.items() if spec.entry_point is not None}
    names = {
        (space, name) for space, name in names if space not in ("lifelong", "phys2d", "tabular", "GymV21Environment")
    }
    newest = {get_env_id(space, name, find_highest_version(space, name)) for space, name in names}
    big = tuple(prefix for suite in SUITES if set(suite.prefixes) & BIG_SUITES for prefix in suite.prefixes)
    return sorted(
        env_id
        for env_id in newest
        if env_id in SAMPLE or not (env_id.startswith(big) or "ale_py" in str(gymnasium.spec(env_id).entry_point))
    )


def after_segments(count: int, then: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Call a function in the middle of training, after `count` segments."""
    lived, segment = [0], Rollout.collect

    def counted(self: Rollout, length: int) -> Any:
        if lived[0] == count:
            then()
        lived[0] += 1
        return segment(self, length)

    monkeypatch.setattr(Rollout, "collect", counted)


def assert_same(found: Path, wanted: Path) -> None:
    """Compare two runs: all columns of all rows, and all tensors of the last checkpoint, bit for bit."""
    ours, theirs = read_episodes(found), read_episodes(wanted)
    assert ours.keys() == theirs.keys()
    for name, column in theirs.items():
        np.testing.assert_array_equal(ours[name], column, strict=True)
    names, there = ({path.name for path in (run / CHECKPOINT).glob("*.safetensors")} for run in (wanted, found))
    parts = {"env", "memory", "optimizer", "policy", "random"}
    if open_run(wanted).learning.normalize_reward == "on":
        parts.add("return_scale")
    learning = open_run(wanted).learning
    recycled = learning.redo_every or learning.continual_backprop
    if learning.l2_init or recycled or learning.reset_at_boundary == "on":
        parts.add("initial")
    if recycled:
        parts.add("recycling")
    if learning.ewc:
        parts.add("consolidation")
    if learning.packnet:
        parts.add("packnet")
    if learning.needs_task_changes:
        parts.add("task_changes")
    if learning.clear:
        parts.add("kept")
    assert names == there == {f"{part}.safetensors" for part in parts}
    for name in names:
        assert (found / CHECKPOINT / name).read_bytes() == (wanted / CHECKPOINT / name).read_bytes(), name


def test_a_run_lives_as_many_steps_as_it_was_told_and_writes_them_all_down(tiny: Configs) -> None:
    outcome = main(tiny(evaluation_lives=3))
    assert outcome.finished
    assert outcome.steps == 160
    rows = read_episodes(outcome.folder, ["train"])
    assert len(rows["step"]) == 160  # every step is an episode
    assert rows["step"][-1] == 160
    assert np.bincount(rows["life"]).tolist() == [8] * 20
    fresh = read_episodes(outcome.folder, ["frozen"])
    assert np.bincount(fresh["life"]).tolist() == [8] * 3
    assert outcome.summary is not None
    assert outcome.summary.episodes == 24


def test_a_run_writes_down_what_it_was(tiny: Configs) -> None:
    outcome = main(tiny(memory="gru", seed=3))
    content = json.loads((outcome.folder / "config.json").read_text())
    assert content["format"] == FORMAT
    assert {"torch", "lifelong-rl", "python"} <= content["origin"]["versions"].keys()
    assert content["origin"]["versions"]["torch"] == torch.__version__
    assert len(content["origin"]["git"] or "0" * 40) == 40
    assert content["origin"]["command"] == sys.argv
    assert content["origin"]["device"] == "cpu"
    assert content["config"]["ppo"]["lr"] == 2e-3  # what was open is resolved
    assert open_run(outcome.folder) == tiny(memory="gru", seed=3).resolved()
    assert list(outcome.folder.glob("events.out.tfevents.*"))


def test_a_run_from_before_a_setting_is_read_as_it_was(tiny: Configs) -> None:
    folder = main(tiny(advantage_floor=0.5, normalize_reward="on")).folder
    content = json.loads((folder / "config.json").read_text())
    del content["config"]["ppo"]["advantage_floor"], content["config"]["ppo"]["normalize_reward"]
    (folder / "config.json").write_text(json.dumps(content))
    assert open_run(folder).learning.advantage_floor == 1e-6
    assert open_run(folder).learning.normalize_reward == "off"


def test_a_run_joins_its_layers_as_it_was_told(tiny: Configs) -> None:
    for residual, gates in (("gated", 2), ("sum", 0)):  # the memory's and the MLP's
        weights = load_file(main(tiny(name=residual, residual=residual)).folder / CHECKPOINT / "policy.safetensors")
        assert len([name for name in weights if name.endswith(("gate.bias", "gates.0.bias"))]) == gates


def test_the_same_seed_is_the_same_run_and_another_is_not(tiny: Configs) -> None:
    first, again, other = (main(tiny(name=name, seed=seed)) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert_same(again.folder, first.folder)
    assert not np.array_equal(read_episodes(other.folder)["answer"], read_episodes(first.folder)["answer"])


class Panel(gymnasium.Env[Any, Any]):
    """Pays by its actions, and writes over the arrays it was given; may lock a choice in every step."""

    def __init__(self, act: spaces.Space[Any], locks: bool = False) -> None:
        self.observation_space, self.action_space = spaces.Box(-1, 1, (2,), np.float32), act
        self.locks = locks

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.paid = 0.0
        return self._shown()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        assert not self.locks or action != self.locked
        for part in action.values() if isinstance(action, dict) else [action]:
            self.paid += float(np.cos(part).sum())
            if isinstance(part, np.ndarray):
                part[...] = 0
        obs, info = self._shown()
        return obs, self.paid, bool(self.np_random.random() < 0.1), False, info

    def _shown(self) -> tuple[Any, dict[str, Any]]:
        if self.locks:
            self.locked = int(self.np_random.integers(4))
        obs = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return obs, {"action_mask": np.arange(4) != self.locked} if self.locks else {}


PANELS: dict[str, dict[str, Any]] = {
    "Switches-v0": {"act": spaces.MultiDiscrete([2, 3], start=[0, 1])},
    "Locked-v0": {"act": spaces.Discrete(4), "locks": True},
    "Knobs-v0": {
        "act": spaces.Dict(a=spaces.Box(-1, 1, (2,), np.int64), b=spaces.Box(0, np.inf, (1,)), c=spaces.Discrete(3))
    },
}


@pytest.fixture(autouse=True)
def panels(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kwargs in PANELS.items():
        spec = gymnasium.envs.registration.EnvSpec(name, Panel, kwargs=kwargs)
        monkeypatch.setitem(gymnasium.registry, name, spec)


CYCLE: dict[str, Any] = {
    "stream": "rooms",
    "stream_options": ("task=empty-5x5,lavagaps5", "max_steps=4"),
    "schedule": "cyclic:48 steps",
    "life_episodes": 0,
}
STORIES: dict[str, dict[str, Any]] = {
    **{memory: {"memory": memory} for memory in MEMORIES},
    "a cache of states": {"memory": "cached:gru", "memory_options": ("slots=2", "segment=3")},
    "within an episode": {"stream_options": ("cues=3", "size=4", "blanks=4")},
    "two layers": {"layers": 2},
    "gated layers": {"layers": 2, "residual": "gated"},
    "endless lives": {"life_episodes": 0},
    "lives of a hazard": {"life_episodes": None, "life_hazard": 0.1},
    "other carry": {"carry": "episode"},
    "only rewards": {"feedback": "reward"},
    "a foreign environment": {"stream": "gym:CartPole-v1", "stream_options": (), "memory": "gru"},
    "continuous actions": {"stream": "gym:Pendulum-v1", "stream_options": (), "memory": "gru"},
    "one spread for all states": {"stream": "gym:Pendulum-v1", "stream_options": (), "action_std": "free"},
    "choices side by side": {"stream": "gym:Switches-v0", "stream_options": (), "memory": "gru"},
    "masked choices": {"stream": "gym:Locked-v0", "stream_options": (), "memory": "gru"},
    "choices and numbers": {"stream": "gym:Knobs-v0", "stream_options": (), "memory": "gru"},
    "a working memory": {"stream": "gym:CartPole-v1", "stream_options": (), "working_memory": "gru"},
    "weights that are renewed": {"l2_init": 1e-2, "shrink_perturb": 1e-2},
    "units that are recycled": {"redo_every": 2, "redo_tau": 0.8},
    "units of least use that are recycled": {"continual_backprop": 0.1, "maturity": 2},
    "units that are recycled by two processes": {"redo_every": 2, "redo_tau": 0.8, "processes": 2},
    "weights that are consolidated": {**CYCLE, "boundary": "flag", "ewc": 10.0, "ewc_decay": 0.5},
    "weights that begin anew": {**CYCLE, "boundary": "task_id", "reset_at_boundary": "on"},
    "matrices by muon": {"optimizer": "muon", "vtrace": "on"},
    "weights of a task each": {**CYCLE, "boundary": "task_id", "heads": "task", "memory": "none", "packnet": 2},
    "a head for each task": {**CYCLE, "boundary": "task_id", "heads": "task"},
    "kept experience": {"clear": 3},
    "kept experience without a memory": {"clear": 3, "memory": "none"},
    "kept masks": {"stream": "gym:Locked-v0", "stream_options": (), "clear": 3},
    "cues that are normalised": {"normalize_observation": "on", "normalize_reward": "on"},
}


@pytest.mark.every_memory
@pytest.mark.parametrize("story", STORIES)
def test_a_killed_run_goes_on_to_the_same_bits(story: str, tiny: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = main(tiny(name="whole", **STORIES[story]))
    config = tiny(name="broken", checkpoint_every=64, **STORIES[story])
    with monkeypatch.context() as patch:
        after_segments(3, killed, patch)  # two segments are in the checkpoint, the third only in the logs
        with pytest.raises(KilledError):
            main(config)
    assert load_checkpoint(config.run / CHECKPOINT)[1]["steps"] == 64
    torch.manual_seed(99)
    resumed = main(TrainConfig(resume=config.run))
    assert resumed.finished
    assert_same(resumed.folder, whole.folder)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", every_id())
def test_every_environment_is_learned_from_killed_and_resumed(
    env_id: str, tiny: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        env = make_registered(env_id, options(KWARGS.get(env_id, ())))
        env.reset(seed=0)
        env.close()
    except Exception as error:  # noqa: BLE001  of the environment's own
        pytest.skip(f"it does not run by itself: {type(error).__name__}: {error}")
    sizes: dict[str, Any] = {"steps": 400, "num_envs": 2, "segment": 100, "minibatches": 1, "memory": "gru"}
    kwargs = KWARGS.get(env_id, ())
    settings = sizes | {"stream": f"gym:{env_id}", "stream_options": (), "env_kwargs": kwargs, "life_episodes": None}
    whole = main(tiny(name="whole", checkpoint_every=200, **settings))
    config = tiny(name="broken", checkpoint_every=200, **settings)
    with monkeypatch.context() as patch:
        after_segments(1, killed, patch)
        with pytest.raises(KilledError):
            main(config)
    torch.manual_seed(99)
    resumed = main(TrainConfig(resume=config.run))
    assert (whole.finished, resumed.finished) == (True, True)
    assert_same(resumed.folder, whole.folder)


def test_a_finished_run_that_is_resumed_stays_as_it_is(tiny: Configs) -> None:
    whole, again = main(tiny(name="whole")), main(tiny(name="again"))
    assert main(TrainConfig(resume=again.folder)).finished
    assert_same(again.folder, whole.folder)


def test_a_run_goes_on_from_within_its_own_directory(tiny: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = main(tiny()).folder
    monkeypatch.chdir(folder)
    assert main(TrainConfig(resume=Path())).folder == folder


def test_an_interrupt_ends_the_run_with_a_checkpoint_and_it_goes_on_to_the_same_bits(
    tiny: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = main(tiny(name="whole", evaluation_lives=3))
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        after_segments(2, interrupted, patch)
        outcome = main(tiny(name="broken", evaluation_lives=3))
    assert signal.getsignal(signal.SIGINT) is before
    assert not outcome.finished
    assert outcome.summary is None
    assert outcome.steps == 96  # the segment goes to its end
    assert len(read_episodes(outcome.folder)["step"]) == 96
    assert_same(main(TrainConfig(resume=outcome.folder)).folder, whole.folder)


def test_a_second_interrupt_ends_at_once_and_keeps_the_last_checkpoint(
    tiny: Configs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny(checkpoint_every=32)
    after_segments(2, lambda: (interrupted(), interrupted())[0], monkeypatch)
    monkeypatch.setattr("lifelong.experiments.settings.train.parse", lambda kind, *given: kind(**vars(config)))
    assert cli.main(["train"]) == 130
    assert capsys.readouterr().err.splitlines()[2:] == [  # after how its lives end, and what it reads
        "finishing this segment; again to stop now",
        f"lifelong: stopped by SIGINT; its checkpoint is of step 64; go on with: lifelong train --resume {config.run}",
    ]
    assert load_checkpoint(config.run / CHECKPOINT)[1]["steps"] == 64


@pytest.mark.parametrize(
    "act", [spaces.Text(3), spaces.Sequence(spaces.Discrete(2)), spaces.OneOf([spaces.Discrete(2)] * 2)]
)
def test_actions_without_a_policy_are_refused_before_there_is_a_folder(
    act: spaces.Space[Any], tiny: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = gymnasium.envs.registration.EnvSpec("Odd-v0", Panel, kwargs={"act": spaces.Dict(arm=act)})
    monkeypatch.setitem(gymnasium.registry, "Odd-v0", spec)
    config = tiny(stream="gym:Odd-v0", stream_options=())
    with pytest.raises(UserError, match=r"Odd-v0: actions .* of entry 'arm' are not supported.*TransformAction"):
        main(config)
    assert not config.runs.exists()


class Fragile(gymnasium.Env[Any, Any]):
    """Environment whose episodes have three steps; in a given step of all it raises, or returns half an observation."""

    observation_space, action_space = spaces.Box(0.0, 1.0, (2,)), spaces.Discrete(2)
    breaks, steps, raises = 0, 0, True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        return self.np_random.random(2, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        Fragile.steps += 1
        broken = Fragile.steps == Fragile.breaks
        if broken and Fragile.raises:
            raise ZeroDivisionError("the cup fell")
        self.count += 1
        obs = self.np_random.random(2, np.float32)
        return obs[:1] if broken else obs, float(action), self.count == 3, False, {}


@pytest.mark.parametrize(("breaks", "raises"), [(5, True), (100, True), (100, False)])  # 5 is in the first segment
def test_a_run_whose_environment_breaks_is_kept_and_goes_on_to_the_same_bits(
    breaks: int, raises: bool, tiny: Configs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(gymnasium.registry, "Fragile-v0", gymnasium.envs.registration.EnvSpec("Fragile-v0", Fragile))
    monkeypatch.setattr(Fragile, "breaks", 0)
    settings: dict[str, Any] = {
        "stream": "gym:Fragile-v0",
        "evaluation_lives": 0,
        "schedule": None,
        "stream_options": (),
    }
    whole = main(tiny(name="whole", **settings))
    monkeypatch.setattr(Fragile, "steps", 0)
    monkeypatch.setattr(Fragile, "breaks", breaks)
    monkeypatch.setattr(Fragile, "raises", raises)
    config = tiny(name="broken", **settings)
    monkeypatch.setattr("lifelong.experiments.settings.train.parse", lambda kind, *given: kind(**vars(config)))
    assert cli.main(["train"]) == 2
    said = capsys.readouterr().err
    assert "'Fragile-v0' broke, life" in said
    assert f"; go on with: lifelong train --resume {config.run}" in said
    assert said.endswith(f"go on with: lifelong train --resume {config.run}, and --new-episodes if it breaks again\n")
    report = json.loads((config.run / "crash.json").read_text())
    assert report["env_id"] == "Fragile-v0"
    assert len(report["actions"]) <= 3
    assert report["entry"] == ("step()" if raises else "observation")
    assert ("the cup fell" if raises else "must have the shape [2], got [1]") in report["traceback"][-1]
    assert_same(main(TrainConfig(resume=config.run)).folder, whole.folder)


STEPS = ["--num-envs", "4", "--segment", "8", "--width", "16", "--checkpoint-every", "64", "--steps", "100000000"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_is_stopped_leaves_a_run_that_goes_on(number: signal.Signals, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "lifelong.cli", "train", *STEPS, "--runs", str(tmp_path), "--name", "x"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
    process = subprocess.Popen(words, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    manifest, patience = tmp_path / "x" / CHECKPOINT / "manifest.json", time.monotonic() + 120
    while not manifest.exists() and process.poll() is None and time.monotonic() < patience:
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    facts, rows = load_checkpoint(tmp_path / "x" / CHECKPOINT)[1], len(read_episodes(tmp_path / "x")["step"])
    if number == signal.SIGINT:
        assert process.returncode == 0, said
        assert "interrupted; go on with: lifelong train --resume" in said
        assert "Traceback" not in said
        assert rows == facts["rows"] == facts["steps"]
    else:
        assert process.returncode == -signal.SIGKILL
        assert rows >= facts["rows"] == facts["steps"]
    config = tmp_path / "x" / "config.json"
    content = json.loads(config.read_text())
    content["config"] |= {"steps": facts["steps"] + 64, "evaluation_lives": 0}
    config.write_text(json.dumps(content))
    outcome = main(TrainConfig(resume=tmp_path / "x"))
    assert outcome.finished
    assert len(read_episodes(tmp_path / "x")["step"]) == outcome.steps == facts["steps"] + 64


@pytest.mark.parametrize("memory", ["gated_delta", "gru"])
def test_an_evaluation_changes_nothing_of_the_living(memory: str, tiny: Configs) -> None:
    config = tiny(memory=memory, evaluation_lives=3).resolved()

    def everything(training: Trainer) -> dict[str, Any]:
        return {
            **{f"memory {key}": value for key, value in training.rollout.state.items(True, True)},
            **{f"policy {key}": value for key, value in training.agent.state_dict().items()},
            **{f"env {key}": torch.as_tensor(value) for key, value in training.env.position().items()},
            **{f"seen {key}": value for key, value in training.rollout.observation.items(True, True)},
            "random": torch.get_rng_state(),
        }

    with Trainer(config, False, Console(quiet=True)) as training:
        training.train()
        before = {key: value.clone() for key, value in everything(training).items()}
        assert training.evaluate().episodes == 24
        after = everything(training)
    assert [key for key, value in before.items() if not value.equal(after[key])] == []


def test_an_existing_run_is_kept(tiny: Configs) -> None:
    folder = main(tiny()).folder
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"tiny exists: pass --overwrite to replace it, --resume .*tiny to go on, or"):
        main(tiny(seed=1))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_an_existing_run_is_replaced_when_asked(tiny: Configs) -> None:
    main(tiny(evaluation_lives=3))
    outcome = main(tiny(steps=64, seed=1, overwrite=True))
    assert len(read_episodes(outcome.folder)["step"]) == 64
    assert open_run(outcome.folder).seed == 1
    assert len(list(outcome.folder.glob("events.out.tfevents.*"))) == 1


def test_a_folder_that_is_no_run_is_never_replaced(tiny: Configs) -> None:
    config = tiny(overwrite=True)
    config.run.mkdir(parents=True)
    (config.run / "thesis.tex").write_text("all of it")
    with pytest.raises(UserError, match=r"tiny is no run, so it is not replaced: it has no config\.json"):
        main(config)
    assert (config.run / "thesis.tex").read_text() == "all of it"


@pytest.mark.parametrize("name", ["../x", "a/b", "/etc", "..", ".", ""])
def test_a_run_stays_in_its_folder(name: str, tiny: Configs) -> None:
    with pytest.raises(UserError, match="name must be one plain folder name"):
        tiny(name=name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": FORMAT + 1}, f"config.json has format {FORMAT + 1}, this version reads up to {FORMAT}"),
        ({"config": {"hopes": 1}}, "config.json: no setting 'hopes'"),
        ({"config": {"steps": -1}}, "config.json: steps must be positive: steps=-1"),
        ({"config": None}, r"config\.json is no config of a run"),
        ({"format": "new"}, r"config\.json is no config of a run"),
    ],
)
def test_a_config_that_cannot_be_read_is_refused(change: dict[str, Any], message: str, tiny: Configs) -> None:
    folder = main(tiny()).folder
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        main(TrainConfig(resume=folder))


def test_a_run_killed_before_its_first_checkpoint_goes_on_from_its_beginning(
    tiny: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = main(tiny(name="whole"))
    with monkeypatch.context() as patch:
        after_segments(2, killed, patch)
        with pytest.raises(KilledError):
            main(tiny(name="broken"))
    assert len(read_episodes(tiny(name="broken").run)["step"]) == 64  # nothing is lost
    assert_same(main(TrainConfig(resume=tiny(name="broken").run)).folder, whole.folder)


def test_a_run_without_a_checkpoint_cannot_go_on_and_nothing_is_lost(tiny: Configs) -> None:
    folder = main(tiny()).folder
    for manifest in (folder / "checkpoints").glob("*/manifest.json"):
        manifest.unlink()
    before = len(read_episodes(folder)["step"])
    with pytest.raises(ValueError, match=r"cannot read .*tiny/checkpoints/last/manifest\.json"):
        main(TrainConfig(resume=folder))
    assert len(read_episodes(folder)["step"]) == before > 0


def test_a_run_that_fails_before_anything_was_lived_leaves_nothing(
    tiny: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_segments(0, killed, monkeypatch)
    with pytest.raises(KilledError):
        main(tiny())
    assert not tiny().run.exists()


def test_the_learning_rate_falls_to_its_last_share(tiny: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    paces: list[float] = []
    learn = Trainer.__init__.__globals__["make_learner"]

    def watched(*given: Any) -> Any:
        learner = learn(*given)
        first = learner.learn
        learner.learn = lambda segment, lr_fraction: (paces.append(lr_fraction), first(segment, lr_fraction))[1]
        return learner

    monkeypatch.setattr("lifelong.experiments.runs.trainer.make_learner", watched)
    outcome: Outcome = main(tiny(lr=0.01, final_lr_fraction=0.1))
    assert len(paces) == outcome.steps // 32
    assert paces == sorted(paces, reverse=True)
    assert paces[-1] == pytest.approx(0.1)


def test_python_and_the_command_line_train_to_the_same_bits(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"steps": 256, "num_envs": 4, "life_episodes": 8, "segment": 8, "width": 16}
    words = [word for name, value in sizes.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    known = TrainConfig().resolved().learning
    main(TrainConfig(**sizes, evaluation_lives=0, name="python", runs=tmp_path, ppo=replace(known, gamma=0.9)))
    for name, gamma in (("new", "--gamma"), ("old", "--discount")):
        rest = ["--evaluation-lives", "0", "--name", name, "--runs", str(tmp_path), gamma, "0.9"]
        assert cli.main(["train", *words, *rest]) == 0
        assert_same(tmp_path / name, tmp_path / "python")
    assert TrainConfig().ppo == PPOOverrides()
    assert known == PPOConfig(lr=2e-3, epochs=2, minibatches=8, entropy_coef=0.03, normalize_reward="off")


def test_old_flags_work_and_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    old = ["--discount", "0.5", "--life_discount=0.6", "--trace", "0.7", "--entropy", "0.1", "--critic", "0.2",
           "--clip", "0.3", "--max-norm", "2", "--pace-final", "0.4", "--graph", "off", "--steps", "1e6"]  # fmt: skip
    found = parse(TrainConfig, old, "train", ALIASES)
    assert found.ppo == PPOOverrides(
        gamma=0.5, life_gamma=0.6, gae_lambda=0.7, entropy_coef=0.1, value_coef=0.2, clip_epsilon=0.3, max_grad_norm=2.0
    )
    assert (found.final_lr_fraction, found.cuda_graph, found.steps) == (0.4, "off", 1_000_000)
    assert parse(TrainConfig, ["--steps", "2_000_000"], "train").steps == 2_000_000
    assert "".join(capsys.readouterr()) == ""


def test_one_spelling_of_a_stream_makes_one_folder() -> None:
    assert TrainConfig(stream="cued_recall").run == TrainConfig(stream="cued-recall").run
