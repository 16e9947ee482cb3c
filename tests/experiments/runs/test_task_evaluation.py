"""Evaluation during training: what it measures, what it costs, and that the living agent never notices."""

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from rich.console import Console
from tensordict import TensorDict
from torch import Tensor

from lifelong import cli
from lifelong.agents import ActorCritic, Backbone, Encoder, Rollout
from lifelong.agents.checkpoint import load_checkpoint
from lifelong.envs import GymStream, GymTask, Rooms, TaskStream, make_stream
from lifelong.envs.schedules import Cyclic
from lifelong.experiments.metrics.matrix import performance_matrix
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.episodes import read_episodes
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.task_evaluation import TaskEvaluation, evaluate_tasks
from lifelong.experiments.runs.trainer import Trainer
from lifelong.experiments.studies.measurements import measure_training
from lifelong.experiments.train import main
from lifelong.memory import MEMORIES, Memory

Configs = Callable[..., TrainConfig]
CHECKPOINT = Path("checkpoints", "last")
QUIET = Console(quiet=True)


class KilledError(BaseException):
    """The process ends here."""


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes most of the time of so small a run; see test_matrix.py."""
    monkeypatch.setattr("lifelong.experiments.runs.trainer.plot_matrix", lambda *given: None)
    monkeypatch.setattr("lifelong.experiments.runs.trainer.Loggers.figure", lambda *given: None)


def everything(trainer: Trainer) -> dict[str, Tensor]:
    """Return all that the living agent is, bit by bit."""
    rollout = trainer.rollout
    return {
        **{f"weight {name}": tensor.clone() for name, tensor in trainer.agent.state_dict().items()},
        **{f"memory {name}": tensor.clone() for name, tensor in rollout.state.items(True, True)},
        **{f"position {name}": torch.as_tensor(array).clone() for name, array in trainer.env.position().items()},
        **{f"observation {name}": tensor.clone() for name, tensor in rollout.observation.items(True, True)},
        "start": rollout.start.clone(),
        "torch": torch.get_rng_state(),
        "numpy": torch.as_tensor(np.random.get_state()[1].astype(np.int64)),  # type: ignore[union-attr]  # noqa: NPY002
    }


def unchanged_by_evaluations(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Compare the living agent before and after every evaluation; return the names of what has changed, of each."""
    changed: list[list[str]] = []
    evaluate = Trainer.evaluate_tasks

    def compared(self: Trainer) -> None:
        before, steps = everything(self), self.rollout.steps
        evaluate(self)
        after = everything(self)
        assert before.keys() == after.keys()
        assert self.rollout.steps == steps
        changed.append([name for name, tensor in before.items() if not torch.equal(tensor, after[name])])

    monkeypatch.setattr(Trainer, "evaluate_tasks", compared)
    return changed


def assert_same_training(found: Path, wanted: Path) -> None:
    """Compare the rows of training, and all tensors of the last checkpoint, bit for bit."""
    ours, theirs = read_episodes(found, ["train"]), read_episodes(wanted, ["train"])
    for name, column in theirs.items():
        np.testing.assert_array_equal(ours[name], column, strict=True)
    names = sorted(path.name for path in (wanted / CHECKPOINT).glob("*.safetensors"))
    assert {"env", "memory", "optimizer", "policy", "random"} <= {name.removesuffix(".safetensors") for name in names}
    for name in names:
        assert (found / CHECKPOINT / name).read_bytes() == (wanted / CHECKPOINT / name).read_bytes(), name


