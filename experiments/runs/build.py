"""From a config to what it names: a stream, a memory, an agent.

Whatever a user's words can get wrong goes wrong here, before anything is written.
"""

from dataclasses import fields
from typing import Any

import torch

from lifelong.agents import PPO, ActorCritic, Backbone, Encoder, PPOConfig
from lifelong.envs import TaskStream, make_stream, parse_schedule
from lifelong.envs.stream_file import is_stream_file
from lifelong.experiments.runs.config import TrainConfig, options
from lifelong.experiments.runs.errors import InputError, as_input_error
from lifelong.memory import Memory, check_memory, known_memories, make_memory

__all__ = ["make_agent", "make_learner", "make_world"]


def make_world(config: TrainConfig, **changes: Any) -> TaskStream:
    """Return the stream a resolved config names.

    Args:
        config: with every setting resolved.
        **changes: settings of the stream that win over the config's.

    Raises:
        InputError: if there is no such stream, or it does not take these settings.
    """
    settings: dict[str, Any] = {
        "num_envs": config.num_envs,
        "life_episodes": config.life_episodes or None,
        "seed": config.seed,
    }
    if config.boundary != "none" or not is_stream_file(config.stream):
        settings["boundary"] = config.boundary
    if config.feedback is not None:
        settings["feedback"] = config.feedback
    try:
        if config.schedule is not None:
            settings["schedule"] = parse_schedule(config.schedule)
        return make_stream(config.stream, **(settings | options(config.stream_options) | changes))
    except KeyError as error:
        raise InputError(error.args[0]) from error
    except (ImportError, TypeError, ValueError) as error:
        raise InputError(f"stream {config.stream!r}: {error}") from error


def make_agent(config: TrainConfig, world: TaskStream) -> ActorCritic:
    """Return a new agent, its weights drawn from the config's seed.

    A memory that is not one of ours must first keep the contract.

    Raises:
        InputError: if there is no such memory, it does not take these settings, or the spaces cannot be read.
        MemoryContractError: if a plug-in breaks the contract; names the clause.
    """
    if torch.device(config.device).type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"torch sees no GPU here: device={config.device}; --device cpu works everywhere")
    torch.manual_seed(config.seed)
    with as_input_error(RuntimeError):
        layers = [one_memory(config) for _ in range(config.layers)]
        if config.memory.replace("-", "_") not in known_memories():
            check_memory(layers[0], long_life=1000)
        encoder = Encoder(world.single_observation_space, config.width)
        agent = ActorCritic(encoder, Backbone(layers, residual=config.residual), world.single_action_space)
        return agent.to(torch.device(config.device))


def one_memory(config: TrainConfig) -> Memory:
    """Return one layer's memory."""
    return make_memory(config.memory, config.width, **options(config.memory_options))


def make_learner(config: TrainConfig, agent: ActorCritic) -> PPO:
    """Return the learner of an agent, with the settings that config and learner share."""
    try:
        return PPO(agent, PPOConfig(**{field.name: getattr(config, field.name) for field in fields(PPOConfig)}))
    except ValueError as error:
        raise InputError(str(error)) from error
