"""Who lives: encoder, backbone, actor-critic, PPO, the lifetime loop and hibernation."""

from lifelong.agents.actor_critic import ActorCritic
from lifelong.agents.backbone import Backbone
from lifelong.agents.encoder import Encoder
from lifelong.agents.hibernation import HibernationError, hibernate, wake
from lifelong.agents.lifetime import CARRY, Carry, Lifetime, Segment, join_rows
from lifelong.agents.ppo import PPO, PPOConfig

__all__ = [
    "CARRY",
    "PPO",
    "ActorCritic",
    "Backbone",
    "Carry",
    "Encoder",
    "HibernationError",
    "Lifetime",
    "PPOConfig",
    "Segment",
    "hibernate",
    "join_rows",
    "wake",
]