@pytest.mark.every_memory
@pytest.mark.parametrize("memory", sorted(MEMORIES))
def test_no_memory_notices_an_evaluation(memory: str, tiny: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"memory": memory, "width": 8, "steps": 64}
    plain = main(tiny(name="plain", evaluate_every="off", **settings))
    changed = unchanged_by_evaluations(monkeypatch)
    mode = "sandbox" if sorted(MEMORIES).index(memory) % 2 else "probe"
    evaluated = main(tiny(name="evaluated", evaluate_every="1", evaluate_mode=mode, evaluate_episodes=2, **settings))
    assert changed == [[]] * 2  # after each segment
    assert len(read_episodes(evaluated.folder, [mode])["step"]) == 2 * 4 * 3 * 2  # evaluations, copies, cues, episodes
    assert_same_training(evaluated.folder, plain.folder)


CARTPOLES = """\
schedule = "cyclic:2"
[[tasks]]
env = "CartPole-v1"
kwargs = { max_episode_steps = 7 }
[[tasks]]
name = "heavy"
env = "CartPole-v1"
drifts = "gravity:4+sticky_actions:0.25"
kwargs = { max_episode_steps = 9 }
"""
STREAMS: dict[str, dict[str, Any]] = {
    "cued recall, only rewards": {"feedback": "reward", "stream_options": ("cues=3", "size=4", "blanks=2")},
    "rooms": {
        "stream": "rooms",
        "stream_options": ("task=doorkey-5x5,empty-5x5", "max_steps=6"),
        "schedule": "cyclic:100 steps",
    },
    "doors": {"stream": "doors", "stream_options": ("doors=2", "depth=1", "colours=3")},
    "reversal": {"stream": "reversal", "stream_options": ("contexts=2", "hazard=0.4")},
    "dark room": {"stream": "dark-room", "stream_options": ("size=3", "max_steps=3", "maps=2"), "schedule": "cyclic:2"},
    "map change": {"stream": "map-change", "stream_options": ("size=5", "max_steps=3", "nearest=1", "maps=2")},
    "colour rule": {"stream": "colour-rule", "stream_options": ("max_steps=5",)},
    "two CartPoles": {"stream": "CARTPOLES", "stream_options": ()},
    "drifts": {
        "stream": "rooms",
        "stream_options": (
            "task=lavagaps5,empty-5x5",
            "max_steps=5",
            "drifts=plain/reversed_actions+sticky_actions:0.5",
            "drift_schedule=order:plain,reversed_actions+sticky_actions:0.5 every 3",
        ),
    },
    "carry episode": {"carry": "episode"},
    "carry task": {"carry": "task", "layers": 2},
}


@pytest.mark.parametrize("name", STREAMS)
def test_no_stream_notices_an_evaluation(
    name: str, tiny: Configs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"memory": "gated_delta", "width": 8, "steps": 256, "life_episodes": 0} | STREAMS[name]
    if settings["stream"] == "CARTPOLES" if "stream" in settings else False:
        settings["stream"] = str(tmp_path / "cartpoles.toml")
        Path(settings["stream"]).write_text(CARTPOLES)
    plain = main(tiny(name="plain", evaluate_every="off", **settings))
    changed = unchanged_by_evaluations(monkeypatch)
    evaluated = main(tiny(name="evaluated", evaluate_every="64", evaluate_mode="sandbox", **settings))
    assert changed == [[]] * 4
    assert_same_training(evaluated.folder, plain.folder)
    rows = read_episodes(evaluated.folder, ["sandbox"])
    assert np.unique(rows["train_step"]).tolist() == [64, 128, 192, 256]


