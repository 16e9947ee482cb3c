"""Training on associative recall: resumable, fair, and reported as it came out."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lifelong.experiments.associative_recall.report import Line, difference, half_interval
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
    with pytest.raises(UserError, match="has runs with batch=4, not 5"):
        main(RecallConfig(**TINY | {"batch": 5}, output=tmp_path / "runs"))


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
