"""Build memory, agent and learner from a config; `build_env.py` builds the stream.

Invalid names and settings raise here, before any file is written.
"""

import hashlib
import math

import numpy as np
import torch

from lifelong.agents import PPO, ActorCritic, Backbone, Encoder
from lifelong.agents.clear import Clear
from lifelong.agents.distributed_ppo import DistributedPPO, tell_all
from lifelong.agents.leaves import leaves_of
from lifelong.agents.parallel_ppo import ParallelPPO
from lifelong.envs import TaskStream
from lifelong.experiments.runs.config import TrainConfig, lives_of_minibatch, options
from lifelong.experiments.runs.device import check_device
from lifelong.experiments.runs.errors import as_user_error
from lifelong.experiments.runs.machine_limits import check_bytes
from lifelong.experiments.runs.plug_ins import plug_in_memories
from lifelong.experiments.runs.torchrun import helped, ranks
from lifelong.memory import Memory, check_memory, known_memories, make_memory
from lifelong.memory.footprint import COPIES
from lifelong.memory.memory import nothing_allocated

__all__ = ["check_agent_sizes", "make_agent", "make_learner", "one_memory"]

_USUAL = 2**21  # below it nothing is estimated
_STATES = 3  # states of a life: before a segment, after it, and of a minibatch


def make_agent(config: TrainConfig, env: TaskStream) -> ActorCritic:
    """Return a new agent, its weights drawn from the config's seed.

    A memory that is not one of ours must first keep the contract.

    Raises:
        UserError: if there is no such memory, it does not take these settings, or the spaces cannot be read.
        MemoryContractError: if a plug-in breaks the contract; names the clause.
    """
    device = check_device(config.device or "cpu")
    check_agent_sizes(config, env)
    torch.manual_seed(config.seed)
    with as_user_error(RuntimeError):
        _begin_part(config, "memory")
        layers = [one_memory(config) for _ in range(config.layers)]
        if plug_in_memories(layers[0]) and config.memory.replace("-", "_") not in known_memories():
            check_memory(layers[0], long_life=1000)
        _begin_part(config, "working memory")
        working_memory = config.working_memory or "off"
        working = [make_memory(working_memory, config.width) for _ in layers if working_memory != "off"]
        _begin_part(config, "encoder")
        encoder = Encoder(env.single_observation_space, config.width, config.normalize_observation or "auto")
        _begin_part(config, "MLPs")
        backbone = Backbone(layers, config.expansion, config.residual, working)
        _begin_part(config, "heads")
        agent = ActorCritic(
            encoder,
            backbone,
            env.single_action_space,
            config.action_std or "state",
            config.initial_std or 1.0,
            config.heads,
            packed=bool(config.ppo.packnet),
        )
        return agent.to(device)


def check_agent_sizes(config: TrainConfig, env: TaskStream) -> None:
    """Validate that this machine has the memory for an agent's layers, its lives and their segments.

    Raises:
        UserError: if it has not; says both values.
    """
    lives, width, segment = max(env.num_envs, config.evaluation_lives or 1), config.width, config.segment or 1
    if max(config.layers * lives * width, config.layers * width**2, env.num_envs * segment) < _USUAL:
        return
    name = config.memory.replace("-", "_")
    with as_user_error(RuntimeError):
        with torch.random.fork_rng(devices=[]), nothing_allocated():
            memory = one_memory(config)
            state = sum(x.nbytes for x in memory.initial_state(1).values(True, True))
        weights = sum(x.nbytes for x in memory.parameters()) + 12 * config.expansion * width**2
    leaves = [leaf for _, leaf in leaves_of(env.single_observation_space)]
    observed = sum(math.prod(leaf.shape or ()) * np.dtype(leaf.dtype or float).itemsize for leaf in leaves)
    needed = config.layers * (COPIES * weights + _STATES * lives * state)
    needed += env.num_envs * segment * (observed + 4 * width)
    sizes = {"num_envs": env.num_envs, "evaluation_lives": config.evaluation_lives, "segment": segment}
    check_bytes(needed, {"memory": name, "width": width, "layers": config.layers} | sizes)


def _begin_part(config: TrainConfig, part: str) -> None:
    """Seed torch for one part of an agent, where parts have random numbers of their own; else go on with the seed's."""
    if config.paired_weights:
        torch.manual_seed(int.from_bytes(hashlib.sha256(f"{config.seed} {part}".encode()).digest()[:8], "big") >> 1)


def one_memory(config: TrainConfig) -> Memory:
    """Return one layer's memory."""
    return make_memory(config.memory, config.width, **options(config.memory_options))


def make_learner(config: TrainConfig, agent: ActorCritic) -> PPO:
    """Return the learner of an agent, with as many processes as have lives; `close` ends them.

    Where `torchrun` began several ranks, they are the processes.

    Raises:
        UserError: if several processes cannot be, on another device or system, or what is to be kept of experience
            finds no room.
    """
    alone = ranks().size > 1  # a script's own ranks, unless they help this one: each has a core of its own
    processes = 1 if alone else min(config.processes or 1, lives_of_minibatch(config))
    if config.learning.clear:  # before there are helpers
        segment, steps = config.segment or 1, config.steps or 0
        needed = min(config.learning.clear, -(-steps // segment)) * Clear(agent, config.learning).bytes_of(segment)
        check_bytes(needed, {"clear": config.learning.clear, "segment": segment})
    with as_user_error():
        if helped.get():
            tell_all((config.to_json(), config.trust))
            return DistributedPPO(agent, config.learning)
        return (
            ParallelPPO(agent, config.learning, processes=processes) if processes > 1 else PPO(agent, config.learning)
        )
