"""Run directory: config, episode rows, checkpoints.

runs/<name>/config.json         the resolved config, versions, git and code hash, command, device, plug-ins' files
runs/<name>/stream.toml         the stream file it was made with, if there was one
runs/<name>/episodes/           one row for each episode, Parquet
runs/<name>/checkpoints/last/   see `lifelong.agents.checkpoint`
runs/<name>/report/             curves as JSON and PNG
runs/<name>/events.out.*        for TensorBoard
runs/<name>/crash.json          how to reproduce an environment's error; the checkpoint is from just before
"""

import json
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import nn

from lifelong.agents import PPO, ActorCritic, CheckpointError, Rollout, load_checkpoint, save_checkpoint
from lifelong.agents.checkpoint import optimizer_tensors, restore_optimizer
from lifelong.envs import StreamError, TaskStream
from lifelong.envs.stream_file import is_stream_file, read_stream_file
from lifelong.experiments.runs.code_version import code_hash, git_hash, package_version
from lifelong.experiments.runs.config import FORMAT, TrainConfig
from lifelong.experiments.runs.errors import UserError, check_output
from lifelong.experiments.runs.plug_ins import plug_in_memories

__all__ = ["create_run", "flat", "load_lives", "load_policy", "open_run", "open_run_as", "origin", "restore", "save"]

_SEALED = 3  # format from which on cued-recall and colour-rule are sealed
_PACKAGES = ("lifelong-rl", "torch", "torchrl", "tensordict", "gymnasium", "minigrid", "numpy")


def create_run(config: TrainConfig, agent: nn.Module) -> Path:
    """Make the directory of a new run and write its config.

    Args:
        config: with every setting resolved.
        agent: as it was made from the config.

    Raises:
        UserError: if there is a run of that name and it may not be replaced.
    """
    folder = config.run
    check_output(folder, folder=True)
    if folder.exists():
        if not config.overwrite:
            raise UserError(
                f"run {folder} exists: pass --overwrite to replace it, --resume {folder} to go on, or another --name"
            )
        if not (folder / "config.json").is_file():
            raise UserError(f"{folder} is no run, so it is not replaced: it has no config.json")
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"cannot make {folder}: {error.strerror}") from error
    if is_stream_file(config.stream):
        shutil.copyfile(config.stream, folder / f"stream{Path(config.stream).suffix}")
    content = {"format": FORMAT, "config": config.to_json(), "origin": origin(config, agent)}
    (folder / "config.json").write_text(json.dumps(content, indent=1) + "\n")
    return folder


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
        "machine": platform.machine(),
    }


def open_run(folder: Path) -> TrainConfig:
    """Return the config of a run.

    Raises:
        UserError: if there is none, or a newer version wrote it.
    """
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{folder} is no run: cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}") from error
    try:
        found = int(content["format"])
        if found <= FORMAT:
            config = TrainConfig.from_json(content["config"])
            if is_stream_file(config.stream):
                config = replace(config, stream=str(folder / f"stream{Path(config.stream).suffix}"))
            return config if found >= _SEALED else _unsealed(config)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no config of a run: {error!r}") from error
    raise UserError(f"{path} has format {found}, this version reads up to {FORMAT}: upgrade lifelong-rl")


def open_run_as(folder: Path, schedule: str | None, stream_options: tuple[str, ...]) -> tuple[TrainConfig, str | None]:
    """Return the resolved config of a run with another schedule and more stream settings, and what is new.

    Args:
        folder: of the run.
        schedule: in place of training's; None keeps it.
        stream_options: settings of the stream that come after training's.

    Returns:
        The config, and the schedule; None where it is that of training.

    Raises:
        UserError: if there is no run, or a newer version wrote it.
    """
    trained = open_run(folder).resolved()
    other = None if schedule == trained.schedule else schedule
    options = (*trained.stream_options, *stream_options)
    return replace(trained, schedule=other or trained.schedule, stream_options=options), other


def _unsealed(config: TrainConfig) -> TrainConfig:
    """Return the config of a run from before streams were sealed, such that its stream is made unsealed.

    Raises:
        UserError: if it is of a stream that can no longer be made so.
    """
    stream = read_stream_file(config.stream).stream if is_stream_file(config.stream) else config.stream
    if stream.replace("_", "-") == "colour-rule":
        raise UserError(
            "the run is of colour-rule before it was sealed: its agent knows no step that shows the outcome, so it "
            "cannot act in colour-rule as it is now; train another"
        )
    if stream.replace("_", "-") == "cued-recall":
        return replace(config, stream_options=(*config.stream_options, "sealed=false"))
    return config


def save(
    folder: Path, rollout: Rollout, position: dict[str, NDArray[Any]], learner: PPO, facts: dict[str, Any]
) -> None:
    """Write the run's checkpoint: weights, optimiser, memories, random numbers and where every life is.

    Args:
        folder: of the run.
        rollout: whose memories.
        position: of its env.
        learner: of its policy.
        facts: what else a resumed run needs, as JSON.
    """
    parts = {
        "policy": dict(rollout.policy.state_dict()),
        "optimizer": optimizer_tensors(learner.optimizer),
        "memory": {"/".join(key): value for key, value in flat(rollout.state).items()},
        "env": {name: torch.from_numpy(np.atleast_1d(value)) for name, value in position.items()},
        "random": {"torch": torch.get_rng_state()},
    }
    if learner.return_scale is not None:
        parts["return_scale"] = learner.return_scale.state_dict()
    device = rollout.start.device
    if device.type == "cuda":
        parts["random"]["cuda"] = torch.cuda.get_rng_state(device)
    shapes = {name: list(value.shape) for name, value in position.items()}
    save_checkpoint(folder / "checkpoints" / "last", parts, facts | {"steps": rollout.steps, "env_shapes": shapes})


