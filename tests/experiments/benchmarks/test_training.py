"""Trainers are compared in the same environment, and a verdict is refused where the machine was not quiet."""

import re
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from lifelong import cli
from lifelong.agents.ppo_config import PPOConfig
from lifelong.envs import GymStream, Rooms
from lifelong.experiments.benchmarks.training import command, measure, solve
from lifelong.experiments.benchmarks.training.lstm_loop import LSTMLoop, LSTMPolicy
from lifelong.experiments.benchmarks.training.measure import Contestant, Measured, Stopwatch, doubts, in_turns, spread
from lifelong.experiments.benchmarks.training.worlds import SHORT, FlatEnv, World
from lifelong.experiments.runs.config import TrainConfig

DOORKEY = "MiniGrid-DoorKey-5x5-v0"
TINY = ["--num-envs", "2", "--steps", "4", "--width", "8", "--epochs", "1", "--minibatches", "2", "--turns", "1",
        "--memories", "gru", "--env", DOORKEY, "--worlds", "rooms"]  # fmt: skip


@pytest.mark.parametrize("env", [DOORKEY, "MiniGrid-MultiRoom-N4-S5-v1"])
def test_rooms_is_the_twin_of_what_was_asked_for(env: str) -> None:
    ours, python = (World(env, compiled, short=False).stream(3) for compiled in (True, False))
    assert isinstance(ours, Rooms)
    assert isinstance(python, GymStream)
    assert ours.grids.tasks[0].minigrid_id == python.tasks[0].name == env
    assert ours.single_action_space == python.single_action_space
    assert FlatEnv(ours).size == FlatEnv(python).size == 7 * 7 * 3 + 1  # nobody has less to read


@pytest.mark.parametrize("compiled", [True, False])
def test_many_resets_end_every_episode_early_and_show_its_last_observation(compiled: bool) -> None:
    env = FlatEnv(World(DOORKEY, compiled, short=True).stream(2))
    for t in range(1, SHORT + 1):
        obs, _, terminated, truncated, final = env.step(np.full(2, 6))  # to do nothing
        assert truncated.all() == (t == SHORT)
        assert (final is not None) == (t == SHORT)
    assert not terminated.any()
    assert final is not None
    assert final.shape == obs.shape
    assert env.returns == [0.0, 0.0]


def test_what_has_no_twin_is_refused_with_what_has(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "training", *TINY[:-4], "--env", "CartPole-v1", "--resets", "few", "--worlds", "rooms"]
    assert cli.main(words) == 2
    assert "rooms has no twin of env=CartPole-v1; it has those of MiniGrid-Empty-5x5-v0, " in capsys.readouterr().err


def test_the_loop_forgets_where_an_episode_begins_and_nowhere_else() -> None:
    torch.manual_seed(0)
    policy, obs = LSTMPolicy(3, 4, 2), torch.randn(3, 1, 3)
    state = (torch.randn(1, 1, 4), torch.randn(1, 1, 4))
    start = torch.tensor([[0.0], [1.0], [0.0]])
    whole = policy(obs, state, start)[1]
    anew = policy(obs[1:], policy.initial_state(1), torch.zeros(2, 1))[1]
    assert torch.equal(whole[1:], anew)
    assert not torch.equal(policy(obs[1:], state, torch.zeros(2, 1))[1], anew)


def test_the_loops_advantages_are_those_of_the_recursion() -> None:
    env = FlatEnv(World(DOORKEY, compiled=True, short=True).stream(2))
    loop = LSTMLoop(env, 8, 50, PPOConfig(gamma=0.9, gae_lambda=0.8))
    loop.collect()
    loop.reward = torch.rand_like(loop.reward)
    last = loop.policy(loop.now[None], loop.state, loop.begun[None])[1][0]
    values, ends = torch.cat([loop.value, last[None]]), torch.cat([loop.start[1:], loop.begun[None]])
    assert ends[SHORT - 1].all()
    expected, later = torch.zeros_like(loop.value), torch.zeros(2)
    for t in range(49, -1, -1):
        delta = loop.reward[t] + 0.9 * (1 - ends[t]) * values[t + 1] - values[t]
        later = delta + 0.9 * 0.8 * (1 - ends[t]) * later
        expected[t] = later
    torch.testing.assert_close(loop._advantages(), expected)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Use one thread of torch: with matrices this small two of them wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Cue:
    """Episodes of two steps: the first shows a cue, in the second the action that it named is worth 1."""

    num_envs, size, actions = 16, 2, 2

    def __init__(self) -> None:
        self.random, self.second = np.random.default_rng(0), False

    def reset(self) -> np.ndarray:
        self.cue = self.random.integers(2, size=self.num_envs)
        return np.eye(2, dtype=np.float32)[self.cue]

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, ...]:
        reward, ended = (self.second * (actions == self.cue)).astype(np.float32), np.full(self.num_envs, self.second)
        self.second = not self.second
        obs = np.zeros((self.num_envs, 2), np.float32) if self.second else self.reset()
        return obs, reward, ended, np.zeros_like(ended), None


