"""A small agent, and small lives for it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from gymnasium import spaces

from lifelong.agents import ActorCritic, Backbone, Encoder
from lifelong.envs import CuedRecall
from lifelong.memory import make_memory


@pytest.fixture
def policy_for() -> Callable[..., ActorCritic]:
    def make(env: Any, memory: str = "gated_delta", width: int = 16, seed: int = 0, loud: bool = True) -> ActorCritic:
        torch.manual_seed(seed)
        encoder = Encoder(env.single_observation_space, width)
        policy = ActorCritic(encoder, Backbone([make_memory(memory, width)]), env.single_action_space)
        if loud:  # initial heads near zero would hide the memory's effect
            for p in policy.parameters():
                torch.nn.init.normal_(p, std=0.3) if p.ndim > 1 else None
        return policy

    return make


@pytest.fixture
def recall() -> Callable[..., CuedRecall]:
    def make(num_envs: int = 3, **options: Any) -> CuedRecall:
        return CuedRecall(num_envs, **({"cues": 3, "size": 4, "life_episodes": None} | options))

    return make


class Body:
    """Stub of an environment: two spaces."""

    def __init__(self, observation: spaces.Space[Any], action: spaces.Space[Any]) -> None:
        self.single_observation_space, self.single_action_space = observation, action


@pytest.fixture
def body() -> type[Body]:
    return Body
