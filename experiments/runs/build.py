"""Build memory, agent and learner from a config; `build_env.py` builds the stream.

Invalid names and settings raise here, before any file is written.
"""

import hashlib

import torch

from lifelong.agents import PPO, ActorCritic, Backbone, Encoder
from lifelong.agents.parallel_ppo import ParallelPPO
from lifelong.envs import TaskStream
from lifelong.experiments.runs.config import TrainConfig, lives_of_minibatch, options
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
        _begin_part(config, "memory")
        layers = [one_memory(config) for _ in range(config.layers)]
        if config.memory.replace("-", "_") not in known_memories() and plug_in_memories(layers[0]):
            check_memory(layers[0], long_life=1000)
        _begin_part(config, "working memory")
        working_memory = config.working_memory or "off"
        working = [make_memory(working_memory, config.width) for _ in layers if working_memory != "off"]
        _begin_part(config, "encoder")
        encoder = Encoder(env.single_observation_space, config.width, config.normalize_observation or "auto")
        _begin_part(config, "MLPs")
        backbone = Backbone(layers, config.expansion, config.residual, working)
        _begin_part(config, "heads")
        agent = ActorCritic(encoder, backbone, env.single_action_space, config.action_std or "state")
        return agent.to(device)


def _begin_part(config: TrainConfig, part: str) -> None:
    """Seed torch for one part of an agent, where parts have random numbers of their own; else go on with the seed's."""
    if config.paired_weights:
        torch.manual_seed(int.from_bytes(hashlib.sha256(f"{config.seed} {part}".encode()).digest()[:8], "big") >> 1)


def one_memory(config: TrainConfig) -> Memory:
    """Return one layer's memory."""
    return make_memory(config.memory, config.width, **options(config.memory_options))


def make_learner(config: TrainConfig, agent: ActorCritic) -> PPO:
    """Return the learner of an agent, with as many processes as have lives; `close` ends them.

    Raises:
        UserError: if several processes cannot be, on another device or system.
    """
    processes = min(config.processes or 1, lives_of_minibatch(config))
    with as_user_error():
        return (
            ParallelPPO(agent, config.learning, processes=processes) if processes > 1 else PPO(agent, config.learning)
        )
