"""A run goes on elsewhere and for longer: device, threads, steps; other versions are said."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from lifelong import cli, load_agent
from lifelong.agents import PPO
from lifelong.experiments.adaptation import AdaptationConfig
from lifelong.experiments.interference import InterferenceConfig
from lifelong.experiments.retention import RetentionConfig, main as retention
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.episodes import read_episodes
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.learning_rate import LearningRate, Piece
from lifelong.experiments.runs.open_run import LAST, open_run
from lifelong.experiments.swap import SwapConfig, main as swap
from lifelong.experiments.train import main

Configs = Callable[..., TrainConfig]


def content(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


def rewrite(folder: Path, **settings: Any) -> None:
    """Change the config of a run as if it had been trained so."""
    found = content(folder)
    found["config"] |= settings
    (folder / "config.json").write_text(json.dumps(found))


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the list of the shares of the learning rate of all updates."""
    found: list[float] = []
    learn = PPO.learn

    def noted(self: PPO, segment: Any, share: float) -> Any:
        found.append(share)
        return learn(self, segment, share)

    monkeypatch.setattr(PPO, "learn", noted)
    return found


def test_a_finished_run_goes_on_for_more_steps_at_its_last_learning_rate(tiny: Configs, shares: list[float]) -> None:
    folder = main(tiny(evaluation_lives=2)).folder
    assert shares == [0.05 + 0.95 * (1.0 - step / 160) for step in (32, 64, 96, 128, 160)]
    said = io.StringIO()
    outcome = main(TrainConfig(resume=folder, steps=256), Console(file=said, width=200))
    assert (outcome.finished, outcome.steps) == (True, 256)
    assert shares[5:] == [0.05] * 3
    assert "the learning rate stays at 0.05 until 256 steps\n" in said.getvalue()
    assert "goes on with steps 160 -> 256\n" in said.getvalue()
    assert len(read_episodes(folder, ["train"])["step"]) == 256
    assert len(read_episodes(folder, ["frozen"])["step"]) == 16, "evaluated anew"
    assert open_run(folder).steps == 256
    assert content(folder)["changes"] == [{"step": 160, "steps": [160, 256]}]


def test_a_run_that_is_made_longer_half_way_is_resumed_to_the_same_bits(tiny: Configs, shares: list[float]) -> None:
    def halfway(name: str) -> Path:
        folder = main(tiny(name=name, steps=96)).folder
        rewrite(folder, steps=192)  # as if it had been interrupted at half of its steps
        return folder

    whole, broken = halfway("whole"), halfway("broken")
    shares.clear()
    main(TrainConfig(resume=whole, steps=320))
    assert shares == pytest.approx([0.05 + 0.475 * (320 - step) / 224 for step in range(128, 321, 32)])
    unbroken = shares.copy()
    shares.clear()
    outcome = main(TrainConfig(resume=broken, steps=320))
    rewrite(broken)
    (broken / "checkpoints" / "last").rename(broken / "gone")  # the one of the beginning of the new piece is left
    again = main(TrainConfig(resume=broken))
    assert outcome.finished
    assert again.finished
    assert shares == unbroken * 2
    for path in (whole / LAST).glob("*.safetensors"):
        assert path.read_bytes() == (broken / LAST / path.name).read_bytes()


def test_a_run_cannot_end_before_it_is(tiny: Configs) -> None:
    folder = main(tiny()).folder
    before = (folder / "config.json").read_bytes()
    with pytest.raises(UserError, match=r"tiny has 160 steps, and cannot end after fewer: steps=100$"):
        main(TrainConfig(resume=folder, steps=100))
    assert (folder / "config.json").read_bytes() == before
    assert main(TrainConfig(resume=folder, steps=160)).finished
    assert "learning_rate" not in content(folder)


