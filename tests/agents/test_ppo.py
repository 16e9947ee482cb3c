from collections.abc import Callable
from dataclasses import replace
from math import inf, nan
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tensordict import TensorDict
from torch.utils._python_dispatch import TorchDispatchMode

from lifelong.agents import PPO, ActorCritic, Agent, PPOConfig, Rollout, Segment
from lifelong.agents.ppo import Given, advantages, divergence
from lifelong.agents.replay import entries, replay
from lifelong.envs import CuedRecall, make_stream
from lifelong.memory import MEMORIES

Policies = Callable[..., ActorCritic]
Streams = Callable[..., CuedRecall]


@pytest.mark.parametrize(
    ("what", "second", "expected"),  # worked by hand; discount 1/2, life discount 1/4, trace 1/2
    [
        ("inside an episode", {}, [0.9296875, -0.28125, 0.875, -0.5]),
        ("over an episode's end", {"episode_end": True}, [0.71484375, -1.140625, 0.875, -0.5]),
        ("the memory's end", {"end": True}, [0.5, -2.0, 0.875, -0.5]),
        ("truncated", {"episode_end": True, "truncated": True, "state_value": 7.0}, [1.375, 1.5, 0.875, -0.5]),
        ("truncated at memory end", {"end": True, "truncated": True, "state_value": 7.0}, [1.375, 1.5, 0.875, -0.5]),
    ],
)  # fmt: skip
def test_advantages_are_those_worked_by_hand(what: str, second: dict[str, Any], expected: list[float]) -> None:
    after = {
        "reward": torch.tensor([1.0, 0.0, 2.0, 1.0]),
        "state_value": torch.tensor([2.0, 3.0, 4.0, 5.0]),
        **{name: torch.zeros(4, dtype=torch.bool) for name in ("end", "episode_end", "truncated")},
    }
    for name, value in second.items():
        after[name][1] = value
    value = torch.tensor([1.0, 2.0, 3.0, 4.0])
    steps = TensorDict({"state_value": value, "next": after}, [4])[None].apply(lambda x: x[..., None])
    advantage, target = advantages(steps, gamma=0.5, life_gamma=0.25, gae_lambda=0.5)
    torch.testing.assert_close(advantage[0, :, 0], torch.tensor(expected))
    torch.testing.assert_close(target[0, :, 0], torch.tensor(expected) + value)


def lived(policy: ActorCritic, env: Any, length: int = 12, **options: Any) -> Segment:
    """Return a segment that begins with a memory that is not empty."""
    rollout = Rollout(policy, env, **options)
    rollout.collect(length)
    return rollout.collect(length)


@pytest.mark.parametrize("name", MEMORIES)
def test_acting_and_learning_compute_the_same_function(name: str, policy_for: Policies, recall: Streams) -> None:
    env = recall(4, life_episodes=5)
    policy = policy_for(env, name)
    segment = lived(policy, env)
    assert segment.steps["start"][:, 1:].any()
    with torch.no_grad():
        features = policy.trunk(entries(segment.steps), segment.state, segment.steps["start"])[0]
        largest = policy.distribution(features).logits.abs().max().item()
    # a pass of mamba3 turns the state once, steps turn it every time; others may differ by three roundings of a logit
    most = 3e-6 if name == "mamba3" else max(1e-6, 3 * float(np.spacing(np.float32(largest))))
    assert largest < 8  # so that three roundings are 1.5e-6
    assert PPO(policy, PPOConfig(minibatches=1)).learn(segment)["ratio_error"] <= most


@pytest.mark.parametrize("options", [{"carry": "episode"}, {"carry": "task"}])
def test_so_they_do_wherever_the_memory_starts(options: dict[str, Any], policy_for: Policies, recall: Streams) -> None:
    env = recall(4, blanks=2)
    policy = policy_for(env)
    assert PPO(policy, PPOConfig(minibatches=1)).learn(lived(policy, env, **options))["ratio_error"] <= 1e-6


