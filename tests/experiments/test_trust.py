"""Files do not run code: what a run, a stream file or a study names is not imported unless it is trusted."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest

import lifelong
from lifelong import cli
from lifelong.envs.suites import Suite
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.train import main as train
from lifelong.memory.registry import MEMORIES, make_memory
from lifelong.registry import load
from lifelong.trust import make_importable

EVIL = """from pathlib import Path

Path(__file__).resolve().parent.joinpath("executed").touch()
Path({marker!r}).touch()


def X(*args, **kwargs):
    Path({marker!r}).touch()
"""

OWN = """import gymnasium
from lifelong.memory.controls.rnn import GRU


class Mine(GRU):
    pass


def made(width):
    return Mine(width)


gymnasium.register("mine/Cart-v0", "gymnasium.envs.classic_control:CartPoleEnv", max_episode_steps=9)
"""

CONFIGS: dict[str, dict[str, Any]] = {
    "memory in the run": {"memory": "runs.x.evil:X"},
    "memory beside the run": {"memory": "evil:X"},
    "wrapped memory": {"memory": "cached:evil:X"},
    "inner memory": {"memory": "hybrid", "memory_options": ["a=evil:X"]},
    "innermost memory": {"memory": "hybrid", "memory_options": ['b_options={"host": "evil:X"}', "b=cached"]},
    "working memory": {"working_memory": "evil:X"},
    "environment": {"stream": "gym:evil:Id-v0"},
    "environment of the run": {"stream": "gym:runs.x.evil:Id-v0"},
    "tasks": {"stream": "gym:CartPole-v1", "stream_options": ['tasks=["CartPole-v1", "evil:Id-v0"]']},
    "environment made by another": {"stream": "gym:lifelong/CartPoleNoVel-v1", "env_kwargs": ["env_id=evil:Id-v0"]},
    "stream": {"stream": "evil:X"},
}

STREAM_FILES = {
    "stream": 'stream = "evil:X"',
    "environment": 'stream = "gym:evil:Id-v0"',
    "task": '[[tasks]]\nenv = "evil:Id-v0"',
    "task's environment": '[[tasks]]\nenv = "lifelong/CartPoleNoVel-v1"\nkwargs = {env_id = "evil:Id-v0"}',
    "options": 'stream = "gym:CartPole-v1"\n[options]\ntasks = ["evil:Id-v0"]',
    "settings of training": '[[tasks]]\nenv = "CartPole-v1"\n[train]\nworking_memory = "evil:X"',
}

OF_A_RUN = """
train --resume {run}
retention {run}
retention {run} --probe
fork {run} y
fork {run} y.safetensors
adaptation {run}
interference {run}
swap {run} --memory gru
watch {run} --output film.gif
report {run}
report runs
export {run} --format csv --output exported
export {run} --format l2logger --output exported
export-policy {run} --output policy.pt2
bench life {run}
"""

OF_A_STREAM_FILE = """
train {file} --steps 8
train {file} --seeds 0..1
check --memory gru --env {file}
stream show {file}
certify {file}
interference plain --by {file}
"""

STUDIES = {
    "stream": 'stream = "gym:evil:Id-v0"\narms = ["gru"]',
    "stream file": 'stream = "evil.toml"\narms = ["gru"]',
    "arm": 'arms = ["evil:X"]',
    "memory of an arm": 'arms = [{memory = "cached:evil:X"}]',
    "setting of an arm": 'arms = [{memory = "hybrid", a = "evil:X"}]',
    "stream of an arm": 'arms = [{stream = "gym:evil:Id-v0"}]',
    "training": 'train = {working_memory = "evil:X"}\narms = ["gru"]',
    "tuning": 'arms = ["gru"]\ntune = {memory = ["gru", "evil:X"], seeds = "9", by = "area(rho1, evaluation, 2:3)"}',
    "test": 'arms = ["gru"]\n[[test]]\nname = "t"\ntasks = ["evil:Id-v0"]',
}

Answer = Callable[..., str]


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the file that evil code would write, in a folder where it lies in wait; assert that it was not written."""
    here, marker = tmp_path / "here", tmp_path / "executed"
    run = here / "runs" / "x"
    run.mkdir(parents=True)
    evil = EVIL.format(marker=str(marker))
    for folder in (here, here / "runs", run):
        for name in ("evil", "not_installed"):
            (folder / f"{name}.py").write_text(evil)
    for folder in (here / "runs", run):
        (folder / "__init__.py").write_text(evil)
    points = "[lifelong.memories]\nplugged = evil:X\n[gymnasium.envs]\n__root__ = evil:X\n"
    for folder in (here, run):
        (folder / "evil-1.0.dist-info").mkdir()
        (folder / "evil-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
        (folder / "evil-1.0.dist-info" / "entry_points.txt").write_text(points)
    monkeypatch.chdir(here)
    path = list(sys.path)
    yield marker
    sys.path[:] = path
    assert not marker.exists()
    assert not list(tmp_path.rglob("executed"))
    assert not {"evil", "not_installed", "runs", "runs.x"} & sys.modules.keys()


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Answer:
    """Return the one line that a command is refused with."""

    def answer(*words: str) -> str:
        capsys.readouterr()
        assert cli.main(list(words)) == 2, words
        said = capsys.readouterr()
        assert said.err.startswith("lifelong: "), said.err
        assert said.err.count("\n") == 1
        assert len(said.err) <= 300, said.err
        return said.err

    return answer


def write_run(folder: Path, **changes: Any) -> None:
    config = TrainConfig("gym:CartPole-v1", steps=8, num_envs=2, segment=4, evaluation_lives=0).to_json() | changes
    (folder / "config.json").write_text(json.dumps({"format": 3, "config": config, "origin": {}}))


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
def test_no_verb_runs_what_a_run_names(changes: dict[str, Any], marker: Path, refused: Answer) -> None:
    write_run(Path("runs/x"), **changes)
    Path("linked").symlink_to("runs/x")
    for line in OF_A_RUN.strip().splitlines():
        for run in ("runs/x", "linked"):
            said = refused(*line.format(run=run).split())
            if "bench" not in line:
                assert "--trust" in said, said
                assert "evil" in said
                assert f"{'runs/x' if 'report runs' in line else run}/config.json: " in said
    for call in (lifelong.load_agent, lifelong.evaluate):
        with pytest.raises(UserError):
            call("runs/x")
    with pytest.raises(UserError):
        lifelong.load_life("runs/x", None)  # type: ignore[arg-type]
    with pytest.raises(UserError):
        lifelong.train(TrainConfig(resume=Path("runs/x")))


def test_a_suite_that_is_not_installed_is_not_found_beside_a_run(
    marker: Path, monkeypatch: pytest.MonkeyPatch, refused: Answer
) -> None:
    monkeypatch.setattr("lifelong.envs.suites.SUITES", (Suite(("Evil-",), "not_installed", "pip install evil"),))
    write_run(Path("runs/x"), stream="gym:Evil-v0")
    for line in OF_A_RUN.strip().splitlines():
        if "report" not in line and "export " not in line:  # they do without the stream
            refused(*line.format(run="runs/x").split())
            refused(*line.format(run="runs/x").split(), *([] if "bench" in line else ["--trust"]))


@pytest.mark.parametrize("text", STREAM_FILES.values(), ids=STREAM_FILES)
@pytest.mark.parametrize("suffix", [".toml", ".yaml"])
def test_no_verb_runs_what_a_stream_file_names(text: str, suffix: str, marker: Path, refused: Answer) -> None:
    if suffix == ".yaml":
        import tomllib

        text = json.dumps(tomllib.loads(text))
    Path(f"evil{suffix}").write_text(text)
    Path(f"runs/x/stream{suffix}").write_text(text)
    write_run(Path("runs/x"), stream=f"evil{suffix}")
    for line in OF_A_RUN.strip().splitlines():
        refused(*line.format(run="runs/x").split())
    Path("plain").mkdir()
    write_run(Path("plain"), stream="cued-recall")
    for line in OF_A_STREAM_FILE.strip().splitlines():
        if "working_memory" not in text or "train" in line:  # other verbs do not read settings of training
            refused(*line.format(file=f"evil{suffix}").split())
    if "working_memory" not in text:
        with pytest.raises((ValueError, KeyError)):
            lifelong.make_stream(f"evil{suffix}")


@pytest.mark.parametrize("text", STUDIES.values(), ids=STUDIES)
def test_no_verb_runs_what_a_study_names(text: str, marker: Path, refused: Answer) -> None:
    Path("evil.toml").write_text('[[tasks]]\nenv = "evil:Id-v0"')
    Path("study.toml").write_text(f'question = "?"\nseeds = [0]\n{text}')
    for part in ("check", "register", "run", "judge", "report"):
        said = refused("study", part, "study.toml")
        assert "--trust" in said
        assert "toml:" in said
    with pytest.raises(UserError, match="trust"):
        _ = lifelong.Study.from_file("study.toml").plans


def test_outputs_of_recall_name_no_code(marker: Path, refused: Answer) -> None:
    from lifelong.experiments.associative_recall.sizes import PRESETS

    Path("recall").mkdir()
    Path("recall/config.json").write_text(PRESETS["small"][0].to_json())
    Path("recall/areas.json").write_text(json.dumps({"mqar": {"evil:X": 0.5}}))
    assert "recall/areas.json: memory 'evil:X'" in refused("cost", "--recall", "recall")


@pytest.mark.parametrize("name", ["runs.x.evil:X", "runs.evil:X", "linked:X"])
def test_no_code_of_a_runs_folder_is_trusted(name: str, marker: Path, refused: Answer) -> None:
    """Whoever names it, with trust and without."""
    write_run(Path("runs/x"), memory=name)
    Path("linked.py").symlink_to("runs/x/evil.py")
    assert "inside the folder of a run" in refused("retention", "runs/x", "--trust")
    assert "inside the folder of a run" in refused("train", "--memory", name, "--steps", "8")
    assert "inside the folder of a run" in refused("train", f"gym:{name}")
    with pytest.raises(ImportError, match="inside the folder of a run"):
        make_memory(name, 8)
    shutil.move("runs/x", "elsewhere")
    if name != "runs.evil:X":
        with pytest.raises(ImportError):
            make_importable("elsewhere.evil")
        with pytest.raises(ImportError):
            load("memory", "elsewhere.evil:X")


@pytest.mark.slow
@pytest.mark.parametrize("here", [".", "runs/x"])
def test_no_command_imports_what_lies_around(here: str, marker: Path) -> None:
    """Processes of their own, in the folder above a run and in the run's: modules there hide none that are missing."""
    write_run(Path("runs/x"), stream="gym:MinAtar/Evil-v0")  # of a package that is not installed
    for folder in (Path(), Path("runs/x")):
        (folder / "minatar").mkdir()
        for name in ("__init__", "gym"):
            shutil.copy("evil.py", folder / "minatar" / f"{name}.py")
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    run = "runs/x" if here == "." else "."
    for words in (f"report {run}", f"retention {run}", f"watch {run} --output film.gif", f"train --resume {run}"):
        code = f"import sys; from lifelong.cli import main; sys.argv[1:] = {words.split()!r}; sys.exit(main())"
        python = [sys.executable, "-P"] if here == "." else [sys.executable]  # in a run's folder `''` is removed
        done = subprocess.run([*python, "-c", code], cwd=here, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == (0 if "report" in words else 2), done.stderr
        assert "report" in words or done.stderr.count("\n") == 1


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A memory and an environment of the user's own, in the working directory."""
    (tmp_path / "trusted_mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield
    sys.path[:] = path
    sys.modules.pop("trusted_mine", None)
    gymnasium.registry.pop("mine/Cart-v0", None)


def test_a_memory_from_the_command_line_goes_on_when_it_is_trusted(
    mine: None, tiny: Callable[..., TrainConfig], refused: Answer
) -> None:
    config = tiny(memory="trusted_mine:Mine")
    assert train(config).finished
    run = str(config.run)
    said = refused("train", "--resume", run, "--steps", "320")
    assert "memory 'trusted_mine:Mine' is neither registered nor of an installed package" in said
    assert cli.main(["train", "--resume", run, "--steps", "320", "--trust"]) == 0
    assert cli.main(["retention", run, "--steps", "16", "--trust"]) == 0
    assert lifelong.load_agent(run, trust=True).carry == "lifetime"
    assert "trust" not in json.loads((config.run / "config.json").read_text())["config"]


def test_a_stream_file_is_trusted_when_that_is_said(mine: None, refused: Answer) -> None:
    Path("own.toml").write_text('[[tasks]]\nenv = "trusted_mine:mine/Cart-v0"')
    assert "own.toml:1: environment 'trusted_mine:mine/Cart-v0'" in refused("stream", "show", "own.toml")
    assert cli.main(["stream", "show", "own.toml", "--trust"]) == 0
    assert lifelong.make_stream("own.toml", trust=True).num_envs == 1


def test_no_file_says_that_it_is_trusted(marker: Path, refused: Answer) -> None:
    write_run(Path("runs/x"), memory="evil:X", trust=True)
    assert "config.json: no setting 'trust'" in refused("retention", "runs/x")
    Path("own.toml").write_text('[[tasks]]\nenv = "CartPole-v1"\n[train]\ntrust = true')
    assert "train has no setting 'trust'" in refused("train", "own.toml")
    Path("study.toml").write_text('question = "?"\nseeds = [0]\narms = ["gru"]\ntrain = {trust = true}')
    assert "trust is the study's own" in refused("study", "check", "study.toml", "--quick")


@pytest.mark.parametrize("name", ["trusted_mine:made", "os:getcwd", "lifelong.cli:main", "collections:Counter"])
def test_a_memory_is_a_class_of_memories_before_it_is_called(name: str, mine: None) -> None:
    with pytest.raises(TypeError, match=r"must be a class that extends lifelong\.memory\.Memory"):
        make_memory(name, 8)


def test_every_verb_that_reads_files_can_be_told_to_trust_them(capsys: pytest.CaptureFixture[str]) -> None:
    verbs = [line.split() for line in OF_A_RUN.strip().splitlines() if not line.startswith("bench")]
    verbs += [line.split() for line in OF_A_STREAM_FILE.strip().splitlines()]
    words = {(verb, "show") if verb == "stream" else (verb,) for verb, *_ in verbs}
    words |= {("study", part) for part in ("check", "register", "run", "judge", "report")} | {("cost",)}
    for verb in sorted(words):
        with pytest.raises(SystemExit):
            cli.main([*verb, "--help"])
        assert "--trust" in capsys.readouterr().out, verb


def test_names_of_the_table_are_never_foreign() -> None:
    from lifelong.memory.registry import foreign_memories

    assert not [name for name in MEMORIES for _ in foreign_memories(name, {"host": f"cached:{name}"})]
