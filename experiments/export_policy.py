"""Write a trained agent's step for other programs, with the memory's state as an input and an output.

    lifelong export-policy runs/NAME --output policy.pt2
    lifelong export-policy runs/NAME --output policy.onnx --format onnx

The step is a function of three inputs: the observation's entries, the state of the memory, and `start` [B] bool, true
where a life begins: the state that is given does not matter there, zeros will do. Its outputs are the parameters of the
distribution over actions (`logits`; `loc` and `scale`; `parameters` of a joint one), `value` [B] and the next state.
Nested entries are named by their path, as `observation/previous_reward` or `state/0/S`.

In a .pt2 the step is `step(observation, state, start)` with two dicts, and returns a dict; the next state is the dict
under `state`. In ONNX each entry is an input or output of its own; those of the next state begin with `next_state/`.

Before the file is written, its content acts beside the live agent for 64 steps of the environment, each with the state
that it carries itself.
"""

import io
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from rich.console import Console
from tensordict import TensorDict
from torch import Tensor, nn

from lifelong.agents import ActorCritic, Rollout
from lifelong.agents.durable import writing
from lifelong.envs.rng import evaluation_seed
from lifelong.experiments.runs.api import load_agent
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.evaluation import own_random
from lifelong.experiments.runs.open_run import open_run
from lifelong.experiments.settings.export_policy import ExportPolicyConfig
from lifelong.memory.exported_step import program_of, quiet
from lifelong.memory.state_paths import by_path, nested, paths_of

__all__ = ["STEPS", "TOLERANCE", "ExportPolicyConfig", "PolicyStep", "command", "main"]

STEPS = 64
"""Environment steps of every life over which the exported step is compared with the agent."""

TOLERANCE = 1e-4
"""Largest difference that is rounding of float32, relative to 1 + the size of the number."""

Tensors = dict[str, Tensor]
Step = Callable[[Tensors, Tensors, Tensor], Tensors]
"""From observation, state and start to the outputs, all by the names that they have in ONNX."""

_NEXT = "next_state/"


class PolicyStep(nn.Module):
    """One step of a policy as a pure function of dicts of tensors, without drawing the action.

    Args:
        policy: encoder, backbone and heads.
        observation: [B], of which only the paths are read.
        state: [B] of the memory, alike.
    """

    def __init__(self, policy: ActorCritic, observation: TensorDict, state: TensorDict) -> None:
        super().__init__()
        self.policy = policy
        self.observation, self.state = paths_of(observation), paths_of(state)

    def forward(self, observation: Tensors, state: Tensors, start: Tensor) -> dict[str, Any]:
        """Return the parameters of the distribution over actions, `value` [B], and the dict `state` of the next state.

        Args:
            observation: [B, ...] by path.
            state: [B, ...] by path, before the step.
            start: [B] bool, true where a life begins.
        """
        batch = start.shape[0]
        obs, before = nested(observation, self.observation, batch), nested(state, self.state, batch)
        parameters, value, after = self.policy.outputs(obs, before, start)
        return {**parameters, "value": value, "state": by_path(after)}


def command(config: ExportPolicyConfig) -> None:
    """Run the verb."""
    main(config, Console(stderr=True))


