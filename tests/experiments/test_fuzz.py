"""Whatever a file holds, reading it succeeds or is answered in one line, soon: seeded changes of whole files."""

import copy
import hashlib
import json
import math
import os
import random
import re
import string
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lifelong.agents.checkpoint import find_checkpoint
from lifelong.envs.stream_file import StreamFileError, read_stream_file
from lifelong.experiments.reports.run import read_run
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.errors import UserError, known_errors
from lifelong.experiments.runs.facts import check_facts, run_facts
from lifelong.experiments.runs.open_run import LAST, open_run
from lifelong.experiments.studies.settings import train_config
from lifelong.experiments.studies.study_file import read_study_file
from lifelong.experiments.train import main as train

LONGEST = 300

STREAM = """
schedule = "cyclic:5"
life_episodes = 10
boundary = "none"
unify = true
[[tasks]]
name = "plain"
env = "CartPole-v1"
[[tasks]]
name = "heavy"
env = "CartPole-v1"
drifts = "gravity:4+sticky_actions:0.25"
kwargs = { sutton_barto_reward = true }
references = { random = 22.0, oracle = 500.0 }
success_return = 475.0
[train]
steps = 1_000_000
lr = 1e-3
working_memory = "off"
"""
NAMED = 'stream = "cued-recall"\nlife_hazard = 0.1\noptions = {cues = 4, size = 3}\ntrain = {steps = 1e4, gamma = 0.9}'

STUDY = """
question = "Is it kept?"
train = {cues = 4, steps = 1000}
seeds = "20-22"
arms = ["gated_delta", {memory = "gru", size = "parameters"}, {carry = "episode"}]
size = {state_bytes = 16_900, tolerance = 0.02}
[tune]
lr = [1e-3, 2e-3]
seeds = [1000]
by = "area(rho1, evaluation, 2:3)"
[[test]]
name = "far"
times = 4
[[test]]
name = "changed"
by = "adaptation"
[[hypothesis]]
id = "H1"
says = "more"
contrast = "[gated_delta, gru] - gated_delta/episode"
measure = "area(rho1, far, 2:15)"
expect = ">= -0.02"
smallest = 0.1
"""


def deep(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 7, 1.5, -0.0, 1e6, math.inf, -math.inf, math.nan, 10**30, -(10**30), 2**63,
    "", "x", "0", "1e-3", "nan", "x" * 700, "\0", "\ud800", "\n", "é", "..", "/", "a/b", "gru", "cached:gru",
    "evil:X", "gym:CartPole-v1", "gym:evil:X", "lifetime", "x.toml", "cyclic:0", "gravity:1e999", "[]",
    "a=" + "[" * 5000, [], {}, [None], [1, "a"], ["a=1"], [["a"]], {"a": 1}, {"": ""}, deep(30), deep(150), [0] * 400,
]  # fmt: skip


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every entry of a value of JSON."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*place, key)
        yield from places(inner, (*place, key))


