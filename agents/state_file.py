"""Save and load an agent's state as a safetensors file, with its spaces as JSON in the metadata."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tensordict import TensorDict

from lifelong.agents.agent import Agent
from lifelong.agents.agent_state import AgentState
from lifelong.agents.checkpoint import CheckpointError

__all__ = ["load_state", "save_state"]

_FORMAT = 1


def save_state(path: str | Path, state: AgentState) -> None:
    """Write a state to a safetensors file.

    Args:
        path: of the file; replaced if it is there.
        state: of any agent.
    """
    path = Path(path)
    content = {"format": _FORMAT, "batch": state.batch, "spaces": dict(state.spaces)}
    tensors = {name: x.detach().cpu().contiguous().clone() for name, x in state.tensors().items()}
    fresh = path.with_name(f".{path.name}.new")
    save_file(tensors, fresh, {"lifelong": json.dumps(content)})
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
    try:
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
    own = agent.initial_state(batch)
    wanted = own.tensors()
    if tensors.keys() != wanted.keys():
        raise ValueError(f"{path} must have the entries {sorted(wanted)}, got {sorted(tensors)}")
    for name, x in tensors.items():
        if x.dtype != wanted[name].dtype:
            raise ValueError(f"{path} must have {name} of {wanted[name].dtype}, got {x.dtype}")
    moved = {name: x.to(own.start.device) for name, x in tensors.items()}
    memory_state = own.memory.clone()  # a layer without tensors has its place there
    for name in [name for name in moved if name.startswith("memory/")]:
        _set(memory_state, tuple(name.split("/")[1:]), moved.pop(name))
    state = AgentState(memory=memory_state, spaces=found, **moved)
    agent.check_state(state)
    return state


def _set(memory_state: TensorDict, path: tuple[str, ...], x: torch.Tensor) -> None:
    if x.shape[:1] != memory_state.batch_size:
        raise ValueError(
            f"state must have memory/{'/'.join(path)} of {memory_state.batch_size[0]} lives, got {list(x.shape)}"
        )
    memory_state.set(path, x)
