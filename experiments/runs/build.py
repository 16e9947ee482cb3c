"""Build memory, agent and learner from a config; `build_env.py` builds the stream.

Invalid names and settings raise here, before any file is written.
"""

import torch

from lifelong.agents import PPO, ActorCritic, Backbone, Encoder
from lifelong.envs import TaskStream
from lifelong.experiments.runs.config import TrainConfig, options
from lifelong.experiments.runs.device import check_device
from lifelong.experiments.runs.errors import as_user_error
from lifelong.experiments.runs.plug_ins import plug_in_memories
from lifelong.memory import Memory, check_memory, known_memories, make_memory

__all__ = ["make_agent", "make_learner", "one_memory"]


def make_agent(config: TrainConfig, env: TaskStream) -> ActorCritic:
    """Return a new agent, its weights drawn from the config's seed.

    A memory that is not one of ours must first keep the contract.

    Raises:
        UserError: if there is no such memory, it does not take these settings, or the spaces cannot be read.
        MemoryContractError: if a plug-in breaks the contract; names the clause.
    """
    device = check_device(config.device or "cpu")
    torch.manual_seed(config.seed)
    with as_user_error(RuntimeError):
        layers = [one_memory(config) for _ in range(config.layers)]
        if config.memory.replace("-", "_") not in known_memories() and plug_in_memories(layers[0]):
            check_memory(layers[0], long_life=1000)
        working_memory = config.working_memory or "off"
        working = [make_memory(working_memory, config.width) for _ in layers if working_memory != "off"]
        encoder = Encoder(env.single_observation_space, config.width, config.normalize_observation or "auto")
        backbone = Backbone(layers, residual=config.residual, working=working)
        agent = ActorCritic(encoder, backbone, env.single_action_space, config.action_std or "state")
        return agent.to(device)


def one_memory(config: TrainConfig) -> Memory:
    """Return one layer's memory."""
    return make_memory(config.memory, config.width, **options(config.memory_options))


def make_learner(config: TrainConfig, agent: ActorCritic) -> PPO:
    """Return the learner of an agent."""
    with as_user_error():
        return PPO(agent, config.learning)