def test_so_they_do_with_continuous_actions(policy_for: Policies) -> None:
    env = make_stream("gym:Pendulum-v1", 3)
    policy = policy_for(env)
    segment = lived(policy, env)
    with torch.no_grad():
        over = policy.distribution(policy.trunk(entries(segment.steps), segment.state, segment.steps["start"])[0])
        z = ((segment.steps["action"] / 2).atanh() - over.loc) / over.scale
        slope = ((z.abs() + (z.square() - 1).abs()) / over.scale).max().item()  # of log p, in μ and in σ
    # μ and σ are rounded: the further out an action lies and the smaller σ is, the more its log p changes by that
    assert PPO(policy, PPOConfig(minibatches=1)).learn(segment)["ratio_error"] <= 1e-6 + 3e-7 * slope
    assert slope < 10
    env.close()


@pytest.mark.parametrize("name", ["gated_delta", "gru", "palimpsa", "window"])
def test_products_in_bf16_learn_almost_the_same(
    name: str, policy_for: Policies, recall: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = recall(4, life_episodes=5)
    policy = policy_for(env, name)
    segment = lived(policy, env)
    gradients, reports = {}, {}
    monkeypatch.setattr("lifelong.agents.ppo.has_bf16", lambda device: True)  # any CPU computes them, without slowly
    for precision in ("float32", "bf16"):
        learner = PPO(policy, PPOConfig(minibatches=1, epochs=1, lr=1e-30, max_grad_norm=1e9, precision=precision))
        reports[precision] = learner.learn(segment)
        gradients[precision] = torch.cat([p.grad.flatten() for p in learner.parameters if p.grad is not None])
    exact, rounded = gradients.values()
    assert 0 < torch.linalg.vector_norm(rounded - exact) < 0.05 * torch.linalg.vector_norm(exact)
    assert 1e-5 < reports["bf16"]["ratio_error"] < 0.2  # acting is in float32; the clipping range
    monkeypatch.setattr("lifelong.agents.ppo.has_bf16", lambda device: False)
    with pytest.warns(UserWarning, match="cpu has no instructions for bf16: products are float32"):
        learner = PPO(policy, PPOConfig(minibatches=1, epochs=1, lr=1e-30, precision="bf16"))
    assert learner.learn(segment)["ratio_error"] <= 1e-4


def test_so_they_do_when_gradients_are_cut_in_time(policy_for: Policies, recall: Streams) -> None:
    env = recall(4, life_episodes=5)
    policy = policy_for(env)
    assert PPO(policy, PPOConfig(minibatches=1, tbptt=5)).learn(lived(policy, env))["ratio_error"] <= 1e-4


def gradients(policy: ActorCritic, segment: Segment, tbptt: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return hidden, and the gradients of its last step to the cues and to the memory before the first."""
    cue = segment.steps["observation", "observation", "cue"].clone().requires_grad_()
    steps = segment.steps.clone()
    steps["observation", "observation", "cue"] = cue
    memory = segment.state.apply(lambda leaf: leaf.clone().requires_grad_(leaf.is_floating_point()))
    hidden = replay(policy, entries(steps), steps["start"], memory, tbptt)
    (to_cue,) = torch.autograd.grad(hidden[:, -1].square().sum(), cue, retain_graph=True)
    leaves = [leaf for leaf in memory.values(True, True) if leaf.requires_grad]
    to_memory = torch.autograd.grad(hidden[:, -1].square().sum(), leaves, allow_unused=True)
    return hidden.detach(), to_cue, torch.stack([torch.zeros(()) if g is None else g.abs().max() for g in to_memory])


@pytest.mark.parametrize("name", ["gated_delta", "gru", "palimpsa"])
def test_pieces_of_time_have_the_same_values_and_no_gradient_between_them(
    name: str, policy_for: Policies, recall: Streams
) -> None:
    env = recall()
    policy = policy_for(env, name)
    segment = lived(policy, env)
    hidden, to_cue, to_memory = gradients(policy, segment, tbptt=0)
    assert to_cue[:, :8].abs().max() > 0
    assert to_memory.max() > 0
    cut, to_cue, to_memory = gradients(policy, segment, tbptt=5)  # the last piece is steps 10 and 11
    torch.testing.assert_close(cut, hidden, rtol=1e-4, atol=1e-5)
    assert (to_cue[:, :10] == 0).all()
    assert to_cue[:, 10:].abs().max() > 0
    assert (to_memory == 0).all()


def test_learning_changes_every_weight(policy_for: Policies, recall: Streams) -> None:
    env = recall(4)
    policy = policy_for(env)
    before = {name: p.clone() for name, p in policy.state_dict().items()}
    report = PPO(policy, PPOConfig()).learn(lived(policy, env))
    assert [name for name, p in policy.state_dict().items() if p.equal(before[name])] == []
    assert all(np.isfinite(value) for value in report.values())


def test_advantages_below_the_floor_teach_less(policy_for: Policies, recall: Streams) -> None:
    env = recall(4)
    policy = policy_for(env)
    segment, start = lived(policy, env), policy.state_dict()
    start = {name: p.clone() for name, p in start.items()}
    spread = advantages(segment.steps, 0.99, 0.0, 0.95)[0].std(correction=0).item()

    def norm(floor: float) -> float:
        policy.load_state_dict(start)
        plain = PPOConfig(epochs=1, minibatches=1, entropy_coef=0, value_coef=0, normalize_reward="off")
        config = replace(plain, advantage_floor=floor)
        return PPO(policy, config).learn(segment)["gradient_norm"]

    assert norm(0.9 * spread) == pytest.approx(norm(1e-6), rel=1e-6)  # lives are shuffled, and sums round
    assert norm(1e-6) > 0
    assert norm(4 * spread) == pytest.approx(norm(1e-6) / 4, rel=1e-4)


def test_scales_of_values_and_entropy_are_reported(policy_for: Policies, recall: Streams) -> None:
    env = recall(4)
    policy = policy_for(env)
    segment = lived(policy, env)
    entropy = -segment.steps["action_log_prob"].mean().item()
    target = advantages(segment.steps, 0.99, 0.0, 0.95)[1]
    raw = PPO(policy, PPOConfig(lr=1e-9, minibatches=1, normalize_reward="off", entropy_coef=0.0)).learn(segment)
    assert raw["value_scale"] == pytest.approx(target.square().mean().sqrt().item())
    assert raw["entropy"] == pytest.approx(entropy)  # without a bonus it is that of the actions drawn
    assert raw["entropy_share"] == pytest.approx(entropy / np.log(env.single_action_space.n))
    assert "value_scale_raw" not in raw
    learner = PPO(policy, PPOConfig(minibatches=1))
    divided = learner.learn(segment)
    assert divided["value_scale_raw"] == pytest.approx(divided["value_scale"] * learner.return_scale.divisor)
    assert divided["return_scale"] == learner.return_scale.divisor != 1
    assert divided["entropy_share"] == pytest.approx(divided["entropy"] / np.log(env.single_action_space.n))


def test_learning_leaves_the_segment_as_it_is(policy_for: Policies, recall: Streams) -> None:
    env = recall(4)
    policy = policy_for(env)
    segment = lived(policy, env)
    steps, memory = segment.steps.clone(), segment.state.clone()
    PPO(policy, PPOConfig()).learn(segment)
    assert (segment.steps == steps).all()
    assert (segment.state == memory).all()


def test_more_minibatches_than_lives_are_as_many_as_lives(policy_for: Policies, recall: Streams) -> None:
    env = recall(2)
    policy = policy_for(env)
    learner = PPO(policy, PPOConfig(epochs=1, minibatches=8))
    learner.learn(lived(policy, env))
    assert next(iter(learner.optimizer.state.values()))["step"] == 2


@pytest.mark.parametrize(("target_kl", "updates"), [(0.0, 6), (1e-9, 1), (1e3, 6)])
def test_learning_ends_where_the_policy_has_moved_far_enough(
    target_kl: float, updates: int, policy_for: Policies, recall: Streams
) -> None:
    env = recall(4)
    policy = policy_for(env)
    learner = PPO(policy, PPOConfig(lr=1e-2, epochs=3, minibatches=2, target_kl=target_kl))
    assert (learner.learn(lived(policy, env))["kl"] < 1e-9) == (updates == 1)
    assert next(iter(learner.optimizer.state.values()))["step"] == updates


def test_where_the_policy_has_moved_before_the_first_step_nothing_is_learned(
    policy_for: Policies, recall: Streams
) -> None:
    env = recall(4)
    policy = policy_for(env)
    segment = lived(policy, env)
    PPO(policy, PPOConfig(lr=1e-2, epochs=3)).learn(segment)  # another policy than the one that acted
    before = {name: p.clone() for name, p in policy.state_dict().items()}
    report = PPO(policy, PPOConfig(target_kl=1e-9)).learn(segment)
    assert report["kl"] > 1e-9
    assert report["gradient_norm"] == 0.0
    assert 0 < report["entropy"] <= np.log(4)
    assert all(p.equal(before[name]) for name, p in policy.actor.state_dict(prefix="actor.").items())


def test_divergence_is_that_of_two_coins() -> None:
    old, new = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])
    drawn = torch.tensor([0, 1])  # each as often as the old one draws it
    torch.testing.assert_close(divergence((new / old).log()[drawn]), (old * (old / new).log()).sum())


@pytest.mark.parametrize(("normalize", "what"), [("on", "rewards"), ("off", "loss")])
def test_a_reward_that_is_not_finite_changes_no_weight(
    normalize: Any, what: str, policy_for: Policies, recall: Streams
) -> None:
    env = recall(4)
    policy = policy_for(env)
    segment = lived(policy, env)
    segment.steps["next", "reward"][0, 0] = nan
    before = {name: p.clone() for name, p in policy.state_dict().items()}
    with pytest.raises(FloatingPointError, match=f"{what} must be finite, got nan"):
        PPO(policy, PPOConfig(normalize_reward=normalize)).learn(segment)
    assert all(p.equal(before[name]) for name, p in policy.state_dict().items())


def test_a_gradient_that_is_not_finite_changes_no_weight(policy_for: Policies, recall: Streams) -> None:
    env = recall(4)
    policy = policy_for(env)
    next(policy.parameters()).register_hook(lambda gradient: gradient * inf)
    before = {name: p.clone() for name, p in policy.state_dict().items()}
    with pytest.raises(FloatingPointError, match="gradient must be finite"):
        PPO(policy, PPOConfig()).learn(lived(policy, env))
    assert all(p.equal(before[name]) for name, p in policy.state_dict().items())


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        (name, value, "be positive")
        for name in ("lr", "epochs", "minibatches", "clip_epsilon", "advantage_floor", "max_grad_norm")
        for value in (0, -1)
    ]
    + [(name, nan, "be positive") for name in ("lr", "clip_epsilon", "advantage_floor", "max_grad_norm")]
    + [(name, v, r"lie in \[0, 1\]") for name in ("gamma", "life_gamma", "gae_lambda") for v in (-0.1, 1.1, nan)]
    + [(name, value, "not be negative") for name in ("entropy_coef", "value_coef", "target_kl") for value in (-1, nan)]
    + [
        (name, value, r"lie in \[0, 1\]")
        for name in ("shrink_perturb", "redo_tau", "continual_backprop", "ewc_decay")
        for value in (-0.1, 1.1, nan)
    ]
    + [(name, value, "not be negative") for name in ("l2_init", "ewc") for value in (-1, nan)]
    + [(name, -1, "not be negative") for name in ("tbptt", "redo_every", "maturity", "packnet")],
)
def test_numbers_that_cannot_be_meant_are_refused(name: str, value: float, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must {rule}.*: {name}={value}"):
        PPOConfig(**{name: value})


def test_units_are_recycled_in_one_way() -> None:
    with pytest.raises(ValueError, match=r"one at a time: redo_every=3, continual_backprop=0\.01"):
        PPOConfig(redo_every=3, continual_backprop=0.01)


@pytest.mark.parametrize(("name", "value"), [("ewc", 2.0), ("clear", 3)])
def test_nothing_is_carried_over_where_weights_are_set_back(name: str, value: float) -> None:
    with pytest.raises(
        ValueError, match=rf"reset_at_boundary carries nothing .*: {name}={value}, reset_at_boundary=on"
    ):
        PPOConfig(**{name: value, "reset_at_boundary": "on"})


@pytest.mark.parametrize(
    ("memory", "seed", "least", "most"),  # chance is 0.5
    [
        ("gated_delta", 0, 0.9, 1.0),
        pytest.param("gated_delta", 1, 0.9, 1.0, marks=pytest.mark.slow),
        pytest.param("gated_delta", 2, 0.9, 1.0, marks=pytest.mark.slow),
        ("none", 0, 0.45, 0.55),
    ],
)
def test_an_agent_with_a_memory_learns_to_use_it_over_episode_ends(
    memory: str, seed: int, least: float, most: float, recall: Streams, policy_for: Policies
) -> None:
    env = recall(64, cues=2, answers=2, life_episodes=16, seed=seed)
    policy = policy_for(env, memory, seed=seed, loud=False)
    learner = PPO(policy, PPOConfig(lr=1e-2, epochs=4, minibatches=2, life_gamma=0.0))
    segments = []
    for _, segment in zip(range(40), Rollout(policy, env).segments(16), strict=False):
        learner.learn(segment)
        segments.append(segment.episodes)
    # of the cue of the episode before, the right answer is shown: there is nothing to remember
    known = np.concatenate([rows["success"][rows["lag_episodes"] >= 2] for rows in segments[-10:]])
    assert least <= known.mean() <= most


class Frames(gymnasium.Env[Any, Any]):
    """Random frames."""

    action_space = spaces.Discrete(3)

    def __init__(self, space: spaces.Box) -> None:
        self.observation_space = space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.step(0)[0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.np_random.integers(0, 256, self.observation_space.shape, np.uint8), 1.0, False, False, {}


class Largest(TorchDispatchMode):
    """Size of the largest tensor that is made in the block."""

    numbers = 0

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = call(*args, **(kwargs or {}))
        views = {schema.alias_info is not None for schema in call._schema.returns}
        if isinstance(result, torch.Tensor) and views == {False}:
            self.numbers = max(self.numbers, result.numel())
        return result


@pytest.mark.parametrize("tbptt", [0, 5])
def test_images_of_a_minibatch_are_never_copied_as_a_whole(monkeypatch: pytest.MonkeyPatch, tbptt: int) -> None:
    space = spaces.Box(0, 255, (40, 40, 3), np.uint8)
    found, size, length = [], 40 * 40 * 3, 12
    for most in (2**30, 4 * size):
        monkeypatch.setattr("lifelong.agents.image._AT_ONCE", most)
        torch.manual_seed(0)
        env = SyncVectorEnv([lambda: Frames(space)] * 4, autoreset_mode=AutoresetMode.SAME_STEP)
        agent = Agent.for_spaces(env, width=8)
        learner = PPO(agent, PPOConfig(minibatches=2, tbptt=tbptt))
        segment = Rollout(agent, env, seed=0).collect(length)
        given = Given(learner.batch(segment.steps), entries(segment.steps), segment.state, 1.0)
        with Largest() as largest:
            learner.gradients(given, torch.tensor([3, 1]))
        found.append((largest.numbers, [p.grad for p in learner.parameters]))
    (at_once, gradients), (in_parts, others) = found
    assert at_once >= 2 * (tbptt or length) * size
    assert in_parts < 6 * size
    torch.testing.assert_close(others, gradients, rtol=1e-4, atol=1e-6)
