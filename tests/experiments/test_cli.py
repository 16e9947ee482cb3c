import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium
import pytest

from lifelong import cli
from lifelong.envs import DRIFTS, SCHEDULES, STREAMS
from lifelong.experiments.list import listing
from lifelong.experiments.runs.config import FORMAT, TrainConfig
from lifelong.experiments.train import main as train
from lifelong.kernels.cuda_graph import CaptureError
from lifelong.memory import MEMORIES

Refused = Callable[..., str]
SMALL = ["--num-envs", "2", "--segment", "4", "--width", "16", "--steps", "64", "--evaluation-lives", "0"]

PLUG_INS = """
import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from lifelong.memory import GRU, Memory


class Clinging(GRU):
    def step(self, x, state, start):
        return super().step(x, state, torch.zeros_like(start))

    def forward(self, x, state, start):
        return super().forward(x, state, torch.zeros_like(start))


class Shapeless(Memory):
    def initial_state(self, batch):
        return torch.zeros(batch)


class Stranger:
    def __init__(self, width):
        pass


class Room(gymnasium.Env):
    observation_space, action_space = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(2)

    def __init__(self, fault="", at=3, **changes):
        self.fault, self.at = fault, at
        vars(self).update(changes)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.count += 1
        bad = np.nan if self.count == self.at else 0.0
        seen = np.array([0.0, bad if self.fault == "observation" else 0.0], np.float32)
        return seen, bad if self.fault == "reward" else 1.0, self.count == 20, False, {}


for name, kwargs in {
    "Mute": {"observation_space": spaces.Dict({"eye": spaces.Discrete(2), "ear": spaces.Sequence(spaces.Discrete(2))})},
    "Clumsy": {"action_space": spaces.Dict({"hand": spaces.Discrete(2), "word": spaces.Text(9)})},
    "Priceless": {"fault": "reward"},
    "Blinding": {"fault": "observation"},
    "LateBlinding": {"fault": "observation", "at": 11},
}.items():
    gymnasium.register(f"plugged/{name}-v0", Room, kwargs=kwargs)
"""