def main(config: ExportPolicyConfig, console: Console | None = None) -> float:
    """Write the step of a run's agent.

    Args:
        config: what to do.
        console: where is said what was written; None keeps quiet.

    Returns:
        The largest difference between the file and the agent.

    Raises:
        UserError: if there is no such run, its step cannot be exported, or what was exported acts differently.
        CheckpointError: if the run's checkpoint cannot be read.
    """
    console = console or Console(quiet=True)
    trained = open_run(config.run, config.trust)
    agent = load_agent(config.run, trust=config.trust)
    policy = agent.policy.eval().requires_grad_(False)
    env = make_env(trained.resolved(), num_envs=config.num_envs, seed=evaluation_seed(config.seed))
    try:
        with own_random(config.seed):
            segment = Rollout(agent, env).collect(STEPS)
    finally:
        env.close()
    steps = segment.steps.select("observation", "start")
    steps["start"][:, STEPS // 2] = True  # whatever `carry` says: the file must reset the memory too
    first = steps[:, 0]
    refusal = f"the step of {config.run}, with the memory {trained.memory!r}, cannot be exported as {config.format}"
    try:
        state = by_path(segment.state)
        inputs = by_path(first["observation"]), state, first["start"]
    except ValueError as error:
        raise UserError(f"{refusal}: {error}") from error
    try:
        program = program_of(PolicyStep(policy, first["observation"], segment.state), inputs)
        with quiet():
            content, step = (_as_onnx if config.format == "onnx" else _as_pt2)(program, inputs)
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:  # torch.onnx wraps what it could not translate in pages on how to report it
            cause = cause.__cause__
        said = next(iter(str(cause).strip().splitlines()), "")
        raise UserError(f"{refusal}: torch cannot translate it: {type(cause).__name__}: {said}") from error
    largest, outputs = _compared(policy, step, steps, segment.state, refusal)
    with writing(config.output):
        config.output.parent.mkdir(parents=True, exist_ok=True)
        config.output.write_bytes(content)
    named = _prefixed("observation/", inputs[0]) | _prefixed("state/", state) | {"start": inputs[2]}
    for line in (
        f"inputs: {_described(named)}",
        f"outputs: {_described(outputs)}",
        f"largest difference from the agent over {STEPS} steps: {largest:.1e}",
        f"wrote {config.output}",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return largest


def _compared(
    policy: ActorCritic, step: Step, steps: TensorDict, state: TensorDict, refusal: str
) -> tuple[float, Tensors]:
    """Return the largest difference between a step and the policy's own over a segment, and the last outputs.

    Raises:
        UserError: if a difference is more than rounding; names step and output.
    """
    live, carried, largest, got = state, by_path(state), 0.0, Tensors()
    for t in range(steps.shape[1]):
        now = steps[:, t]
        with torch.no_grad():
            parameters, value, live = policy.outputs(now["observation"], live, now["start"])
        got = step(by_path(now["observation"]), carried, now["start"])
        carried = {name.removeprefix(_NEXT): x for name, x in got.items() if name.startswith(_NEXT)}
        wanted = {**parameters, "value": value, **_prefixed(_NEXT, by_path(live))}
        for name, want in wanted.items():
            difference = (got[name].double() - want.double()).abs()
            if not bool((difference <= TOLERANCE * (1 + want.double().abs())).all()):
                raise UserError(f"{refusal}: at step {t} {name} differs from the agent's by {difference.max():.1e}")
            largest = max([largest, *difference.flatten().tolist()])
    return largest, got


def _as_pt2(program: Any, inputs: tuple[Tensors, Tensors, Tensor]) -> tuple[bytes, Step]:
    """Return a program as the content of a .pt2 file, and the step that this content computes."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    loaded = torch.export.load(io.BytesIO(buffer.getvalue())).module()

    def step(observation: Tensors, state: Tensors, start: Tensor) -> Tensors:
        with torch.no_grad():
            return _flat_outputs(loaded(observation, state, start))

    return buffer.getvalue(), step


def _as_onnx(program: Any, inputs: tuple[Tensors, Tensors, Tensor]) -> tuple[bytes, Step]:
    """Return a program as the content of an ONNX file, and the step that this content computes."""
    onnxruntime: Any = import_module("onnxruntime")  # of the extra `onnx`
    names = [*_prefixed("observation/", inputs[0]), *_prefixed("state/", inputs[1]), "start"]
    outputs = [*_flat_outputs(program.module()(*inputs))]
    model = torch.onnx.export(program, dynamo=True, input_names=names, output_names=outputs, verbose=False)
    content: bytes = model.model_proto.SerializeToString()  # type: ignore[union-attr]
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    read = {given.name for given in session.get_inputs()}

    def step(observation: Tensors, state: Tensors, start: Tensor) -> Tensors:
        given = _prefixed("observation/", observation) | _prefixed("state/", state) | {"start": start}
        results = session.run(outputs, {name: x.numpy(force=True) for name, x in given.items() if name in read})
        return {name: torch.as_tensor(x) for name, x in zip(outputs, results, strict=True)}

    return content, step


def _flat_outputs(outputs: dict[str, Any]) -> Tensors:
    """Return the outputs of a `PolicyStep` by the names that they have in ONNX."""
    flat = {name: x for name, x in outputs.items() if name != "state"}
    return flat | _prefixed(_NEXT, outputs["state"])


def _prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: x for name, x in tensors.items()}


def _described(tensors: Tensors) -> str:
    """Return names, shapes and dtypes in one line."""
    return ", ".join(f"{n} {list(x.shape)} {str(x.dtype).removeprefix('torch.')}" for n, x in tensors.items())
