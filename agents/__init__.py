"""Recurrent actor-critic agents: encoder, backbone, PPO, rollouts that carry memory across episodes, checkpoints.

Public names are imported at first access: the command line reads PPO's settings without torch.
"""

from typing import TYPE_CHECKING, Any

from lifelong.registry import lazy_attribute

if TYPE_CHECKING:
    from lifelong.agents.actor_critic import ActorCritic
    from lifelong.agents.agent import Agent
    from lifelong.agents.agent_state import AgentState
    from lifelong.agents.backbone import Backbone
    from lifelong.agents.carry import CARRY, Carry
    from lifelong.agents.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
    from lifelong.agents.cuda_graph import CudaGraphPolicy
    from lifelong.agents.encoder import Encoder
    from lifelong.agents.history_wrapper import HistoryWrapper
    from lifelong.agents.ppo import PPO
    from lifelong.agents.ppo_config import PPOConfig
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

_EXPORTS = {
    "ActorCritic": "actor_critic",
    "Agent": "agent",
    "AgentState": "agent_state",
    "Backbone": "backbone",
    "BatchedEnv": "rollout",
    "CARRY": "carry",
    "Carry": "carry",
    "CheckpointError": "checkpoint",
    "CudaGraphPolicy": "cuda_graph",
    "Encoder": "encoder",
    "GRAPH": "rollout",
    "Graph": "rollout",
    "HistoryWrapper": "history_wrapper",
    "PPO": "ppo",
    "PPOConfig": "ppo_config",
    "Rollout": "rollout",
    "Segment": "rollout",
    "join_rows": "rollout",
    "load_checkpoint": "checkpoint",
    "load_state": "state_file",
    "save_checkpoint": "checkpoint",
    "save_state": "state_file",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first access."""
    return lazy_attribute(__name__, _EXPORTS, name)