@pytest.fixture(autouse=True)
def plug_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "plugged.py").write_text(PLUG_INS)
    monkeypatch.syspath_prepend(tmp_path / "path")
    yield
    sys.modules.pop("plugged", None)
    for name in [name for name in gymnasium.registry if name.startswith("plugged/")]:
        del gymnasium.registry[name]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Return the one-line error of a command, and assert that it changed no file."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def refuse(*words: str) -> str:
        before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
        capsys.readouterr()
        assert cli.main(list(words)) == 2
        said = capsys.readouterr()
        assert said.out == ""
        *before_it, error = said.err.splitlines(keepends=True)
        assert all(
            line.startswith(("preset ", "lives: ", "reads ", "compiling, ")) for line in before_it
        )  # of a training's start
        assert error.startswith("lifelong: ")
        assert error.endswith("\n")
        assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
        assert before or not list(Path().glob("*/*"))  # `runs` may be there, but no run
        return said.err

    return refuse


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["trian"], "no verb 'trian'; did you mean 'train'? known: train, retention, adaptation, interference"),
        (["frobnicate"], "no verb 'frobnicate'; known: train"),
        (["list", "--all"], "list takes at most one name and no settings, got --all"),
        (["train", "--memory", "gated_dleta"], "no memory 'gated_dleta'; did you mean 'gated_delta'?"),
        (["train", "--memory", "xyz"], "known: agalite, atlas, based, bmru, cached, comba"),
        (["train", "cued-recal"], "no stream 'cued-recal'; did you mean 'cued-recall'?"),
        (["train", "gym:NoSuch-v0"], "cannot make environment 'NoSuch-v0'"),
        (["train", "gym:no_such_module:X-v0"], "cannot make environment 'no_such_module:X-v0'"),
        (["train", "--memory-options", "heads=3"], "num_heads must divide width: width=64, num_heads=3"),
        (["train", "--memory-options", "hats=3"], "'hats'"),
        (["train", "--memory-options", "heads"], "options are name=value, got 'heads'"),
        (["train", "--stream-options", "cues=0"], "cues must be at least 1: cues=0"),
        (["train", "--schedule", "blok:2"], "no schedule 'blok'; did you mean 'block'?"),
        (["train", "--steps", "-5"], "steps must be positive: steps=-5"),
        (["train", "--steps", "many"], "--steps must be a whole number, got 'many'"),
        (
            ["train", "--carry", "forever"],
            "--carry must be one of episode, lifetime, task; got 'forever'",
        ),
        (["train", "--stesp", "5"], "no option '--stesp'; did you mean '--steps'? (see lifelong train --help)"),
        (["train", "--stream", "rooms"], "no option '--stream'"),
        (["train", "--discuont", "5"], "no option '--discuont'; did you mean '--gamma'?"),
        (["train", "--gama", "5"], "did you mean '--gamma'?"),
        (["train", "--discount", "5"], "gamma must lie in [0, 1]: gamma=5.0"),
        (["train", "--steps", "1.5e0"], "--steps must be a whole number, got '1.5e0'"),
        (["train", "--life_gamma=x"], "--life-gamma must be a number, got 'x'"),
        (["train", "--feedback", "some"], "--feedback must be one of reveal, reward; got 'some'"),
        (["train", "--lr"], "--lr needs a value"),
        (["swap"], "missing: RUN, --memory (see lifelong swap --help)"),
        (["capacity", "--pairs", "2", "x"], "--pairs must be whole numbers, got '2 x'"),
        (["train", "MiniGrid-DoorKey-5x5-v0"], "did you mean 'gym:MiniGrid-DoorKey-5x5-v0'?"),
        (["list", "gated_dleta"], "no memory, stream, schedule or drift 'gated_dleta'; did you mean 'gated_delta'?"),
        (["list", "cached:gated_dleta"], "no memory 'gated_dleta'; did you mean 'gated_delta'?"),
        (["list", "gravty"], "did you mean 'gravity'? lifelong list shows all"),
        (["train", "--lr", "0"], "lr must be positive: lr=0.0"),
        (["train", "--entropy-coef", "nan"], "entropy_coef must not be negative: entropy_coef=nan"),
        (["train", "--name", "../../x"], "name must be one plain folder name"),
        (["train", "--cuda-graph", "on"], "cuda_graph must be auto or off without a GPU: cuda_graph=on, device=cpu"),
        (["train", "--resume", "runs/none"], "runs/none is no run: cannot read runs/none/config.json: No such file"),
        (["retention", "runs/none"], "runs/none is no run"),
        (["retention"], "missing: RUN (see lifelong retention --help)"),
        (["retention", "runs/none", "--times", "-1"], "times must lie above 0 and be at most 1e+06: times=-1.0"),
        (["retention", "runs/none", "--times", "nan"], "times must lie above 0 and be at most 1e+06: times=nan"),
    ],
)
def test_a_wrong_word_is_answered_in_one_line(words: list[str], reason: str, refused: Refused) -> None:
    assert reason in refused(*words)


@pytest.mark.parametrize(
    ("memory", "reason"),
    [
        ("plugged:Clinging", "nothing crosses a start: a life that starts at step"),
        ("plugged:Shapeless", "state is a tensordict: initial_state(1) must be a TensorDict, got Tensor"),
        (
            "plugged:Stranger",
            "memory 'plugged:Stranger' must be a class that extends lifelong.memory.Memory, got Stranger",
        ),
        ("plugged:Missing", "cannot load memory 'plugged:Missing'"),
        ("no_such_module:Memory", "cannot load memory 'no_such_module:Memory': No module named 'no_such_module'"),
    ],
)
def test_a_plug_in_that_is_no_memory_is_refused_by_the_clause_it_breaks(
    memory: str, reason: str, refused: Refused
) -> None:
    assert reason in refused("train", *SMALL, "--memory", memory)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Mute", "'ear' are not supported: its length varies; pad it to a Box"),
        ("Clumsy", "of entry 'word' are not supported; supported are Discrete, MultiDiscrete, MultiBinary, Box"),
    ],
)
def test_an_environment_with_another_space_is_refused(name: str, reason: str, refused: Refused) -> None:
    said = refused("train", f"gym:plugged:plugged/{name}-v0", *SMALL)
    assert reason in said