def test_the_loop_learns_what_needs_its_memory(one_thread: None) -> None:
    torch.manual_seed(0)
    loop = LSTMLoop(Cue(), 16, 8, PPOConfig(lr=1e-2, epochs=4, minibatches=2))
    for _ in range(20):
        loop.collect()
        loop.learn()
    loop.collect()
    assert loop.reward[1::2].mean() > 0.8  # it begins with .5


def test_a_verdict_needs_a_quiet_machine_and_turns_that_agree() -> None:
    quiet = {"ours": Measured([1.0, 1.1, 1.0, 1.1], [1.0], []), "theirs": Measured([2.0, 2.1, 2.0], [2.0], [])}
    assert doubts(quiet, 1.9, 2) == doubts(quiet, None, 2) == []
    assert doubts(quiet, 2.1, 2) == ["the load was 2.1 on 2 cores"]
    wide = quiet | {"theirs": Measured([1.0, 2.0, 3.0, 4.0, 5.0], [1.0], [])}
    assert doubts(wide, 0.0, 2) == ["the spread of theirs is 67% of the median"]
    few = quiet | {"theirs": Measured([1.0, 1.0], [1.0], [])}
    assert doubts(few, 0.0, 2) == ["the spread of theirs is not known of 2 turns"]
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 3)


def test_turns_alternate_the_first_is_left_out_and_the_environment_is_not_acting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, order = [0.0], list[str]()
    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(measure.time, "process_time", lambda: 0.5 * now[0])

    def passing(name: str, seconds: float, env: float = 0.0) -> Contestant:
        watch = Stopwatch()

        def spend(seconds: float) -> None:
            now[0] += seconds

        step = watch.timed(spend)

        def collect() -> None:
            order.append(name)
            spend(seconds)
            step(env)

        return Contestant(collect, lambda: spend(1.0), watch)

    found = in_turns({"a": passing("a", 2.0, 5.0), "b": passing("b", 3.0)}, 2)
    assert order == ["b", "a", "a", "b", "b", "a"]
    assert found == {
        "a": Measured([8.0, 8.0], [4.0, 4.0], [2.0, 2.0]),
        "b": Measured([4.0, 4.0], [2.0, 2.0], [3.0, 3.0]),
    }


def test_goals_are_judged_against_the_rival_and_double_with_many_resets() -> None:
    measured = {"lifelong gated_delta": Measured([1.0], [1.0], [])}
    assert command._verdict(measured, 1.5, many=False) == "lifelong gated_delta 1.50, the goal of 1 is met"
    assert command._verdict(measured, 1.5, many=True) == "lifelong gated_delta 1.50, the goal of 2 is missed"


def test_a_table_has_everyone_and_what_is_doubted(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "training", *TINY]) == 0
    said = capsys.readouterr().out
    for title in (f"## {DOORKEY} in `rooms`\n", f"## {DOORKEY} in `rooms`, many resets (at most 40 steps)\n"):
        assert title in said
    row = r" \| [\d,]+ \| - \| [\d,]+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \|$"
    assert len(re.findall(r"^\| lifelong gru" + row, said, re.MULTILINE)) == 2
    assert len(re.findall(r"^\| LSTM loop" + row, said, re.MULTILINE)) == 2
    assert said.count("Verdict refused: ") == 2
    assert "the spread of lifelong gru is not known of 1 turns" in said


def test_the_rival_learns_in_the_same_environment(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sb3_contrib")
    assert cli.main(["bench", "training", *TINY, "--resets", "many"]) == 0
    assert re.search(
        r"^\| sb3-contrib RecurrentPPO \| [\d,]+ \| .* \| 1\.00 \| - \| - \|$", capsys.readouterr().out, re.MULTILINE
    )


def test_solved_is_a_mean_of_five_updates_at_the_goal() -> None:
    config = TrainConfig("rooms", steps=80, num_envs=2, segment=4).resolved()
    shares, scores = list[float](), iter([[1.0], [0.0], [0.5, 0.6], [], [1.0], [1.0], [1.0], [1.0], [1.0], [1.0]])

    def update(share: float) -> list[float]:
        shares.append(share)
        return next(scores)

    assert solve._solved(update, config, 0.9).endswith(" | 64")  # after 8 updates: the last five have four times 1.0
    assert shares == pytest.approx([1.0 - 0.95 * n / 10 for n in range(8)])
    never = iter([[0.5]] * 10)
    assert solve._solved(lambda _: next(never), config, 0.9) == "- | - | not within 80: 0.500"
    few = iter([[], [1.0], [], [], []] * 2)  # one episode of two environments: those that take long have not ended
    assert solve._solved(lambda _: next(few), config, 0.9) == "- | - | not within 80: 1.000"


def test_ours_and_the_loop_learn_with_the_sizes_that_they_are_given() -> None:
    cued = TrainConfig("cued-recall", num_envs=2, segment=8, width=16, life_episodes=4).resolved()
    assert set(solve._ours(cued, "cued-recall")(1.0)) <= {0.0, 1.0}
    doorkey = TrainConfig("rooms", num_envs=16, segment=4, width=16).resolved()
    assert solve._loop(doorkey)(1.0) == []  # nothing ends in four steps