def test_pieces_join_without_a_jump() -> None:
    rate = LearningRate((Piece(0, 1.0, 100),), 0.1)
    assert [rate.at(step) for step in (0, 50, 100, 150)] == [1.0, 0.55, 0.1, 0.1]
    longer = rate.until(250, 50)
    assert [longer.at(step) for step in (25, 50)] == [rate.at(25), rate.at(50)]
    assert longer.at(51) == pytest.approx(0.55, abs=0.01)
    assert longer.at(150) == pytest.approx(0.325)
    assert longer.at(250) == 0.1
    again = longer.until(200, 50)  # from an earlier checkpoint: what came after it has not been
    assert again.pieces == (Piece(0, 1.0, 100), Piece(50, rate.at(50), 200))
    assert rate.until(100, 100).at(101) == 0.1


def test_a_run_of_a_gpu_goes_on_without_one(tiny: Configs) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one here")
    folder = main(tiny()).folder
    rewrite(folder, device="cuda", cuda_graph="on", steps=192)
    for verb in (["train", "--resume"], ["retention"], ["swap"]):
        words = [*verb, str(folder), *(["--memory", "gru"] if verb == ["swap"] else [])]
        assert cli.main(words) == 2, "torch sees no GPU here"
        elsewhere = ["--steps", "32"] if verb == ["retention"] else []
        assert cli.main([*words, "--device", "cpu", *elsewhere]) == 0
        rewrite(folder, device="cuda", cuda_graph="on")
    assert load_agent(folder).policy is not None
    main(TrainConfig(resume=folder, device="cpu", threads=2))
    assert (open_run(folder).device, open_run(folder).threads, open_run(folder).cuda_graph) == ("cpu", 2, "auto")
    assert content(folder)["changes"][-1] == {"step": 192, "device": ["cuda", "cpu"], "threads": [1, 2]}
    assert main(TrainConfig(resume=folder)).finished
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


@pytest.mark.parametrize("settings", [RetentionConfig, AdaptationConfig, InterferenceConfig, SwapConfig])
def test_every_verb_of_a_trained_agent_takes_a_device(settings: type) -> None:
    assert {"device", "threads"} <= set(settings.__dataclass_fields__)


def test_a_swapped_run_has_the_device_and_threads_that_were_asked_for(tiny: Configs) -> None:
    folder = main(tiny()).folder
    swap(SwapConfig(folder, memory="gru", threads=3, device="cpu", name="other"))
    found = open_run(folder.with_name("other"))
    assert (found.threads, found.device) == (3, "cpu")
    torch.set_num_threads(1)


def test_other_versions_are_said_and_the_run_goes_on(tiny: Configs) -> None:
    folder = main(tiny()).folder

    def said() -> str:
        text = io.StringIO()
        assert main(TrainConfig(resume=folder), Console(file=text, width=400)).finished
        return text.getvalue()

    assert "was begun with" not in said()
    found = content(folder)
    found["origin"]["versions"] |= {"torch": "1.13.0", "lifelong-rl": "0.0.9"}
    (folder / "config.json").write_text(json.dumps(found))
    here = f"torch 1.13.0, here is {torch.__version__}: it goes on, but not to the same bits\n"
    assert "was begun with lifelong-rl 0.0.9, here is " in said()
    assert here in said()
    found["origin"]["code"] = "0" * 64
    (folder / "config.json").write_text(json.dumps(found))
    assert "; other code of lifelong-rl, or of a plug-in: it goes on" in said()


def test_a_resumed_run_takes_no_other_setting(tiny: Configs) -> None:
    folder = main(tiny()).folder
    taken = "device, threads, processes, env_workers, steps, on_log_error"
    with pytest.raises(UserError, match=rf"it takes {taken} and cannot also change seed, width$"):
        main(TrainConfig(resume=folder, seed=3, width=8, steps=320))
    assert replace(open_run(folder), overwrite=False) == tiny().resolved()


def test_retention_is_measured_on_a_device(tiny: Configs) -> None:
    folder = main(tiny()).folder
    measured = [retention(RetentionConfig(folder, steps=32, lives=2, device=device)) for device in (None, "cpu")]
    assert measured[0].curve == measured[1].curve or str(measured[0]) == str(measured[1])
