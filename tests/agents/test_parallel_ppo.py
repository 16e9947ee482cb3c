"""Gradients of several processes are those of one, and nothing is lost when one ends."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from lifelong.agents import PPO, Agent, PPOConfig, Rollout
from lifelong.agents.helped_ppo import Part
from lifelong.agents.parallel_ppo import ParallelPPO
from lifelong.agents.ppo import Given
from lifelong.agents.replay import entries
from lifelong.envs import TaskStream, make_stream

CONFIG = PPOConfig(epochs=2, minibatches=3, lr=1e-3)


def learned(
    processes: int, memory: str = "gated_delta", config: PPOConfig = CONFIG, segments: int = 3, **settings: Any
) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """Return what is reported, and the weights, after some segments of seven lives."""
    torch.manual_seed(0)
    env: TaskStream = make_stream(settings.pop("stream", "cued-recall"), 7, seed=1, **settings)
    agent = Agent.for_spaces(env, memory, width=16, seed=0)
    learner = PPO(agent, config) if processes == 1 else ParallelPPO(agent, config, processes=processes)
    rollout = Rollout(agent, env)
    try:
        told = [learner.learn(rollout.collect(16), 0.5) for _ in range(segments)]
    finally:
        learner.close()
    return told, {name: x.clone() for name, x in agent.policy.state_dict().items()}


@pytest.fixture
def parallel() -> Iterator[tuple[ParallelPPO, Rollout]]:
    env = make_stream("cued-recall", 4)
    agent = Agent.for_spaces(env, "gru", width=8, seed=0)
    learner = ParallelPPO(agent, PPOConfig(minibatches=2), processes=2)
    yield learner, Rollout(agent, env)
    learner.close()


@pytest.mark.parametrize(
    ("memory", "settings"),
    [
        ("gated_delta", {}),
        pytest.param("gru", {}, marks=pytest.mark.slow),
        pytest.param("palimpsa", {}, marks=pytest.mark.slow),
        pytest.param("gated_delta", {"stream": "rooms", "task": "empty-5x5"}, marks=pytest.mark.slow),
    ],
)
def test_several_processes_learn_as_one_does(memory: str, settings: dict[str, Any]) -> None:
    one, weights = learned(1, memory, segments=2, **settings)
    for processes in (2, 3):
        several, others = learned(processes, memory, segments=2, **settings)
        for name, x in weights.items():
            torch.testing.assert_close(others[name], x, rtol=1e-3, atol=2e-4)
        for ours, theirs in zip(several, one, strict=True):
            assert ours.pop("ratio_error") <= 1e-5
            assert ours == pytest.approx({k: v for k, v in theirs.items() if k != "ratio_error"}, rel=1e-2, abs=1e-3)


def test_first_gradients_are_equal_to_rounding() -> None:
    config = PPOConfig(epochs=1, minibatches=1, lr=1e-3, max_grad_norm=1e9)
    (one,), _ = learned(1, config=config, segments=1)
    (three,), _ = learned(3, config=config, segments=1)
    for name in ("policy_loss", "value_loss", "entropy", "gradient_norm"):
        assert three[name] == pytest.approx(one[name], rel=1e-5, abs=1e-6)


def test_as_many_processes_give_the_same_bits() -> None:
    (told, weights), (again, others) = learned(3), learned(3)
    assert told == again
    assert all(x.equal(others[name]) for name, x in weights.items())


def test_what_observations_are_scaled_by_reaches_all_processes() -> None:
    told, weights = learned(2, "none", stream="cartpole-length")
    _, wanted = learned(1, "none", stream="cartpole-length")
    assert max(numbers["ratio_error"] for numbers in told) <= 1e-5
    for name in ("encoder.numbers.scaling.mean", "encoder.numbers.scaling.count"):
        torch.testing.assert_close(weights[name], wanted[name])


def test_a_bound_of_the_divergence_ends_learning_at_the_same_minibatch() -> None:
    config = PPOConfig(epochs=4, minibatches=2, lr=1e-2, target_kl=0.005)
    (one, weights), (two, others) = (learned(n, config=config, segments=1) for n in (1, 2))
    assert one[0]["kl"] == pytest.approx(two[0]["kl"], rel=1e-2)
    for name, x in weights.items():
        torch.testing.assert_close(others[name], x, rtol=1e-3, atol=2e-4)


def test_a_minibatch_may_have_fewer_lives_than_there_are_processes() -> None:
    config = PPOConfig(epochs=1, minibatches=7)
    (one, weights), (four, others) = (learned(n, config=config, segments=1) for n in (1, 4))
    assert one[0]["policy_loss"] == pytest.approx(four[0]["policy_loss"], abs=1e-6)
    assert all(x.equal(others[name]) for name, x in weights.items())


def test_a_process_that_ends_is_named(parallel: tuple[ParallelPPO, Rollout]) -> None:
    learner, rollout = parallel
    learner.learn(rollout.collect(8))
    os.kill(learner._forks[0].pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=rf"process {learner._forks[0].pid}, which computes gradients, has ended"):
        learner.learn(rollout.collect(8))


def test_what_fails_in_a_process_is_told_and_the_next_segment_is_learned(
    parallel: tuple[ParallelPPO, Rollout], monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, rollout = parallel
    segment = rollout.collect(8)
    with monkeypatch.context() as patch:
        patch.setattr(PPO, "gradients", lambda *given, **named: [][0])
        with pytest.raises(IndexError):
            learner.learn(segment)
    assert learner.learn(segment)["ratio_error"] <= 1e-5
    learner._helpers[0].ask(Part([99], 1.0))
    with pytest.raises(RuntimeError, match=r"a process that computes gradients failed: .*(parallel_ppo|ppo)\.py:\d+"):
        learner._helpers[0].result()
    assert learner.learn(rollout.collect(8))["ratio_error"] <= 1e-5


def test_helpers_end_with_the_learner_and_with_rank_0(parallel: tuple[ParallelPPO, Rollout]) -> None:
    learner, _ = parallel
    pid = learner._forks[0].pid
    learner.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    read, write = os.pipe()
    child = os.fork()
    if not child:  # a rank 0 that is killed
        other = ParallelPPO(learner.policy, processes=3)
        os.write(write, " ".join(str(helper.pid) for helper in other._forks).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(write)
    pids = [int(word) for word in os.read(read, 100).split()]
    assert len(pids) == 2
    assert not os.read(read, 1)  # all who could write have ended


def test_what_cannot_be_is_refused() -> None:
    agent = Agent.for_spaces(make_stream("cued-recall", 2), "gru", width=8)
    with pytest.raises(ValueError, match="processes must be 2 or more here, got 1"):
        ParallelPPO(agent, processes=1)
    with pytest.raises(ValueError, match="processes must be 1 where the policy is not on the CPU, got 2"):
        ParallelPPO(agent.policy.to("meta"), processes=2)


def test_what_other_helpers_answered_is_not_taken_for_the_next_question(monkeypatch: pytest.MonkeyPatch) -> None:
    env = make_stream("cued-recall", 6)
    agent = Agent.for_spaces(env, "gru", width=8, seed=0)
    learner, rollout = ParallelPPO(agent, PPOConfig(minibatches=1), processes=3), Rollout(agent, env)
    alone = PPO(agent, PPOConfig(minibatches=1))
    try:
        first, second = (rollout.collect(16) for _ in range(2))
        given = [Given(learner.batch(one.steps), entries(one.steps), one.state, 1.0) for one in (first, second)]
        everyone = torch.arange(6)
        helper = learner._helpers[0]
        receive = helper.receive
        monkeypatch.setattr(helper, "receive", lambda: receive()._replace(failure="it broke"))
        with pytest.raises(RuntimeError, match="it broke"):
            learner.gradients(given[0], everyone)
        monkeypatch.setattr(helper, "receive", receive)
        for one in (given[1], given[0]):
            learner.gradients(one, everyone)
            got = [x.grad.clone() for x in learner.parameters if x.grad is not None]
            alone.gradients(one, everyone)
            want = [x.grad for x in alone.parameters if x.grad is not None]
            for ours, theirs in zip(got, want, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    finally:
        learner.close()


def test_noise_of_the_entropy_comes_from_what_a_checkpoint_holds() -> None:
    env = make_stream("gym:Pendulum-v1", 4)
    agent = Agent.for_spaces(env, "none", width=8, seed=0)
    segment = Rollout(agent, env).collect(16)
    before = {name: x.clone() for name, x in agent.policy.state_dict().items()}
    found = []
    for _ in range(2):  # a new learner, as of a run that is resumed
        agent.policy.load_state_dict(before)
        torch.manual_seed(7)
        learner = ParallelPPO(agent, PPOConfig(minibatches=2, entropy_coef=0.01), processes=2)
        try:
            if found:
                learner.gradients(
                    Given(learner.batch(segment.steps), entries(segment.steps), segment.state, 1.0), torch.arange(4)
                )
                torch.manual_seed(7)
            learner.learn(segment)
        finally:
            learner.close()
        found.append({name: x.clone() for name, x in agent.policy.state_dict().items()})
    assert all(found[0][name].equal(x) for name, x in found[1].items())


def test_advantages_of_vtrace_need_all_lives_of_a_minibatch() -> None:
    agent = Agent.for_spaces(make_stream("cued-recall", 4), "none", width=8, seed=0)
    with pytest.raises(ValueError, match="processes must be 1 with vtrace=on"):
        ParallelPPO(agent, PPOConfig(vtrace="on"), processes=2)
