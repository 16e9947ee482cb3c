"""Save and load an agent's state as a safetensors file, with its spaces as JSON in the metadata."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lifelong.action_spaces import can_be_previous
from lifelong.agents.agent import Agent
from lifelong.agents.agent_state import AgentState
from lifelong.agents.checkpoint import CheckpointError
from lifelong.agents.durable import write_synced, writing
from lifelong.agents.regular_files import check_regular
from lifelong.agents.saved_tensors import check_saved
from lifelong.memory.state_paths import paths_of

__all__ = ["load_state", "save_state"]

_FORMAT = 1


def save_state(path: str | Path, state: AgentState) -> None:
    """Write a state to a safetensors file.

    Args:
        path: of the file; replaced if it is there.
        state: of any agent.

    Raises:
        WriteError: if it cannot be written.
    """
    path = Path(path)
    content = {"format": _FORMAT, "batch": state.batch, "spaces": dict(state.spaces)}
    tensors = {name: x.detach().cpu().contiguous().clone() for name, x in state.tensors().items()}
    fresh = path.with_name(f".{path.name}.new")
    write_synced(fresh, save(tensors, {"lifelong": json.dumps(content)}))
    with writing(path):
        fresh.replace(path)


def load_state(path: str | Path, agent: Agent) -> AgentState:
    """Read a state that `save_state` wrote.

    Args:
        path: of the file.
        agent: the agent that continues with it.

    Raises:
        CheckpointError: if the file cannot be read, is no state, or has a newer format.
        ValueError: if the state does not fit the agent; names the space or the entry.
    """
    path = Path(path)
    try:
        check_regular(path)
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read the state {path}: {error}") from error
    try:
        content = json.loads(metadata["lifelong"])
        version, found = int(content["format"]), {str(k): str(v) for k, v in content["spaces"].items()}
        batch = int(content["batch"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is no state of an agent: {error!r} in its metadata") from error
    if version > _FORMAT:
        raise CheckpointError(f"{path} has format {version}, this version reads up to {_FORMAT}: upgrade lifelong-rl")
    agent.check_state_spaces(found)
    if "start" not in tensors or tensors["start"].numel() != batch:  # not before so many lives have a place
        raise ValueError(f"{path} must have the start flags of its {batch} lives")
    own = agent.initial_state(batch)
    wanted = own.tensors()
    bounds = {f"memory/{name}": both for name, both in agent.policy.backbone.state_bounds.items()}
    given = dict(tensors)
    if "previous_reward" in given:
        given["previous_reward"] = given["previous_reward"].nan_to_num()  # NaN: it is given to the next step
    try:
        check_saved(given, wanted, bounds)
    except ValueError as error:
        raise ValueError(f"{path} is of another agent: {error}") from error
    if not can_be_previous(agent.action_space, tensors["previous_action"].numpy()):
        raise ValueError(f"{path} has a previous_action that is not of {agent.action_space}")
    moved = {name: x.to(own.start.device) for name, x in tensors.items()}
    memory_state = own.memory.clone()  # a layer without tensors has its place there
    for name, key in paths_of(memory_state).items():
        memory_state.set(key, moved.pop(f"memory/{name}"))
    state = AgentState(memory=memory_state, spaces=found, **moved)
    agent.check_state(state)
    return state
