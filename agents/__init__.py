"""Who lives: encoder, backbone, actor-critic, PPO, the lifetime loop and hibernation."""

from lifelong.agents.actor_critic import ActorCritic
from lifelong.agents.backbone import Backbone
from lifelong.agents.encoder import Encoder
from lifelong.agents.graphed import GraphedPolicy
from lifelong.agents.hibernation import HibernationError, hibernate, wake
from lifelong.agents.lifetime import CARRY, GRAPH, Carry, Graph, Lifetime, Segment, join_rows
from lifelong.agents.ppo import PPO, PPOConfig

__all__ = [
    "CARRY",
    "GRAPH",
    "PPO",
    "ActorCritic",
    "Backbone",
    "Carry",
    "Encoder",
    "Graph",
    "GraphedPolicy",
    "HibernationError",
    "Lifetime",
    "PPOConfig",
    "Segment",
    "hibernate",
    "join_rows",
    "wake",
]
