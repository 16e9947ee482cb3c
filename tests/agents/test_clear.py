"""CLEAR's losses are those of its formula, and what is kept survives a file."""

import math
from typing import Any

import gymnasium
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from lifelong.agents import PPO, Agent, PPOConfig, Rollout, Segment
from lifelong.agents.clear import Clear
from lifelong.agents.ppo import advantages
from lifelong.envs import make_stream

CONFIG: dict[str, Any] = {"clear": 6, "gamma": 0.9, "life_gamma": 0.5, "normalize_reward": "off"}


def collected(
    stream: str = "cued-recall", length: int = 12, memory: str = "gated_delta", **options: Any
) -> tuple[Agent, Rollout, Segment]:
    env = make_stream(stream, num_envs=4, **options)
    agent = Agent.for_spaces(env, memory, width=8, layers=2, seed=0)
    torch.manual_seed(0)
    rollout = Rollout(agent, env, seed=0)
    return agent, rollout, rollout.collect(length)


def keeping(agent: Agent, segment: Segment, divisor: float = 1.0, **options: Any) -> Clear:
    clear = Clear(agent.policy, PPOConfig(**(CONFIG | options)), torch.Generator().manual_seed(0))
    clear.keep(segment, divisor)
    return clear


def whole(segment: Segment, clear: Clear) -> dict[str, Tensor]:
    """Return all of a segment's lives as they are kept."""
    assert len(clear.kept) == len(segment.state)
    return clear.kept.pieces


@pytest.mark.parametrize(
    ("stream", "options"),
    [
        ("cued-recall", {"cues": 3}),
        ("cued-recall", {"cues": 3, "memory": "none"}),
        ("cued-recall", {"cues": 3, "memory": "window"}),
        ("gym:CartPole-v1", {}),
        ("gym:Pendulum-v1", {}),
        ("rooms", {"task": "empty-5x5"}),
    ],
)
def test_without_a_change_of_policy_targets_are_returns(stream: str, options: dict[str, Any]) -> None:
    agent, _, segment = collected(stream, 40, **options)
    clear = keeping(agent, segment)
    losses = clear.losses(whole(segment, clear), 1.0)
    advantage, target = advantages(segment.steps, 0.9, 0.5, 1.0)
    value = segment.steps["state_value"]
    assert losses.ratio.item() == pytest.approx(1, abs=1e-5)
    assert losses.policy_cloning.item() == pytest.approx(0, abs=1e-5)
    assert losses.value_cloning.item() == pytest.approx(0, abs=1e-8)
    torch.testing.assert_close(losses.value, (value - target).square().mean())
    log_pi = segment.steps["action_log_prob"]
    expected = -(advantage[..., 0] / advantage.std(correction=0) * log_pi).mean()
    torch.testing.assert_close(losses.policy, expected, rtol=1e-4, atol=1e-5)


