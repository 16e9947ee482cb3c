"""Run directory: config, episode rows, checkpoints.

runs/<name>/config.json         the resolved config, versions, git and code hash, command, device, plug-ins' files
runs/<name>/stream.toml         the stream file it was made with, if there was one
runs/<name>/episodes/           one row for each episode, Parquet
runs/<name>/checkpoints/last/   see `lifelong.agents.checkpoint`; beside it `previous/`, the one before
runs/<name>/.lock               which process writes to the run, see `lock`
runs/<name>/report/             curves as JSON and PNG
runs/<name>/events.out.*        for TensorBoard
runs/<name>/crash.json          how training failed, and how to reproduce an environment's error; the checkpoint is from
                                just before
"""

import math
import platform
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import nn

from lifelong.agents import PPO, ActorCritic, CheckpointError, Rollout, load_checkpoint, save_checkpoint
from lifelong.agents.checkpoint import find_checkpoint, optimizer_tensors, restore_optimizer
from lifelong.agents.saved_tensors import check_saved
from lifelong.envs import StreamError, TaskStream
from lifelong.experiments.runs.code_version import code_hash, git_hash, package_version
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.facts import check_facts
from lifelong.experiments.runs.open_run import LAST
from lifelong.experiments.runs.plug_ins import plug_in_memories
from lifelong.memory.state_paths import by_path, paths_of

__all__ = [
    "Captured",
    "capture",
    "check_parts",
    "flat",
    "load_lives",
    "load_policy",
    "origin",
    "parameter_names",
    "restore",
]

_PACKAGES = ("lifelong-rl", "torch", "torchrl", "tensordict", "gymnasium", "minigrid", "numpy")


def origin(config: TrainConfig, agent: nn.Module) -> dict[str, Any]:
    """Return where a result comes from: versions, git and code hash, plug-ins, command, device and machine.

    Args:
        config: of the run.
        agent: of the run.
    """
    return {
        "versions": {package: package_version(package) for package in _PACKAGES}
        | {"python": platform.python_version()},
        "git": git_hash(),
        "code": code_hash(),
        "plug_ins": plug_in_memories(agent),
        "command": sys.argv,
        "device": config.device,
        "threads": config.threads,
        "processes": config.processes,
        "env_workers": config.env_workers,
        "machine": platform.machine(),
    }


@dataclass(frozen=True, slots=True)
class Captured:
    """State of a training between two segments: what a checkpoint is written from. Nobody writes to it.

    Args:
        parts: tensors by name, for each part of a checkpoint but the stream's.
        facts: the rest of it.
        position: gives that of the stream as it was then; see `TaskStream.snapshot`. None where it is among the parts.
    """

    parts: dict[str, dict[str, torch.Tensor]]
    facts: dict[str, Any]
    position: Callable[[], dict[str, NDArray[Any]]] | None = None

    @property
    def steps(self) -> int:
        """Environment steps so far."""
        return int(self.facts["steps"])

    def on_cpu(self) -> "Captured":
        """Return the same with all tensors on the CPU, those of the stream among them."""
        parts = {name: {k: x.cpu() for k, x in part.items()} for name, part in self.parts.items()}
        if self.position is None:
            return Captured(parts, self.facts)
        position = self.position()
        parts["env"] = {name: torch.from_numpy(np.atleast_1d(value)) for name, value in position.items()}
        return Captured(parts, self.facts | {"env_shapes": {name: list(x.shape) for name, x in position.items()}})

    def save(self, folder: Path, keep: int) -> None:
        """Write it as the checkpoint of a run.

        Args:
            folder: of the run.
            keep: checkpoints to keep, this one among them.
        """
        save_checkpoint(folder / LAST, self.parts, self.facts, keep=keep)


def capture(
    rollout: Rollout, position: Callable[[], dict[str, NDArray[Any]]], learner: PPO, facts: dict[str, Any]
) -> Captured:
    """Return the state of a training: weights, optimiser, memories, random numbers and where every life is.

    What learning writes over is copied. The memory is not: a segment writes over a copy of it.

    Args:
        rollout: whose memories.
        position: of its env, as `snapshot` returned it.
        learner: of its policy.
        facts: what else a resumed run needs, as JSON.
    """
    parts = {
        "policy": _copies(rollout.policy.state_dict()),
        "optimizer": _copies(optimizer_tensors(learner.optimizer, parameter_names(rollout.policy))),
        "memory": by_path(rollout.state),
        "random": {"torch": torch.get_rng_state()},
    }
    if learner.return_scale is not None:
        parts["return_scale"] = learner.return_scale.state_dict()  # replaced, not written over
    if learner.regeneration is not None:
        parts["initial"] = learner.regeneration.state_dict()  # they never change
    if learner.recycling is not None:
        parts["recycling"] = learner.recycling.state_dict()
    if learner.consolidation is not None:
        parts["consolidation"] = learner.consolidation.state_dict()
    if learner.packnet is not None:
        parts["packnet"] = learner.packnet.state_dict()  # replaced, not written over
    if learner.task_changes is not None:
        parts["task_changes"] = learner.task_changes.state_dict()
    if learner.clear is not None:
        parts["kept"] = learner.clear.state_dict()  # replaced, not written over
    device = rollout.start.device
    if device.type == "cuda":
        parts["random"]["cuda"] = torch.cuda.get_rng_state(device)
    return Captured(parts, facts | {"steps": rollout.steps}, position)