def changed(content: Any, rng: random.Random) -> Any:
    """Return a copy with one to three entries set to something else, removed, renamed or added."""
    content = copy.deepcopy(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        paths = list(places(content))
        if not paths:
            return content
        *above, key = rng.choice(paths)
        holder = content
        for one in above:
            holder = holder[one]
        kind = rng.random()
        if kind < 0.6:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
        elif kind < 0.75:
            del holder[key]
        elif isinstance(holder, dict):
            new = rng.choice(("", "x", f"{key}s", str(key)[:-1], "trust", rng.choice(paths)[-1]))
            holder[str(new)] = holder.pop(key) if kind < 0.87 else copy.deepcopy(rng.choice(VALUES))
        else:
            holder.append(copy.deepcopy(rng.choice(VALUES)))
    return content


def damaged(text: str, rng: random.Random) -> bytes:
    """Return a text in which bytes are removed, repeated or replaced."""
    data = bytearray(text.encode(errors="surrogatepass"))
    for _ in range(rng.choice((1, 2, 8))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            del data[at : at + rng.randrange(1, 20)]
        elif kind == 1:
            data[at:at] = data[at : at + rng.randrange(1, 40)] * rng.randrange(1, 30)
        elif kind == 2:
            more = rng.choice((b"[", b"{", b"(", b"a.", b"&a ", b"*a ", b"'", b'"""', b"- ", b"0x"))
            data[at:at] = more * rng.randrange(1, 999)
        elif kind == 3:
            data[at : at + 1] = bytes([rng.randrange(256)])
        else:
            data[at:at] = rng.choice(string.punctuation).encode()
    return bytes(data)


def as_toml(value: Any) -> str:
    """Return a table in one line; what TOML has no word for is left out."""
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(key)} = {as_toml(one)}" for key, one in value.items() if one is not None)
        return f"{{{inner}}}"
    if isinstance(value, list):
        return f"[{', '.join(as_toml(one) for one in value if one is not None)}]"
    if isinstance(value, float):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def written(content: Any, suffix: str) -> str:
    """Return a table as the text of a file."""
    if suffix == ".toml":
        return "".join(f"{json.dumps(key)} = {as_toml(one)}\n" for key, one in content.items() if one is not None)
    return json.dumps(content) if suffix == ".json" else str(yaml.safe_dump(content, allow_unicode=True))


def answered(read: Callable[[], object], what: object) -> None:
    """Assert that something succeeds, or fails with one line."""
    try:
        read()
    except (*known_errors(), StreamFileError) as error:
        said = " ".join(str(error).split())
        assert said, what
        assert len(re.sub(r"/\S*/", "", said)) <= LONGEST, said  # how long a path is is the user's choice
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {str(error)[:200]} of {str(what)[:1500]}") from error


def write(path: Path, content: Any, rng: random.Random) -> object:
    """Write a changed table, or its text with damage; return what was written."""
    text = written(changed(content, rng) if rng.random() < 0.75 else content, path.suffix)
    data = damaged(text, rng) if rng.random() < 0.3 else text.encode(errors="surrogatepass")
    path.write_bytes(data)
    return data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a stream file."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "own.toml").write_text(STREAM)
    small = {"num_envs": 2, "segment": 4, "width": 8, "evaluation_lives": 0}
    return train(TrainConfig(str(folder / "own.toml"), runs=folder, name="run", steps=16, **small)).folder  # type: ignore[arg-type]


Fuzz = Callable[[int, Path, Path], None]


def fuzz_config(cases: int, run: Path, tmp_path: Path) -> None:
    rng, path = random.Random(0), run / "config.json"  # noqa: S311
    before = path.read_text()
    try:
        for _ in range(cases):
            what = write(path, json.loads(before), rng)
            answered(lambda: open_run(run).resolved(), what)
            answered(lambda: check_facts(find_checkpoint(run / LAST).facts, run), what)
            answered(lambda: read_run(run), what)
    finally:
        path.write_text(before)


def fuzz_checkpoint(cases: int, run: Path, tmp_path: Path) -> None:
    """Manifests, and facts whose sum is right in the manifest."""
    rng, last = random.Random(1), run / LAST  # noqa: S311
    before = {name: (last / name).read_text() for name in ("manifest.json", "facts.json")}
    try:
        for case in range(cases):
            name = ("manifest.json", "facts.json")[case % 2]
            what = write(last / name, json.loads(before[name]), rng)
            if name == "facts.json":
                manifest = json.loads(before["manifest.json"])
                manifest["files"][name]["sha256"] = hashlib.sha256((last / name).read_bytes()).hexdigest()
                (last / "manifest.json").write_text(json.dumps(manifest))
            answered(lambda: check_facts(find_checkpoint(last).facts, run), what)
            answered(lambda: run_facts(run), what)
            for each, text in before.items():
                (last / each).write_text(text)
    finally:
        for each, text in before.items():
            (last / each).write_text(text)


def fuzz_streams(cases: int, run: Path, tmp_path: Path) -> None:
    rng = random.Random(2)  # noqa: S311
    contents = [tomllib.loads(text) for text in (STREAM, NAMED)]
    for case in range(cases):
        path = tmp_path / f"own{('.toml', '.yaml', '.json')[case % 3]}"
        what = write(path, contents[case % 2], rng)
        answered(lambda path=path: TrainConfig(str(path)).resolved(), what)  # type: ignore[misc]


def fuzz_studies(cases: int, run: Path, tmp_path: Path) -> None:
    rng, path, content = random.Random(3), tmp_path / "study.toml", tomllib.loads(STUDY)  # noqa: S311
    for _ in range(cases):
        what = write(path, content, rng)

        def read() -> None:
            file = read_study_file(path)
            for arm in file.arms:
                train_config(file, arm)

        answered(read, what)


FUZZ = [(fuzz_config, 120), (fuzz_checkpoint, 100), (fuzz_streams, 300), (fuzz_studies, 150)]


@pytest.mark.parametrize(("fuzz", "cases"), FUZZ, ids=[fuzz.__name__ for fuzz, _ in FUZZ])
def test_whatever_a_file_holds_is_read_or_answered(fuzz: Fuzz, cases: int, run: Path, tmp_path: Path) -> None:
    fuzz(cases, run, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("fuzz", "cases"), FUZZ, ids=[fuzz.__name__ for fuzz, _ in FUZZ])
def test_thousands_of_files_are_read_or_answered(fuzz: Fuzz, cases: int, run: Path, tmp_path: Path) -> None:
    fuzz(cases * 20, run, tmp_path)


BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 8)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.yaml", BOMB),
        ("x.yaml", BOMB.replace("[", "{x: [").replace("]", "]}")),
        ("x.yaml", "a: &a {<<: [*a, *a]}"),
        ("x.yaml", "tasks: &a [*a]"),
        ("x.yaml", "[" * 100_000),
        ("x.yaml", "{a: " * 50_000),
        ("x.yaml", "- " * 100_000),
        ("x.yaml", "life_episodes: " + "9" * 100_000),
        ("x.yaml", "life_episodes: 0x" + "f" * 100_000),
        ("x.yaml", "life_episodes: " + "1:" * 20_000 + "1"),
        ("x.yaml", "life_episodes: !!int ''"),
        ("x.yaml", "a: !!timestamp x"),
        ("x.yaml", "? [a]\n: 1"),
        ("x.yaml", "a: !!python/object/apply:os.getcwd []"),
        ("x.toml", "a = " + "[" * 100_000),
        ("x.toml", "a = " + "{a = " * 50_000),
        ("x.toml", "a." * 100_000 + "a = 1"),
        ("x.toml", "[" + "a." * 100_000 + "a]"),
        ("x.toml", "x = {" + "a." * 100_000 + "a = 1}"),
        ("x.toml", ("a ." * 60 + "a = 1\n") + "".join(f"[{'b.' * 60}b{n}]\n" for n in range(1500))),
        ("x.toml", "[" + " " * 200_000),
        ("x.toml", "life_episodes = " + "9" * 100_000),
        ("x.toml", "life_episodes = 0x" + "f" * 100_000),
        ("x.toml", "x" * 300_000),
        ("x.json", "[" * 100_000),
        ("x.json", '{"a": ' * 100_000),
        ("x.json", '{"life_episodes": ' + "9" * 100_000 + "}"),
        ("x.json", '{"life_episodes": 1e999}'),
    ],
)
def test_no_file_takes_long(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    began = time.process_time()
    with pytest.raises(StreamFileError) as caught:
        read_stream_file(path)
    assert time.process_time() - began < 5
    assert len(str(caught.value)) - len(str(path)) < LONGEST - 40


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"format": 3, "config": ' + '{"a": ' * 100_000, '{"format": 1e999, "config": {}}']
)
def test_no_config_recurses(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    answered(lambda: open_run(tmp_path), text[:50])


def test_a_device_in_place_of_a_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "x.toml")
    with pytest.raises(UserError, match="it is no regular file"):
        open_run(tmp_path)
    with pytest.raises(StreamFileError, match="it is no regular file"):
        read_stream_file(tmp_path / "x.toml")


def test_yaml_reads_numbers_without_a_point(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "tasks: [{env: CartPole-v1, name: 2026-01-31}]\ntrain: {lr: 1e-3, steps: 2e+6, gamma: 9E-1}\nlife_hazard: 1e-2"
    )
    found = read_stream_file(path)
    assert found.train == {"lr": 0.001, "steps": 2e6, "gamma": 0.9}
    assert found.options["life_hazard"] == 0.01
    assert found.options["tasks"][0].name == "2026-01-31"
    assert TrainConfig(str(path)).resolved().steps == 2_000_000