def test_of_other_policies_it_is_v_trace() -> None:
    agent, _, segment = collected(cues=3)
    steps = segment.steps
    steps["action_log_prob"] -= torch.linspace(-1.0, 1.0, steps.numel()).view(steps.shape)  # another μ
    pi = steps["action_log_prob"] + torch.linspace(-1.0, 1.0, steps.numel()).view(steps.shape)
    clear = keeping(agent, segment)
    losses = clear.losses(whole(segment, clear), 1.0)
    after, value = steps["next"], steps["state_value"][..., 0]
    targets, advantage = torch.zeros(steps.shape), torch.zeros(steps.shape)
    for life in range(4):
        v_next, last = after["state_value"][life, -1, 0], True
        for t in reversed(range(steps.shape[1])):
            ratio = math.exp(pi[life, t] - steps["action_log_prob"][life, t])
            rho, r = min(1.0, ratio), after["reward"][life, t, 0]
            rate = 0.0 if after["end"][life, t] else 0.5 if after["episode_end"][life, t] else 0.9
            V = after["state_value"][life, t, 0]
            delta = rho * (r + rate * V - value[life, t])
            targets[life, t] = value[life, t] + delta + (0.0 if last else rate * rho * (v_next - V))
            advantage[life, t] = rho * (r + rate * (V if last else v_next) - value[life, t])
            v_next, last = targets[life, t], False
    torch.testing.assert_close(losses.value, (value - targets).square().mean())
    torch.testing.assert_close(losses.policy, -(advantage / advantage.std(correction=0) * pi).mean())
    torch.testing.assert_close(losses.policy_cloning, (steps["action_log_prob"] - pi).mean(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(losses.ratio, (pi - steps["action_log_prob"]).exp().clamp_max(1).mean())


def test_values_are_kept_in_units_of_rewards() -> None:
    agent, _, segment = collected(cues=3)
    clear = keeping(agent, segment, divisor=4.0)
    torch.testing.assert_close(whole(segment, clear)["steps/value"], 4 * segment.steps["state_value"])
    assert clear.losses(whole(segment, clear), 4.0).value_cloning.item() == pytest.approx(0, abs=1e-8)
    value = segment.steps["state_value"]
    found = clear.losses(whole(segment, clear), 2.0).value_cloning
    torch.testing.assert_close(found, value.square().mean())  # (V - 4 V / 2)²


def test_the_loss_is_the_weighted_sum() -> None:
    agent, _, segment = collected(cues=3)
    clear = keeping(agent, segment, cloning=0.3, value_coef=0.7, entropy_coef=0.2, clear=1)
    assert len(clear.kept) == 1
    losses = clear.losses(clear.kept.pieces, 1.0)
    total, ratio = clear.loss(1, 1.0, 0.5)  # of one piece every draw is that one
    expected = losses.policy + 0.7 * losses.value - 0.5 * 0.2 * losses.entropy
    torch.testing.assert_close(total, expected + 0.3 * losses.policy_cloning + 0.15 * losses.value_cloning)
    torch.testing.assert_close(ratio, losses.ratio)


def learned(updates: int = 4, **options: Any) -> tuple[PPO, list[dict[str, float]]]:
    agent, rollout, segment = collected(cues=3)
    learner = PPO(agent, PPOConfig(lr=1e-2, **(CONFIG | options)), torch.Generator().manual_seed(0))
    reports = [learner.learn(segment)]
    reports += [learner.learn(rollout.collect(12)) for _ in range(updates - 1)]
    return learner, reports


def test_a_learner_keeps_what_it_learned_from_and_learns_from_it() -> None:
    learner, reports = learned()
    assert "kept_ratio" not in reports[0]  # nothing was kept yet
    assert all(0 < report["kept_ratio"] <= 1 for report in reports[1:])
    assert learner.clear is not None
    assert (learner.clear.kept.seen, len(learner.clear.kept)) == (16, 6)
    held, _ = learned(cloning=100.0, entropy_coef=0.0)
    assert held.clear is not None

    def change(learner: PPO) -> float:
        assert learner.clear is not None
        with torch.no_grad():
            losses = learner.clear.losses(learner.clear.kept.pieces, 1.0)
        return losses.policy_cloning.abs().item() + losses.value_cloning.item()

    assert change(held) < change(learner)


def test_without_it_nothing_is_kept() -> None:
    learner, reports = learned(clear=0)
    assert learner.clear is None
    assert not any("kept_ratio" in report for report in reports)


def test_what_is_kept_is_restored_and_others_are_refused() -> None:
    learner, _ = learned()
    assert learner.clear is not None
    state = learner.clear.state_dict()
    other = Clear(learner.clear.policy, PPOConfig(**CONFIG))
    other.load_state_dict(state)
    assert other.kept.seen == 16
    assert other.kept.pieces.keys() == learner.clear.kept.pieces.keys()
    for name, x in learner.clear.kept.pieces.items():
        assert torch.equal(other.kept.pieces[name], x)
    n = int(state["steps/action"].max()) + 1
    wrong: dict[str, dict[str, Tensor]] = {
        "missing": {name: x for name, x in state.items() if name != "steps/next/reward"},
        "must be": state | {"steps/value": state["steps/value"][:, :3]},
        "finite": state | {"steps/next/reward": state["steps/next/reward"] * torch.nan},
        "choose among": state | {"steps/action": state["steps/action"] + n},
        "obs": state | {"steps/observation/observation/revealed": state["steps/observation/observation/revealed"] + 99},
        "seen": state | {"seen": torch.tensor(-1)},
        "nothing was seen": {name: x for name, x in state.items() if name != "seen"},
    }
    for said, bad in wrong.items():
        with pytest.raises(ValueError, match=said):
            other.load_state_dict(bad)
        assert other.kept.seen == 16  # as before
    fresh = Clear(learner.clear.policy, PPOConfig(**CONFIG))
    fresh.load_state_dict(Clear(learner.clear.policy, PPOConfig(**CONFIG)).state_dict())
    assert len(fresh.kept) == 0


def test_categories_that_do_not_begin_at_zero_are_known() -> None:
    env = gymnasium.Env[Any, Any]()
    env.observation_space = spaces.Tuple([spaces.Discrete(3, start=5), spaces.MultiDiscrete([2, 4], start=[-7, 9])])
    env.action_space = spaces.Discrete(2)
    agent = Agent.for_spaces(env, "gru", width=8, seed=0)
    clear = Clear(agent.policy, PPOConfig(**CONFIG))
    seen = {path: clear._blank["steps", "observation", *path] for path in (("observation", "0"), ("observation", "1"))}
    assert [x.flatten().tolist() for x in seen.values()] == [[5], [-7, 9]]


def test_bytes_are_those_that_a_piece_takes() -> None:
    agent, _, segment = collected(cues=3)
    clear = keeping(agent, segment)
    assert 4 * clear.bytes_of(12) == sum(x.nbytes for x in clear.kept.pieces.values())