def _copies(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: x.detach().clone() for name, x in tensors.items()}


def restore(
    folder: Path,
    rollout: Rollout,
    env: TaskStream,
    learner: PPO,
    *,
    env_kwargs: Mapping[str, Any] = MappingProxyType({}),
    new_episodes: bool = False,
    slots: Sequence[int] = (),
) -> dict[str, Any]:
    """Restore the newest whole checkpoint of a run.

    Args:
        folder: of the run.
        rollout: of its agent, in `env`.
        env: its stream.
        learner: of its agent.
        env_kwargs: settings of its environment, as the run's config has them.
        new_episodes: whether unfinished episodes are abandoned; see `TaskStream.resume`.
        slots: of the lives that go on, in an `env` of so many; none is all.

    Returns:
        The facts given to `capture`, `steps`, `checkpoint`, the directory that was read, and with new episodes
        `abandoned`: the numbers of unfinished episodes and of their steps.

    Raises:
        CheckpointError: if there is no whole checkpoint, or it is of another agent or of other `env_kwargs`.
        UserError: if the run's config was changed after it was written.
        StreamError: if an environment does not reproduce its episode; says how to go on.
    """
    found = find_checkpoint(folder / LAST)
    if found.damaged:
        warnings.warn(found.sentence(), stacklevel=2)
    parts, facts = found.parts, check_facts(found.facts, folder)
    check_parts(parts, ("policy", "optimizer", "memory", "random", "world" if "world" in parts else "env"), folder)
    if (was := facts.get("env_kwargs", {})) != env_kwargs:
        raise CheckpointError(f"{folder} has env_kwargs={env_kwargs}, its checkpoint is of env_kwargs={was}")
    load_policy_tensors(rollout.policy, parts["policy"], folder)
    with _of_checkpoint(folder):
        restore_optimizer(learner.optimizer, parts["optimizer"], parameter_names(rollout.policy))
        if learner.return_scale is not None and "return_scale" in parts:
            learner.return_scale.load_state_dict(parts["return_scale"])
        if learner.regeneration is not None:
            learner.regeneration.load_state_dict(parts.get("initial", {}))
        if learner.recycling is not None:
            learner.recycling.load_state_dict(parts.get("recycling", {}))
        if learner.consolidation is not None:
            learner.consolidation.load_state_dict(parts.get("consolidation", {}))
        if learner.packnet is not None:
            learner.packnet.load_state_dict(parts.get("packnet", {}))
        if learner.clear is not None:
            learner.clear.load_state_dict(parts.get("kept", {}))
        position = _position(parts, facts)
        if learner.task_changes is not None:
            learner.task_changes.load_state_dict(parts.get("task_changes", {}), len(position["life"]), slots)
        steps = facts["steps"]
        if slots:
            every = rollout.policy.backbone.initial_state(len(position["life"]))
            steps = steps // every.batch_size[0] * len(slots)  # as many as these lives took
            position = env.position_of(position, slots)
            _fill(every, parts["memory"], rollout.policy)
            rollout.state = every[list(slots)]
        else:
            _fill(rollout.state, parts["memory"], rollout.policy)
    try:
        with _of_checkpoint(folder):
            rollout.observe(*env.resume(position, new_episodes=new_episodes))
    except StreamError as error:
        remedy = f"lifelong train --resume {folder} --new-episodes keeps the agent and begins new episodes"
        raise StreamError(f"{error}; {remedy}", error.report) from error
    if new_episodes:
        lengths = position["episode_length"]
        facts["abandoned"] = [int(np.count_nonzero(lengths)), int(lengths.sum())]
        if learner.task_changes is not None:
            learner.task_changes.moved(torch.from_numpy(position["task"] != env.task))
    rollout.steps = steps
    with _of_checkpoint(folder):
        torch.set_rng_state(parts["random"]["torch"])
        if rollout.start.device.type == "cuda" and "cuda" in parts["random"]:
            torch.cuda.set_rng_state(parts["random"]["cuda"], rollout.start.device)
    return facts | {"checkpoint": str(found.folder)}


def load_policy(folder: Path, policy: torch.nn.Module) -> dict[str, Any]:
    """Load the weights of a run's checkpoint into a policy and return the checkpoint's facts.

    Args:
        folder: of the run.
        policy: of the run's shapes; its weights are replaced.

    Raises:
        CheckpointError: if there is no whole checkpoint, or it is of another policy.
        UserError: if its facts are of a newer version, or make no sense.
    """
    parts, facts = load_checkpoint(folder / LAST)
    checked = check_facts(facts, folder)
    check_parts(parts, ("policy",), folder)
    load_policy_tensors(policy, parts["policy"], folder)
    return checked


