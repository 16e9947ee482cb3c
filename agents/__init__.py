"""Recurrent actor-critic agents: encoder, backbone, PPO, rollouts that carry memory across episodes, checkpoints."""

from lifelong.agents.actor_critic import ActorCritic
from lifelong.agents.agent import Agent
from lifelong.agents.agent_state import AgentState
from lifelong.agents.backbone import Backbone
from lifelong.agents.carry import CARRY, Carry
from lifelong.agents.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from lifelong.agents.cuda_graph import CudaGraphPolicy
from lifelong.agents.encoder import Encoder
from lifelong.agents.history_wrapper import HistoryWrapper
from lifelong.agents.ppo import PPO, PPOConfig
from lifelong.agents.rollout import GRAPH, BatchedEnv, Graph, Rollout, Segment, join_rows
from lifelong.agents.state_file import load_state, save_state

__all__ = [
    "CARRY",
    "GRAPH",
    "PPO",
    "ActorCritic",
    "Agent",
    "AgentState",
    "Backbone",
    "BatchedEnv",
    "Carry",
    "CheckpointError",
    "CudaGraphPolicy",
    "Encoder",
    "Graph",
    "HistoryWrapper",
    "PPOConfig",
    "Rollout",
    "Segment",
    "join_rows",
    "load_checkpoint",
    "load_state",
    "save_checkpoint",
    "save_state",
]