def restore(
    folder: Path,
    rollout: Rollout,
    env: TaskStream,
    learner: PPO,
    *,
    env_kwargs: Mapping[str, Any] = MappingProxyType({}),
    new_episodes: bool = False,
) -> dict[str, Any]:
    """Restore the checkpoint that `save` wrote.

    Args:
        folder: of the run.
        rollout: of its agent, in `env`.
        env: its stream.
        learner: of its agent.
        env_kwargs: settings of its environment, as the run's config has them.
        new_episodes: whether unfinished episodes are abandoned; see `TaskStream.resume`.

    Returns:
        The facts given to `save`, `steps`, and with new episodes `abandoned`: the numbers of unfinished episodes and of
        their steps.

    Raises:
        CheckpointError: if there is no whole checkpoint, or it is of another agent or of other `env_kwargs`.
        StreamError: if an environment does not reproduce its episode; says how to go on.
    """
    parts, facts = load_checkpoint(folder / "checkpoints" / "last")
    if (was := facts.get("env_kwargs", {})) != env_kwargs:
        raise CheckpointError(f"{folder} has env_kwargs={env_kwargs}, its checkpoint is of env_kwargs={was}")
    load_policy_tensors(rollout.policy, parts["policy"], folder)
    restore_optimizer(learner.optimizer, parts["optimizer"])
    if learner.return_scale is not None and "return_scale" in parts:
        learner.return_scale.load_state_dict(parts["return_scale"])
    _fill(rollout.state, parts["memory"], rollout.start.device)
    position = _position(parts, facts)
    try:
        rollout.observe(*env.resume(position, new_episodes=new_episodes))
    except StreamError as error:
        remedy = f"lifelong train --resume {folder} --new-episodes keeps the agent and begins new episodes"
        raise StreamError(f"{error}; {remedy}", error.report) from error
    if new_episodes:
        lengths = position["episode_length"]
        facts["abandoned"] = [int(np.count_nonzero(lengths)), int(lengths.sum())]
    rollout.steps = facts["steps"]
    torch.set_rng_state(parts["random"]["torch"])
    if rollout.start.device.type == "cuda" and "cuda" in parts["random"]:
        torch.cuda.set_rng_state(parts["random"]["cuda"], rollout.start.device)
    return facts


def load_policy(folder: Path, policy: torch.nn.Module) -> dict[str, Any]:
    """Load the weights of a run's checkpoint into a policy and return the checkpoint's facts."""
    parts, facts = load_checkpoint(folder / "checkpoints" / "last")
    load_policy_tensors(policy, parts["policy"], folder)
    return facts


def load_lives(folder: Path, policy: ActorCritic) -> tuple[TensorDict, dict[str, NDArray[Any]]]:
    """Return the memory of all lives of a run's checkpoint, and the position of its stream.

    Args:
        folder: of the run.
        policy: of the run's memory; its weights do not matter.

    Raises:
        CheckpointError: if there is no whole checkpoint, or it is of another memory.
    """
    parts, facts = load_checkpoint(folder / "checkpoints" / "last")
    position = _position(parts, facts)
    memory_state = policy.backbone.initial_state(position["life"].size)
    wanted = {"/".join(key): value.shape for key, value in flat(memory_state).items()}
    found = {name: value.shape for name, value in parts["memory"].items()}
    if wanted != found:
        raise CheckpointError(f"the checkpoint of {folder} is of another memory: {found}, the agent's is {wanted}")
    _fill(memory_state, parts["memory"], next(policy.parameters()).device)
    return memory_state, position


def _fill(memory_state: TensorDict, tensors: dict[str, torch.Tensor], device: torch.device) -> None:
    """Set the tensors of an initial state, in which a layer without any has its place too."""
    for key, value in tensors.items():
        memory_state.set(tuple(key.split("/")), value.to(device))


def _position(parts: dict[str, dict[str, torch.Tensor]], facts: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the position of a checkpoint's stream, and remove its shapes from the facts."""
    position = parts["env" if "env" in parts else "world"]  # its name until 0.2
    shapes = facts.pop("env_shapes" if "env_shapes" in facts else "world_shapes")
    return {name: value.numpy().reshape(shapes[name]) for name, value in position.items()}


def load_policy_tensors(policy: torch.nn.Module, tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """Load weights.

    Raises:
        CheckpointError: if they are of another policy.
    """
    own = policy.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        saved, wanted = (f"{list(of[name].shape)}" if name in of else "not there" for of in (tensors, own))
        if saved != wanted:
            raise CheckpointError(
                f"the checkpoint of {folder} is of another agent: {name} is {saved} in the checkpoint "
                f"and {wanted} in this agent{_outdated(policy, name)}"
            )
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


def flat(memory: TensorDict) -> dict[tuple[str, ...], torch.Tensor]:
    """Return the tensors of a memory's state by their paths."""
    return {key if isinstance(key, tuple) else (key,): value for key, value in memory.items(True, True)}