def load_lives(folder: Path, policy: ActorCritic, env: TaskStream) -> tuple[TensorDict, dict[str, NDArray[Any]]]:
    """Return the memory of all lives of a run's checkpoint, and the position of its stream.

    Args:
        folder: of the run.
        policy: of the run's memory; its weights do not matter.
        env: of the run's stream, against which counters are held.

    Raises:
        CheckpointError: if there is no whole checkpoint, or it is of another memory.
    """
    parts, facts = load_checkpoint(folder / LAST)
    checked = check_facts(facts, folder)
    check_parts(parts, ("memory", "world" if "world" in parts else "env"), folder)
    with _of_checkpoint(folder):
        position = _position(parts, checked)
        env.check_counters(position)
        memory_state = policy.backbone.initial_state(env.num_envs)
        _fill(memory_state, parts["memory"], policy)
    return memory_state, position


def check_parts(parts: Mapping[str, Any], names: Sequence[str], folder: Path) -> None:
    """Validate that a checkpoint has the parts that are asked of it.

    Args:
        parts: of the checkpoint, by name.
        names: of those that it needs.
        folder: of the run, for the message.

    Raises:
        CheckpointError: if one is missing.
    """
    for name in names:
        if name not in parts:
            raise CheckpointError(f"the checkpoint of {folder} has no {name}.safetensors in its manifest")


@contextmanager
def _of_checkpoint(folder: Path) -> Iterator[None]:
    """Raise what is wrong with a checkpoint's content as `CheckpointError`, in one line."""
    try:
        yield
    except StreamError:
        raise
    except (KeyError, IndexError, RuntimeError, TypeError, ValueError) as error:
        said = f"has no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise CheckpointError(f"the checkpoint of {folder} is damaged or of another agent: {said}") from error


def _fill(memory_state: TensorDict, tensors: dict[str, torch.Tensor], policy: ActorCritic) -> None:
    """Set the tensors of an initial state, in which a layer without any has its place too.

    Raises:
        ValueError: if they are of another memory, or out of range.
    """
    wanted = by_path(memory_state)
    check_saved(tensors, wanted, policy.backbone.state_bounds)
    for name, path in paths_of(memory_state).items():
        memory_state.set(path, tensors[name].to(wanted[name].device))


def _position(parts: dict[str, dict[str, torch.Tensor]], facts: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the position of a checkpoint's stream, and remove its shapes from the facts."""
    position = parts["env" if "env" in parts else "world"]  # its name until 0.2
    shapes = facts.pop("env_shapes" if "env_shapes" in facts else "world_shapes")
    for name in sorted(position.keys() | shapes.keys()):
        saved = position[name].numel() if name in position else "no"
        if name not in shapes or len(shapes[name]) > 16 or saved != math.prod(shapes[name]):
            raise CheckpointError(
                f"facts.json has the shape {shapes.get(name)} of {name}, the position {saved} numbers"
            )
    return {name: value.numpy().reshape(shapes[name]) for name, value in position.items()}


def load_policy_tensors(policy: torch.nn.Module, tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """Load weights.

    Raises:
        CheckpointError: if they are of another policy, or not finite.
    """
    own = policy.state_dict()
    plain = all(own[name].dtype == tensor.dtype for name, tensor in tensors.items() if name in own)
    for name in sorted(own.keys() | tensors.keys()):
        saved, wanted = (
            (f"{list(of[name].shape)}" if plain else f"{of[name].dtype} {list(of[name].shape)}")
            if name in of
            else "not there"
            for of in (tensors, own)
        )
        if saved != wanted:
            raise CheckpointError(
                f"the checkpoint of {folder} is of another agent: {name} is {saved} in the checkpoint "
                f"and {wanted} in this agent{_outdated(policy, name)}"
            )
    with _of_checkpoint(folder):
        check_saved(tensors, own)
    policy.load_state_dict(tensors)


def _outdated(policy: torch.nn.Module, name: str) -> str:
    """Return what a module around the weight says, by `outdated`, of weights saved before its definition changed."""
    path = name.split(".")
    for depth in range(len(path) - 1, 0, -1):
        module: Any = policy
        for step in path[:depth]:
            module = getattr(module, step, None)
        if outdated := getattr(module, "outdated", ""):
            return f": {outdated}; agents from before must be trained anew"
    return ""


def parameter_names(module: nn.Module) -> list[str]:
    """Return the names of a module's parameters, in the order of its optimiser."""
    return [name for name, _ in module.named_parameters()]


def flat(memory: TensorDict) -> dict[tuple[str, ...], torch.Tensor]:
    """Return the tensors of a memory's state by their paths."""
    return {key if isinstance(key, tuple) else (key,): value for key, value in memory.items(True, True)}
