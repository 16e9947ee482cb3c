"""PackNet: what was learned stays the same bits, and is copied into a share of the weights."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict

from lifelong.agents import PPO, ActorCritic, Agent, Backbone, Encoder, PPOConfig, Rollout
from lifelong.agents.encoder import as_tensors
from lifelong.agents.packnet import PackNet
from lifelong.agents.replay import entries
from lifelong.agents.rollout import Segment
from lifelong.envs import TaskStream, make_stream, parse_schedule
from lifelong.memory import make_memory

ROOMS: dict[str, Any] = {"task": "empty-5x5", "drifts": "plain/reversed_actions", "boundary": "task_id", "max_steps": 6}


def rooms(schedule: str, num_envs: int = 4, seed: int = 0) -> TaskStream:
    return make_stream("rooms", num_envs, schedule=parse_schedule(schedule), seed=seed, **ROOMS)


def policy(env: TaskStream, width: int = 16) -> ActorCritic:
    return Agent.for_spaces(env, "none", width=width, seed=0, heads="task", packed=True).policy


def outputs(agent: ActorCritic, seen: Any) -> list[torch.Tensor]:
    with torch.no_grad():
        parameters, value, _ = agent.outputs(seen)
    return [*parameters.values(), value]


def test_a_task_is_packed_though_the_update_in_which_it_ended_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    env = rooms("block:64 steps")
    agent = policy(env)
    learner, rollout = PPO(agent, PPOConfig(lr=1e-2, packnet=1)), Rollout(agent, env)
    assert learner.task_changes is not None
    usual = learner.gradients
    refused = False
    for _ in range(6):
        segment = rollout.collect(8)
        ends = bool(segment.steps["next", "task_change"].any())
        if ends and not refused:
            monkeypatch.setattr(learner, "gradients", lambda *_, **__: (_ for _ in ()).throw(FloatingPointError("no")))
            with pytest.raises(FloatingPointError):
                learner.learn(segment)
            monkeypatch.setattr(learner, "gradients", usual)
            refused = True
            continue
        told = learner.learn(segment)
    assert refused
    assert (told["boundaries"], told["packed_tasks"]) == (1, 1)


def test_a_task_that_was_learned_stays_the_same_bits_while_others_are_learned() -> None:
    env = rooms("cyclic:64 steps")
    agent = policy(env)
    learner, rollout = PPO(agent, PPOConfig(lr=1e-2, packnet=3)), Rollout(agent, env)
    assert agent.packing is not None
    first, seen, kept, told = [], None, list[torch.Tensor](), []
    for _ in range(30):
        segment = rollout.collect(8)
        told.append(learner.learn(segment))
        tasks = segment.steps["observation", "task"]
        if told[-1]["packed_tasks"] == 1 and seen is None:
            assert bool((agent.packing.rank == torch.tensor([0, -1])).all())
            first = tasks[tasks == 0].tolist()
            seen = {path: x[tasks == 0] for path, x in entries(segment.steps).items()}
            kept = outputs(agent, seen)
            weights = {name: x.detach().clone() for name, x in agent.named_parameters()}
    assert first
    assert [t["packed_tasks"] for t in told[-3:]] == [2, 2, 2]
    assert told[-1]["boundaries"] > 3  # the first task has come again
    assert seen is not None
    for was, now in zip(kept, outputs(agent, seen), strict=True):
        assert was.equal(now)
    moved = {name for name, x in agent.named_parameters() if not weights[name].equal(x)}
    assert {"encoder.choices.table", "critic.module.weight"} <= moved  # the second task did learn
    assert not any(name.endswith("bias") for name in moved)


def test_after_all_tasks_nothing_is_learned() -> None:
    env = rooms("cyclic:64 steps")
    agent = policy(env)
    learner, rollout = PPO(agent, PPOConfig(lr=1e-2, packnet=1)), Rollout(agent, env)
    while learner.learn(rollout.collect(8))["packed_tasks"] < 2:
        pass
    before = [x.detach().clone() for x in agent.parameters()]
    found = [learner.learn(rollout.collect(8)) for _ in range(4)]
    assert all(was.equal(now) for was, now in zip(before, agent.parameters(), strict=True))
    assert [numbers["gradient_norm"] for numbers in found] == [0.0] * 4


def test_what_is_kept_is_trained_to_act_as_all_did() -> None:
    divergence = {}
    for passes in (1, 100):
        env = rooms("block:100000 steps", num_envs=16)
        agent = policy(env, width=32)
        torch.manual_seed(0)
        with torch.no_grad():
            agent.output_maps[0].weight.normal_(std=3.0)  # actions that depend on what is seen
        learner, segment = PPO(agent, PPOConfig(lr=1e-2, packnet=passes)), Rollout(agent, env).collect(64)
        assert learner.packnet is not None
        seen = entries(segment.steps)
        with torch.no_grad():
            was = agent.distribution(agent.trunk(seen)[0])
        ending = torch.ones(segment.steps.shape, dtype=torch.bool)
        torch.manual_seed(1)
        assert learner.packnet.close(segment, ending)
        assert not learner.packnet.close(segment, ending)  # it has its weights
        with torch.no_grad():
            now = agent.distribution(agent.trunk(seen)[0])
            divergence[passes] = float(torch.distributions.kl_divergence(was, now).mean())
    assert divergence[1] > 0.3
    assert divergence[100] < 0.2 * divergence[1]


def test_its_state_is_restored_and_others_refused() -> None:
    env = rooms("cyclic:64 steps")
    agent = policy(env)
    config = PPOConfig(packnet=1)
    kept, other = PackNet(agent, config), PackNet(agent, config)
    other.load_state_dict(kept.state_dict())
    assert not other.last
    kept.keep(Rollout(agent, env).collect(4))
    other.load_state_dict(kept.state_dict())
    assert other.last.keys() == kept.last.keys()
    assert all(x.equal(kept.last[name]) for name, x in other.last.items())
    task = kept.last["task"]
    for wrong, message in (
        (task + 2, r"obs\['task'\] must be of Discrete\(2\), got int64 2"),
        (task.float(), "task must be torch.int64"),
        (task[1:], r"task must be torch.int64 \[16\], got torch.int64 \[15\]"),
    ):
        with pytest.raises(ValueError, match=message):
            other.load_state_dict({**kept.state_dict(), "task": wrong})


def test_entries_with_slashes_and_masks_are_kept() -> None:
    observation = spaces.Dict({"leg/knee": spaces.Box(-1, 1, (2,), np.float32), "action_mask": spaces.MultiBinary(3)})
    space = spaces.Dict({"observation": observation, "task": spaces.Discrete(2)})
    policy = ActorCritic(
        Encoder(space, 8), Backbone([make_memory("none", 8)]), spaces.Discrete(3), heads="task", packed=True
    )
    seen = as_tensors(
        {
            "observation": {"leg/knee": np.zeros((2, 3, 2), np.float32), "action_mask": np.ones((2, 3, 3), np.int8)},
            "task": np.array([[0, 0, 1], [0, 0, 0]]),
        },
        (2, 3),
    )
    legal = torch.tensor([True, False, True]).expand(2, 3, 3)
    steps = TensorDict(
        {"observation": seen, "action_mask": legal, "start": torch.zeros(2, 3, dtype=torch.bool)}, [2, 3]
    )
    segment = Segment(steps, policy.backbone.initial_state(2), {})
    packnet = PackNet(policy, PPOConfig(packnet=2))
    assert packnet.close(segment, seen["task"] == 0)
    assert packnet.packing.rank.tolist() == [0, -1]
    packnet.keep(segment)
    again = PackNet(policy, PPOConfig(packnet=2))
    again.load_state_dict(packnet.state_dict())
    assert again.last.keys() == {"observation/leg/knee", "observation/action_mask", "task", "mask/"}
    assert again.last["mask/"].equal(legal.flatten(0, 1))
    assert not packnet.close(segment, seen["task"] == 0)


def test_a_policy_that_does_not_share_is_refused() -> None:
    env = rooms("cyclic:64 steps")
    agent = Agent.for_spaces(env, "none", width=8, heads="task")
    with pytest.raises(
        ValueError, match=r"packnet=5 needs a policy .* Agent.for_spaces\(\.\.\., heads='task', packed=T"
    ):
        PPO(agent, PPOConfig(packnet=5))


@pytest.mark.parametrize(
    "other", [{"shrink_perturb": 0.1}, {"redo_every": 2}, {"continual_backprop": 0.1}, {"reset_at_boundary": "on"}]
)
def test_nothing_else_may_change_weights_that_are_fixed(other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"packnet fixes the weights .*: packnet=2, {next(iter(other))}="):
        PPOConfig(packnet=2, **other)