def test_an_environment_that_draws_from_global_sources_goes_on_as_without_copies(
    tiny: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Careless(Steady):
        def step(self, action: Any) -> Any:
            obs, _, *rest = super().step(action)
            return obs, float(np.random.rand()), *rest  # noqa: NPY002

    monkeypatch.setitem(gymnasium.registry, "Careless-v0", gymnasium.envs.registration.EnvSpec("Careless-v0", Careless))
    settings: dict[str, Any] = {"stream": "gym:Careless-v0", "stream_options": (), "steps": 96}
    rows = []
    for every in ("off", "32"):
        np.random.seed(3)  # noqa: NPY002
        rows.append(read_episodes(main(tiny(name=every, evaluate_every=every, **settings)).folder, ["train"]))
    np.testing.assert_array_equal(rows[0]["return"], rows[1]["return"])


# ---- what a copy knows ----------------------------------------------------------------------------------------------


class Counting(Memory):
    """Counts its steps."""

    def initial_state(self, batch: int) -> TensorDict:
        return TensorDict({"n": self.zeros(batch, 1)}, [batch])

    def step(self, x: Tensor, state: TensorDict, start: Tensor) -> tuple[Tensor, TensorDict]:
        n = self.restart(state, start)["n"] + 1
        return n.expand(-1, self.width), TensorDict({"n": n}, [len(x)])


class Scripted(ActorCritic):
    """Does what it is told, whatever it observes; counts its steps."""

    def __init__(self, env: TaskStream, told: Callable[[Tensor], Any]) -> None:
        space = env.single_observation_space
        super().__init__(Encoder(space, 8), Backbone([Counting(8)]), env.single_action_space)
        self.told = told

    def act(
        self,
        observation: TensorDict,
        state: TensorDict | None = None,
        start: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        deterministic: bool = False,
    ) -> tuple[TensorDict, TensorDict]:
        policy_out, after = super().act(observation, state, start, mask=mask, deterministic=deterministic)
        (n,) = (tensor for name, tensor in after.items(True, True) if name[-1] == "n")
        policy_out["action"] = torch.as_tensor(self.told(n[:, 0].long())).long()
        return policy_out, after


def lived(policy: Scripted, env: TaskStream, steps: int = 24) -> Rollout:
    rollout = Rollout(policy, env)
    rollout.collect(steps)
    return rollout


@pytest.mark.parametrize("feedback", ["reveal", "reward"])
def test_who_knows_the_answers_of_a_life_is_right_in_its_copies(feedback: str) -> None:
    env, copies = (make_stream("cued-recall", n, cues=5, answers=6, feedback=feedback, seed=3) for n in (4, 3))
    policy = Scripted(env, lambda n: env._right[: len(n), 0])  # type: ignore[attr-defined]
    rollout = lived(policy, env)
    policy.told = lambda n: env._right[: len(n), copies.base_task[0]]  # type: ignore[attr-defined]
    rows, steps = evaluate_tasks(rollout, env.position(), copies)
    assert rows["success"].tolist() == [1.0] * 15
    assert np.bincount(rows["task"]).tolist() == [3] * 5
    assert {*rows["step"].tolist()} == {rollout.steps}
    assert steps % 3 == 0
    assert steps >= 15


@pytest.mark.parametrize("episodes", [1, 3])
def test_a_probe_forgets_every_episode_and_a_sandbox_keeps_them(episodes: int) -> None:
    env, copies = (make_stream("cued-recall", n, cues=2, answers=200, life_episodes=None) for n in (3, 2))
    rollout = lived(Scripted(env, lambda n: n), env)
    for mode in ("probe", "sandbox", "empty"):
        rows, _ = evaluate_tasks(rollout, env.position(), copies, mode=mode, episodes=episodes)  # type: ignore[arg-type]
        for life in (0, 1):
            for task in (0, 1):
                mine = (rows["life"] == life) & (rows["task"] == task)
                answers, length = rows["answer"][mine], rows["length"][mine][0]
                written = length if mode == "sandbox" else 0
                assert answers.tolist() == [answers[0] + written * k for k in range(episodes)]
                assert answers[0] - (0 if mode == "empty" else 24) in (
                    1,
                    2,
                )  # the step after 24, if the answer is given in the first of an episode
                assert np.diff(rows["episode"][mine]).tolist() == [1] * (episodes - 1)  # a probe draws others too


def test_every_copy_and_task_has_as_many_rows_however_soon_its_episodes_end() -> None:
    tasks = [GymTask(f"{steps}", env_id="CartPole-v1", kwargs={"max_episode_steps": steps}) for steps in (60, 30)]
    env, copies = (GymStream(tasks, n, schedule=Cyclic(2), seed=5) for n in (5, 4))
    rollout = lived(Scripted(env, lambda n: n % 2), env, 40)
    episode = env.episode[:4].copy()
    policy: Any = rollout.policy
    policy.told = lambda n: torch.where(torch.arange(len(n)) < 2, n % 2, 0)  # two fall at once, two sway
    for mode in ("probe", "sandbox"):
        rows, _ = evaluate_tasks(rollout, env.position(), copies, mode=mode, episodes=3)  # type: ignore[arg-type]
        assert len({*rows["length"].tolist()}) > 4
        for task in (0, 1):
            for slot in range(4):
                mine = (rows["task"] == task) & (rows["life"] == slot)
                assert rows["episode"][mine].tolist() == [episode[slot] + k for k in range(3)]


def test_an_evaluation_that_takes_too_long_is_given_up_and_has_no_rows() -> None:
    env, copies = (make_stream("rooms", n, task="empty-5x5,empty-6x6", max_steps=50) for n in (4, 2))
    rollout = lived(Scripted(env, lambda n: 0 * n), env, 3)
    rows, steps = evaluate_tasks(rollout, env.position(), copies, most_steps=150)
    assert rows == {}
    assert 100 < steps <= 150
    rows, steps = evaluate_tasks(rollout, env.position(), copies, most_steps=256)  # 64 of two copies and tasks
    assert len(rows["step"]) == 4
    assert steps == 256


# ---- going on -------------------------------------------------------------------------------------------------------

SCHEDULES = {"64": "cyclic:1", "boundary": "cyclic:64 steps"}


@pytest.mark.parametrize(("every", "mode"), [("64", "sandbox"), ("boundary", "probe")])
def test_a_killed_run_has_the_same_evaluations(
    every: str, mode: str, tiny: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {
        "stream": "rooms", "stream_options": ("task=lavagaps5,empty-5x5", "max_steps=4"), "life_episodes": 0,
        "schedule": SCHEDULES[every], "evaluate_every": every, "evaluate_mode": mode, "steps": 288,
    }  # fmt: skip
    whole = main(tiny(name="whole", **settings))
    collected, collect = [0], Rollout.collect

    def counted(self: Rollout, length: int) -> Any:
        if length == 8:  # of training
            collected[0] += 1
            if collected[0] == 6:
                raise KilledError
        return collect(self, length)

    config = tiny(name="broken", checkpoint_every=96, **settings)
    with monkeypatch.context() as patch:
        patch.setattr(Rollout, "collect", counted)
        with pytest.raises(KilledError):
            main(config)
    assert load_checkpoint(config.run / CHECKPOINT)[1]["steps"] == 96
    assert read_episodes(config.run, [mode])["train_step"].max() > 96  # evaluated after the checkpoint, and again
    resumed = main(TrainConfig(resume=config.run))
    assert_same_training(resumed.folder, whole.folder)
    found, wanted = (read_episodes(outcome.folder, [mode]) for outcome in (resumed, whole))
    for name, column in wanted.items():
        np.testing.assert_array_equal(found[name], column, strict=True)
    assert len(np.unique(wanted["train_step"])) >= 4
    for one, other in zip(performance_matrix(found), performance_matrix(wanted), strict=True):
        np.testing.assert_array_equal(one, other)
    main(TrainConfig(resume=config.run))  # what is finished is not evaluated again
    assert len(read_episodes(config.run, [mode])["step"]) == len(wanted["step"])


def test_the_matrix_is_that_of_the_rows(tiny: Configs) -> None:
    outcome = main(tiny(evaluate_every="64", steps=160))
    rows = read_episodes(outcome.folder, ["probe"])
    steps, tasks, R = performance_matrix(rows)
    assert steps.tolist() == [64, 128, 160]  # and at the end
    assert tasks.tolist() == [0, 1, 2]
    chosen = (rows["train_step"] == 128) & (rows["task"] == 1)
    assert R[1, 1] == pytest.approx(float(rows["normalised"][chosen].mean()), abs=1e-6)  # rows are float32
    assert chosen.sum() == 4


def transfer_of(blocks: list[int], R: list[list[float]], steps: list[int]) -> dict[str, float]:
    """Return the transfer of a run whose lives are in these tasks, a segment of 10 steps each."""
    env: Any = SimpleNamespace(
        retention="gain", tasks=[None] * 3, task=np.zeros(4, np.int64), num_envs=4, unforkable=""
    )
    evaluation = TaskEvaluation.__new__(TaskEvaluation)
    evaluation.config = TrainConfig(steps=70)
    evaluation.env, evaluation.every, evaluation.capped = env, "boundary", False
    evaluation.longest, evaluation.task, evaluation.learnt, evaluation.skipped = 0, -1, {}, 0
    for number, task in enumerate(blocks):
        env.task[:] = task
        evaluation.due(10 * (number + 1), {})
    return evaluation.transfer(np.array(steps), np.arange(3), np.array(R))


def test_transfer_by_hand() -> None:
    # task 0 in steps 1 to 20, task 1 from 30 (evaluated there), task 2 from 50; the end is at 70
    R = [[0.1, 0.0, 0.2], [0.9, 0.3, 0.2], [0.6, 0.8, 0.5], [0.4, 0.7, 1.0]]
    found = transfer_of([0, 0, 1, 1, 2, 2, 2], R, [0, 30, 50, 70])
    assert found["transfer/forward"] == pytest.approx(((0.3 - 0.0) + (0.5 - 0.2)) / 2)
    assert found["transfer/backward"] == pytest.approx(((0.4 - 0.9) + (0.7 - 0.8)) / 2)
    without = transfer_of([0, 0, 1, 1, 2, 2, 2], R[1:], [30, 50, 70])
    assert without == {"transfer/backward": pytest.approx(found["transfer/backward"])}
    # task 0 comes again in the last block, and was learnt last there
    R[3] = [0.9, 0.5, 0.5]
    again = transfer_of([0, 0, 1, 1, 0], R, [0, 30, 50, 51])
    assert again == {"transfer/forward": pytest.approx(0.3), "transfer/backward": pytest.approx(0.5 - 0.8)}


def test_the_untrained_agent_is_evaluated_once(tiny: Configs) -> None:
    settings: dict[str, Any] = {
        "stream": "rooms", "stream_options": ("task=lavagaps5,empty-5x5", "max_steps=4"), "life_episodes": 0,
        "schedule": "cyclic:64 steps", "evaluate_every": "boundary",
    }  # fmt: skip
    console = Console(record=True, width=100, file=io.StringIO())
    outcome = main(tiny(**settings, steps=192), console)
    rows = read_episodes(outcome.folder, ["probe"])
    steps = np.unique(rows["train_step"])
    assert steps[0] == 0
    assert (rows["train_step"] == 0).sum() == 2 * 4  # tasks, copies
    assert set(outcome.transfer) == {"transfer/forward", "transfer/backward"}
    in_a_study = measure_training("whole", outcome.folder)
    numbers = dict(zip(in_a_study["quantity"], in_a_study["value"], strict=True))
    assert {f"transfer/{name}": numbers[name] for name in ("backward", "forward")} == pytest.approx(outcome.transfer)
    said = " ".join(console.export_text().split())
    assert f"forward transfer {outcome.transfer['transfer/forward']:.3f}" in said
    assert f"backward transfer {outcome.transfer['transfer/backward']:.3f}" in said


# ---- what it costs --------------------------------------------------------------------------------------------------


def rooms(num_envs: int = 32) -> Any:
    env = make_stream("rooms", num_envs, task="empty-5x5,empty-6x6,lavagaps5", max_steps=20)
    env.reset()
    return env


@pytest.mark.parametrize("block", [512, 4096, 50_000])
def test_auto_costs_a_twentieth_of_the_steps_at_most(block: int) -> None:
    config = TrainConfig(
        stream="rooms",
        stream_options=("task=empty-5x5,empty-6x6,lavagaps5", "max_steps=20"),
        steps=400_000,
        num_envs=32,
    ).resolved()
    env = rooms()
    evaluation, boundaries, evaluated, cost = TaskEvaluation(config, env), 0, 0, 16 * 3 * 32
    assert evaluation.every == "boundary"
    for steps in range(512, 400_001, 512):
        task = steps // block % 3
        boundaries += steps > 512 and task != env.task[0]
        env.task[:] = task
        if evaluation.due(steps, {"length": np.array([12, 20])}):
            evaluation.steps += cost  # as much as twenty steps take in chunks of 16
            evaluation.evaluated = steps
            evaluated += 1
        assert evaluation.steps <= 0.05 * steps
    assert evaluation.due_at_end(400_000)  # there is always room for the last
    assert evaluated == {512: 11, 4096: 11, 50_000: 7}[block]
    assert evaluation.skipped == boundaries - evaluated
    assert f"; {evaluation.skipped} left out" in evaluation.cost(400_000) or not evaluation.skipped
    evaluation.close()


def test_a_run_with_auto_evaluates_a_sequence_of_tasks_at_its_end_and_says_at_what_cost(tiny: Configs) -> None:
    settings: dict[str, Any] = {"stream": "rooms", "stream_options": ("task=empty-5x5,lavagaps5", "max_steps=4")}
    sequence = tiny(steps=4096, segment=128, life_episodes=0, schedule="block:2e3 steps", **settings)
    console = Console(record=True, width=100, file=io.StringIO())
    outcome = main(sequence, console)
    rows = read_episodes(outcome.folder, ["probe"])
    assert np.unique(rows["train_step"]).tolist() == [0, 4096]
    facts = load_checkpoint(outcome.folder / CHECKPOINT)[1]
    assert facts["evaluation_steps"] == 2 * 2 * 4 * 4  # evaluations, tasks, copies, steps
    assert "(probe, 1.6% of the steps" in " ".join(console.export_text().split())
    console = Console(record=True, width=100, file=io.StringIO())
    main(tiny(name="short", steps=128, life_episodes=0, schedule="cyclic:64 steps", **settings), console)
    assert not list((tiny(name="short").run / "episodes").glob("probe-*"))
    said = " ".join(console.export_text().split())
    assert (
        "the tasks were not evaluated, since that takes more than 5 % of the steps: --evaluate-every boundary" in said
    )
    assert main(tiny(name="lives", steps=512, **settings)).finished  # lives of some episodes are no sequence
    assert not list((tiny(name="lives").run / "episodes").glob("probe-*"))


@pytest.mark.parametrize("text", ["0", "-5", "1.5", "1e-3", "often", "", "nan"])
def test_an_interval_that_is_none_is_refused_in_one_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", f"--evaluate-every={text}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert (
        f"evaluate_every must be auto, boundary, off or a number of steps above 0, as 1e5: evaluate_every={text}"
        in said
    )


@pytest.mark.parametrize(("text", "steps"), [("1e5", "100000"), ("100_000", "100000"), ("7", "7"), (4096, "4096")])
def test_an_interval_is_written_as_other_numbers_are(text: Any, steps: str) -> None:
    assert TrainConfig(evaluate_every=text).evaluate_every == steps


# ---- what cannot be copied ------------------------------------------------------------------------------------------


class Steady(gymnasium.Env[Any, Any]):
    """Ends every third step."""

    observation_space, action_space = spaces.Box(0.0, 1.0, (2,)), spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.count += 1
        return np.zeros(2, np.float32), 1.0, self.count == 3, False, {}


def unique(limit: int) -> type[Steady]:
    class Unique(Steady):
        """Holds a device of which there are so many."""

        made = 0

        def __init__(self) -> None:
            Unique.made += 1
            if Unique.made > limit:
                raise RuntimeError("the robot is\nin use")

        def close(self) -> None:
            Unique.made -= 1  # the one whose spaces told the family is given back

    return Unique


UNIQUE: dict[str, Any] = {"stream": "gym:Unique-v0", "stream_options": (), "life_episodes": 0, "steps": 64}


def unforkable(monkeypatch: pytest.MonkeyPatch, how: str) -> dict[str, Any]:
    """Make a stream that cannot be copied and return its settings."""
    rooms: dict[str, Any] = {"stream": "rooms", "stream_options": ("task=empty-5x5,lavagaps5", "max_steps=4")}
    if how == "declared":
        monkeypatch.setattr(Rooms, "unforkable", "its walls are painted by hand")
    if how == "position":
        given = Rooms.position

        def position(self: Rooms) -> dict[str, NDArray[Any]]:
            if not self.life_step.any():
                raise NotImplementedError("nobody knows where it is")
            return given(self)

        monkeypatch.setattr(Rooms, "position", position)
    return rooms | {"life_episodes": 0, "steps": 64}


@pytest.mark.parametrize(
    ("how", "reason"), [("declared", "its walls are painted by hand"), ("position", "nobody knows where it is")]
)
def test_a_stream_that_cannot_be_copied_is_refused_with_the_reason(
    how: str, reason: str, tiny: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(evaluate_every="boundary", **unforkable(monkeypatch, how))
    with pytest.raises(
        UserError, match=f"evaluate_every=boundary: lives of stream 'rooms' cannot be copied: {reason}$"
    ):
        main(config)
    assert not config.run.exists()


def test_environments_that_cannot_be_made_again_are_refused_with_the_reason(
    tiny: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = gymnasium.envs.registration.EnvSpec("Unique-v0", unique(4))  # one for each life
    monkeypatch.setitem(gymnasium.registry, "Unique-v0", spec)
    config = tiny(evaluate_every="32", **UNIQUE)
    why = r"cannot make environment 'Unique-v0': RuntimeError: the robot is in use$"
    with pytest.raises(UserError, match=rf"lives of stream 'gym:Unique-v0' cannot be copied: .*{why}"):
        main(config)
    assert not config.run.exists()


def test_auto_says_why_it_leaves_out_what_cannot_be_copied(tiny: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(record=True, width=200, file=io.StringIO())
    outcome = main(tiny(**unforkable(monkeypatch, "declared")), console)
    assert outcome.finished
    said = console.export_text()
    assert "the tasks are not evaluated during training: lives of stream 'rooms' cannot be copied: its walls" in said
    assert not list((outcome.folder / "episodes").glob("probe-*"))


def test_copies_that_break_end_the_evaluations_and_not_the_run(tiny: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fragile(Steady):
        broken = False

        def step(self, action: Any) -> Any:
            if self.broken:
                raise ZeroDivisionError("the cup fell")
            return super().step(action)

    monkeypatch.setitem(gymnasium.registry, "Unique-v0", gymnasium.envs.registration.EnvSpec("Unique-v0", Fragile))
    run = TaskEvaluation.run

    def breaking(self: TaskEvaluation, rollout: Rollout) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(Fragile, "broken", rollout.steps > 32)
            return run(self, rollout)

    monkeypatch.setattr(TaskEvaluation, "run", breaking)
    console = Console(record=True, width=200, file=io.StringIO())
    outcome = main(tiny(evaluate_every="32", **UNIQUE | {"steps": 160}), console)
    assert (outcome.finished, outcome.steps) == (True, 160)
    assert "the tasks are not evaluated any more: environment 'Unique-v0' broke" in console.export_text()
    assert np.unique(read_episodes(outcome.folder, ["probe"])["train_step"]).tolist() == [32]