@pytest.mark.parametrize(("name", "what"), [("Priceless", "reward"), ("Blinding", "observation")])
def test_numbers_that_are_not_finite_name_environment_step_and_task(
    name: str, what: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    env_id = f"plugged:plugged/{name}-v0"
    assert cli.main(["train", f"gym:{env_id}", *SMALL, "--name", "x", "--runs", str(tmp_path)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"environment {env_id!r} brok" in error  # and the rest, where the folder is not that long
    assert f"{what} must be finite: nan" in error
    crash = json.loads((tmp_path / "x" / "crash.json").read_text())
    assert crash["entry"] == what
    assert len(crash["actions"]) == 3


def test_what_was_lived_before_such_a_number_is_kept(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["gym:plugged:plugged/LateBlinding-v0", *SMALL, "--checkpoint-every", "8", "--name", "x"]
    assert cli.main(["train", *words, "--runs", str(tmp_path)]) == 2
    assert "observation must be finite: nan" in capsys.readouterr().err.splitlines()[-1]
    assert (tmp_path / "x" / "checkpoints" / "last" / "manifest.json").exists()


def test_a_graph_that_cannot_be_had_is_answered_in_one_line(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    def segment(*_: object) -> None:
        raise CaptureError("cuda_graph must be auto or off with this policy: it waits for the GPU")

    monkeypatch.setattr("lifelong.agents.Rollout.collect", segment)
    assert "cuda_graph must be auto or off with this policy: it waits for the GPU" in refused("train", *SMALL)


def test_runs_are_neither_lost_nor_changed(refused: Refused) -> None:
    assert cli.main(["train", *SMALL, "--name", "x"]) == 0
    run = Path("runs", "x")
    refusals = [
        (["train", *SMALL, "--name", "x"], "run runs/x exists: pass --overwrite to replace it, --resume runs/x"),
        (["train", "--resume", str(run), "--steps", "128", "--seed", "1"], "and cannot also change seed"),
        (["retention", str(run), "--schedule", "blok:2"], "no schedule 'blok'"),
    ]
    for words, reason in refusals:
        assert reason in refused(*words)
    config = run / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"format": FORMAT + 1}))
    for words in (["train", "--resume", str(run)], ["retention", str(run)]):
        assert f"config.json has format {FORMAT + 1}, this version reads up to {FORMAT}: upgrade" in refused(*words)


def test_a_damaged_checkpoint_is_named(refused: Refused, tiny: Callable[..., TrainConfig]) -> None:
    folder = train(tiny()).folder
    for weights in (folder / "checkpoints").glob("*/policy.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    for words in (["train", "--resume", str(folder)], ["retention", str(folder)]):
        assert "last/policy.safetensors is damaged: SHA-256" in refused(*words)


def test_where_the_last_checkpoint_is_damaged_the_one_before_is_used_and_named(
    tiny: Callable[..., TrainConfig],
) -> None:
    folder = train(tiny(checkpoint_every=64)).folder
    last = folder / "checkpoints" / "last"
    whole = (last / "policy.safetensors").read_bytes()
    (last / "policy.safetensors").write_bytes(whole[:-1] + b"x")
    said = r"last/policy.safetensors is damaged: SHA-256 .*checkpoints/previous of step 128 is used in its place"
    with pytest.warns(UserWarning, match=said):
        assert cli.main(["retention", str(folder), "--steps", "32", "--lives", "2"]) == 0
    with pytest.warns(UserWarning, match=said):
        assert cli.main(["train", "--resume", str(folder)]) == 0
    assert (last / "policy.safetensors").read_bytes() == whole, "it was lived again, to the same bits"
    assert (last.with_name("damaged") / "policy.safetensors").exists()


def test_a_failure_of_our_own_is_no_wrong_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arguments: list[str]) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("lifelong.experiments.list.command", fail)
    with pytest.raises(ZeroDivisionError):  # so Python prints where, and ends with 1
        cli.main(["list"])


def test_training_ends_with_what_came_out_and_where_to_look(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["--evaluation-lives", "8", "--life-episodes", "8", "--name", "x", "--runs", str(tmp_path)]
    assert cli.main(["train", *SMALL[:-2], *words]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "64 steps in" in said
    assert "frozen gated_delta in fresh lives" in said
    assert f"tensorboard --logdir {tmp_path}" in said.replace("\n", "")


def test_list_names_all_that_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    said = capsys.readouterr().out
    assert said == listing()
    for name in (*MEMORIES, *STREAMS, *SCHEDULES, *DRIFTS, "gym:<id>", "package.module:Class"):
        assert f"\n  {name}  " in said


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_names_every_verb(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {verb} " in said for verb in cli.VERBS)


@pytest.mark.parametrize("verb", ["train", "retention"])
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    assert ended.value.code == 0
    assert f"lifelong {verb}" in capsys.readouterr().out


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lifelong-rl 0.")


def test_help_and_list_import_nothing_heavy(tmp_path: Path) -> None:
    code = """
import sys
from lifelong.cli import main
for words in (["--help"], ["list"], ["--version"], ["frobnicate"]):
    main(words)
assert not {"torch", "tyro", "rich", "scipy", "pyarrow", "matplotlib", "minigrid"} & sys.modules.keys(), sys.modules
"""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_a_memory_beside_where_the_command_runs_is_found(tmp_path: Path) -> None:
    (tmp_path / "leaky.py").write_text("from lifelong.memory import GRU\n\n\nclass Leaky(GRU):\n    pass\n")
    command = [sys.executable, "-c", "from lifelong.cli import main; raise SystemExit(main())"]
    words = ["train", "--memory", "leaky:Leaky", *SMALL]
    result = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "runs").is_dir()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["cost", "--memories", "gated_deltaa"], "no memory 'gated_deltaa'; did you mean 'gated_delta'"),
        (
            ["recall", "--memories", "gated_deltaa", "--output", "{}"],
            "no memory 'gated_deltaa'; did you mean 'gated_delta'",
        ),
        (
            ["train", "rooms", "--stream-options", "tasks=doorkey-5x5"],
            "got an unexpected keyword argument 'tasks'; did you mean 'task'? known: ",
        ),
        (
            ["train", "--memory-options", "foo=3"],
            "memory 'gated_delta' got an unexpected keyword argument 'foo'; known: conv_size, ",
        ),
    ],
)
def test_a_wrong_name_is_answered_with_those_that_are_known(
    words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([word.format(tmp_path / "out") for word in words]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("gated-delta", ["memory gated_delta: ", "settings (--memory-options NAME=VALUE):"]),
        ("cached:gla", ["memory cached:gla: cached: a data-dependent decay", "stands for: host=gla", "  segment  16"]),
        ("cued_recall", ["stream cued-recall: ", "  cues  ", "tasks (16): cue 0, cue 1", "schedule: Interleaved"]),
        ("interleaved", ["schedule interleaved: ", "settings (--schedule interleaved:NAME=VALUE):", "  zipf  0.0"]),
        ("order", ["schedule order: ", "settings (--schedule 'order:A,B,A every EPISODES'):", "  tasks     required"]),
        ("block", ["settings (--schedule block:NAME=VALUE):", "with ` steps` behind the number it counts environment"]),
        ("sticky-actions", ["drift sticky_actions: ", "drifts=sticky_actions:NAME=VALUE):", "  probability  0.25"]),
        ("mass", ["  factor  required  what the quantity is multiplied by"]),
    ],
)
def test_list_of_a_name_tells_its_settings(name: str, parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", name]) == 0
    said = capsys.readouterr().out
    assert [part for part in parts if part not in said] == []


def test_a_warning_is_shown_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    show = cli._show_once()
    for text in ("\x1b[33mWARN: old\nid\x1b[0m", "old id", "other"):
        show(UserWarning(text), UserWarning, "file.py", 1)
    assert capsys.readouterr().err == "lifelong: warning: old id\nlifelong: warning: other\n"


def test_a_reader_that_goes_away_ends_the_command_quietly() -> None:
    code = "from lifelong.cli import main; raise SystemExit(main(['train', '--help']))"
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stderr is not None
        reader.stdout.close()
        assert reader.stderr.read() == ""
        assert reader.wait() == 141
