"""Training on associative recall: resumable, fair, and reported as it came out."""

import io
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.testing import assert_close

from lifelong.experiments.associative_recall import provenance
from lifelong.experiments.associative_recall.provenance import code
from lifelong.experiments.associative_recall.report import Line, difference, half_interval, write_report
from lifelong.experiments.associative_recall.trial import Model, Run, build, train
from lifelong.experiments.recall import RecallConfig, main
from lifelong.experiments.runs.errors import UserError

TINY = {"length": 24, "pairs": (2, 4), "times": (1, 2), "keys": 8, "values": 4, "width": 8, "state_bytes": 512,
        "parameters": 2_000, "steps": 3, "batch": 4, "workers": 1}  # fmt: skip


def test_a_run_is_its_seed_and_knows_more_than_chance_when_trained():
    sizes = RecallConfig(**TINY | {"steps": 100, "batch": 32, "pairs": (2,)}).sizes()
    recall = train(Run("rewrite", "gated_delta", 3e-2, 0), sizes)["recall"]
    assert set(recall) == {"1", "2"}
    assert recall["1"]["2"] > 0.5  # chance is 1/4
    assert recall["2"]["2"] > 0.5
    short = replace(sizes, steps=3)
    runs = [train(Run("rewrite", "gated_delta", 3e-2, seed), short)["recall"] for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_segments_with_their_state_carried_on_are_one_pass():
    model = Model(build("kalman_delta", RecallConfig(**TINY).sizes())[0], 13, 4).double()
    tokens = torch.randint(13, (3, 20))
    assert_close(model(tokens, 7), model(tokens))


def test_an_interrupted_comparison_goes_on_and_a_finished_one_trains_nothing(tmp_path, monkeypatch):
    config = RecallConfig(**TINY, memories=("none", "gated-delta"), tasks=("once",), learning_rates=(1e-3, 1e-2),
                          seeds=2, output=tmp_path / "runs")  # fmt: skip
    table = main(config)
    kept = tmp_path / "runs" / "runs.jsonl"
    lines = kept.read_text().splitlines(keepends=True)
    assert len(lines) == 2 * (2 + 2)  # memories x (rates + seeds)
    assert "| `gated_delta` |" in table
    assert (tmp_path / "runs" / "table.md").read_text() == table
    assert (tmp_path / "runs" / "recall-once.png").stat().st_size > 10_000
    assert len(list((tmp_path / "runs" / "tensorboard" / "gated_delta").glob("events*"))) == 1

    kept.write_text("".join(lines[:-1]) + lines[-1][:20])  # cut off while the last line was written
    assert main(config) == table
    assert [json.loads(line)["seed"] for line in kept.read_text().splitlines()[-1:]] == [1]

    monkeypatch.setattr("lifelong.experiments.recall.train", None)
    assert main(config) == table
    whole = kept.read_bytes()
    for damage, line in ((b"\xff\n", 1), (b"{\n", 9), (b"[1]\n", 9), (b"{}\n", 9)):
        kept.write_bytes(whole + damage)
        with pytest.raises(UserError, match=rf"holds no runs of lifelong recall: line {line}: \w+Error: .{{,90}}$"):
            main(config)
        assert kept.read_bytes() == whole + damage
    kept.write_bytes(whole)
    with pytest.raises(UserError, match="has runs with batch=4, not 5"):
        main(RecallConfig(**TINY | {"batch": 5}, output=tmp_path / "runs"))


def test_equal_shapes_are_equal_and_what_has_none_gets_the_bytes():
    shape = {"num_heads": 2, "key_dim": 3, "value_dim": 5, "conv_size": 4, "horizons": (1e3, 1e5)}
    sizes = RecallConfig(**TINY | {"parameters": 0}, equal="shape", **shape).sizes()
    for name in ("palimpsa", "not_palimpsa", "gated_delta"):
        backbone, size = build(name, sizes)
        assert size.options == shape
        assert not list(backbone.mlps.parameters())
    assert build("palimpsa", sizes)[1].state_bytes - build("not_palimpsa", sizes)[1].state_bytes == 4 * 2 * 3 * 5
    assert build("window", sizes)[1].state_bytes <= sizes.state_bytes
    wide = build("gated_delta", replace(sizes, equal="bytes"))[1]
    assert wide.options["key_dim"] > 3
    assert wide.state_bytes <= sizes.state_bytes


def test_the_published_preset_has_the_published_shape_of_both():
    sizes = RecallConfig(preset="published").sizes()
    for name in ("palimpsa", "not_palimpsa"):
        backbone, size = build(name, sizes)
        assert {dial: size.options[dial] for dial in ("num_heads", "key_dim", "value_dim", "conv_size")} == {
            "num_heads": 8, "key_dim": 16, "value_dim": 32, "conv_size": 4}  # fmt: skip
        assert not list(backbone.mlps.parameters())


def test_what_cannot_be_made_leaves_no_folder_behind(tmp_path):
    config = RecallConfig(**TINY, memories=("lact",), output=tmp_path / "runs")
    with pytest.raises(UserError, match="memory 'lact' has at least"):
        main(config)
    assert not config.output.exists()


def test_sizes_are_read_as_they_were_written():
    for preset in ("small", "published"):
        sizes = RecallConfig(preset=preset, equal="shape", key_dim=8).sizes()
        assert type(sizes).from_json(sizes.to_json()) == sizes


def test_each_memory_takes_its_best_shape_of_the_same_bytes(tmp_path):
    config = RecallConfig(**TINY, memories=("gated_delta", "none"), tasks=("once",), learning_rates=(1e-2,), shapes=3,
                          seeds=2, output=tmp_path / "runs")  # fmt: skip
    table = main(config)
    runs = [json.loads(line) for line in (tmp_path / "runs" / "runs.jsonl").read_text().splitlines()]
    tried = {run["shape"]: run["recall"]["1"] for run in runs if run["memory"] == "gated_delta" and run["seed"] >= 1000}
    assert len(tried) == 3
    assert all(0.9 * 512 * 0.9 <= build("gated_delta", config.sizes(), shape)[1].state_bytes <= 512 for shape in tried)
    best = max(tried, key=lambda shape: sum(tried[shape].values()))
    taken = {run["shape"] for run in runs if run["memory"] == "gated_delta" and run["seed"] < 1000}
    assert {sum(tried[shape].values()) for shape in taken} == {sum(tried[best].values())}
    (options,) = taken
    assert " ".join(f"{name}={value}" for name, value in json.loads(options).items()) in table


def test_training_goes_on_while_recall_rises():
    sizes = RecallConfig(**TINY | {"steps": 40, "batch": 32, "pairs": (2,)}, until="converged").sizes()
    learnt = train(Run("rewrite", "gated_delta", 3e-2, 0), sizes)
    assert learnt["batches"] % 40 == 0
    assert learnt["batches"] > 120  # two rounds, and one in which the rate falls
    assert learnt["recall"]["1"]["2"] > 0.5
    assert train(Run("rewrite", "none", 1e-6, 0), sizes)["batches"] <= 160  # chance, whatever is done


PLUG_IN = """
import torch
from helper import FADE
from tensordict import TensorDict
from lifelong.memory import Memory


class Leaky(Memory):
    def __init__(self, width):
        super().__init__(width)
        self.write = torch.nn.Linear(width, width)

    def initial_state(self, batch):
        return TensorDict({"h": self.zeros(batch, self.width)}, [batch])

    def step(self, x, state, start):
        h = FADE * self.restart(state, start)["h"] + self.write(x)
        return h, TensorDict({"h": h}, [len(x)])
"""


@pytest.fixture
def leaky(tmp_path, monkeypatch):
    """Write a memory in a module of its own, and what it imports in another; return the folder."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "leaky_memory.py").write_text(PLUG_IN.replace("helper", "leaky_fade"))
    (tmp_path / "leaky_fade.py").write_text("FADE = 0.9\n")
    yield tmp_path
    for name in ("leaky_memory", "leaky_fade"):
        sys.modules.pop(name, None)


def test_what_was_changed_since_is_run_anew_and_the_rest_is_not(leaky, monkeypatch):
    def ask():
        trained.clear()
        console = Console(file=io.StringIO(), width=200)
        main(config, console)
        return [line for line in console.file.getvalue().splitlines() if line.startswith("re-run")]

    def record(run, *others):
        trained.append(run.memory)
        return train(run, *others)

    trained, memory = [], "leaky_memory:Leaky"
    monkeypatch.setattr("lifelong.experiments.recall.train", record)
    config = RecallConfig(**TINY, memories=("none", memory), tasks=("once",), learning_rates=(1e-3,), seeds=1,
                          output=leaky / "runs")  # fmt: skip
    assert ask() == []
    assert trained == ["none", memory] * 2

    path = leaky / "leaky_memory.py"
    path.write_text(f'"""Words."""  # more\n{path.read_text()}'.replace("(Memory):", "(Memory):  # fades"))
    assert (ask(), trained) == ([], [])
    path.write_text(path.read_text().replace("FADE *", "FADE**2 *"))
    assert ask() == [f"re-run: the code of {memory} changed (2 runs)"]
    assert trained == [memory] * 2
    assert (ask(), trained) == ([], [])

    monkeypatch.setattr(
        "lifelong.experiments.associative_recall.provenance.package_version", lambda package: f"{package} 9"
    )
    (torch_was,) = {line.split(" changed from ")[1].split(" to ")[0] for line in ask() if "torch" in line}
    assert torch_was == torch.__version__
    assert trained == ["none", memory] * 2

    kept = leaky / "runs" / "runs.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    kept.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "made"}) + "\n" for row in rows))
    assert ask() == [f"re-run: what {name} was run with is not known (2 runs)" for name in ("none", memory)]


def test_the_code_of_a_memory_is_all_that_it_imports_of_ours(leaky):
    before = code(["leaky_memory"])
    (leaky / "leaky_fade.py").write_text("FADE = 0.8\n")
    assert code(["leaky_memory"]) != before
    package = leaky / "pack"
    package.mkdir()
    for name, text in {"__init__": "", "a": "from . import b\nfrom .c import X", "b": "import pack.d", "c": "X = 1",
                       "d": "Y = 1", "e": "Z = 1"}.items():  # fmt: skip
        (package / f"{name}.py").write_text(text)
    before = code(["pack.a"])
    changed = {}
    for name in "abcde":
        path = package / f"{name}.py"
        text = path.read_text()
        path.write_text(f"{text}\nMORE = 2\n")
        changed[name] = code(["pack.a"]) != before
        path.write_text(text)
    assert changed == dict.fromkeys("abcd", True) | {"e": False}


def test_a_memory_of_ours_is_known_by_its_kernel_and_not_by_others(monkeypatch):
    read = []
    bare = provenance._bare
    monkeypatch.setattr(provenance, "_bare", lambda path: read.append("/".join(path.parts[-2:])) or bare(path))
    code(["lifelong.memory.delta.gated_delta"])
    assert {"delta/gated_delta.py", "delta/base.py", "memory/layer.py", "memory/memory.py"} <= set(read)
    assert {"fast_weight/cpu.py", "fast_weight/triton_chunk.py", "kernels/backends.py", "fused/cpu.py"} <= set(read)
    assert not {name for name in read if name.startswith(("additive/", "networks/")) or "registry" in name}


def test_intervals_are_those_of_student_and_welch():
    a, b = np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 0.0])
    # t(.975, 2) = 4.3027, standard deviation 1, three values
    assert half_interval(a) == pytest.approx(4.3027 / 3**0.5, rel=1e-4)
    assert difference(a, b) == pytest.approx((2.0, 4.3027 / 3**0.5), rel=1e-4)  # b adds no freedom
    assert np.isnan(half_interval(a[:1]))


def test_the_area_is_the_mean_over_pairs_and_lengths():
    seed = {"1": {"2": 1.0, "4": 0.5}, "2": {"2": 0.5, "4": 0.0}}
    line = Line("once", "none", 1e-3, False, 0, 10, [seed, seed])
    assert line.area.tolist() == [0.5, 0.5]
    assert line.at("1", "4").tolist() == [0.5, 0.5]


def test_seeds_that_have_not_begun_to_learn_are_counted(tmp_path):
    seeds = [{"1": {"2": recalled}} for recalled in (0.9, 0.1, 0.5)]
    line = Line("once", "based", 1e-3, False, 0, 10, seeds, {"key_dim": 4}, [20, 40, 40])
    text = write_report([line], "", tmp_path)
    assert "| `based` (no window) | key_dim=4 | 20 to 40 | 2 of 3 | 0.100, 0.500, 0.900 |" in text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps must be positive: steps=0"),
        ({"pairs": ()}, "pairs must not be empty"),
        ({"learning_rates": (-1.0,)}, "learning_rates must be positive"),
        ({"workers": -1}, "workers must not be negative: workers=-1"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        RecallConfig(**TINY | wrong)


def test_sizes_that_do_not_fit_each_other_are_refused():
    with pytest.raises(UserError, match="pairs must be at most keys=8: pairs=9"):
        RecallConfig(**TINY | {"pairs": (9,)}).sizes()
    with pytest.raises(UserError, match="length must be at least 12 with pairs=4: length=11"):
        RecallConfig(**TINY | {"length": 11}).sizes()
    with pytest.raises(
        UserError, match="key_dim is what is turned to the bytes: --equal shape keeps it, got key_dim=3"
    ):
        RecallConfig(**TINY, key_dim=3).sizes()
    with pytest.raises(UserError, match="shapes are tried at equal bytes, not with --equal shape: shapes=2"):
        RecallConfig(**TINY, equal="shape", key_dim=3, shapes=2).sizes()
    with pytest.raises(UserError, match="equal shapes need --key-dim"):
        RecallConfig(**TINY, equal="shape").sizes()
