"""Who lives: encoder, backbone, actor-critic, PPO, the lifetime loop and checkpoint."""

from lifelong.agents.actor_critic import ActorCritic
from lifelong.agents.backbone import Backbone
from lifelong.agents.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from lifelong.agents.cuda_graph import CudaGraphPolicy
from lifelong.agents.encoder import Encoder
from lifelong.agents.ppo import PPO, PPOConfig
from lifelong.agents.rollout import CARRY, GRAPH, Carry, Graph, Rollout, Segment, join_rows

__all__ = [
    "CARRY",
    "GRAPH",
    "PPO",
    "ActorCritic",
    "Backbone",
    "Carry",
    "CheckpointError",
    "CudaGraphPolicy",
    "Encoder",
    "Graph",
    "PPOConfig",
    "Rollout",
    "Segment",
    "join_rows",
    "load_checkpoint",
    "save_checkpoint",
]
