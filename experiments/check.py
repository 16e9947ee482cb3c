"""Check that a memory keeps its contract, and that the learner recomputes what the agent did while acting.

    lifelong check --memory gated_delta --env cued-recall
    lifelong check --memory my_package.my_module:Leaky --env gym:CartPole-v1 --carry episode

First `check_memory`; then an untrained agent acts for two segments, its memory reset at random steps inside them and
where `--carry` says so, and both are replayed as PPO replays them, each from the memory's state before it. The
probability ratio of the same weights must be one at every step: `max |exp(log pi_replayed - log pi_acting) - 1|`.
The weights of the policy head are drawn larger than for training, so that the ratio depends on the memory.
A check that fails is one sentence on stderr and exit code 1.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lifelong.agents import ActorCritic, Rollout
from lifelong.agents.replay import entries, replay
from lifelong.agents.rollout import Segment
from lifelong.envs import TaskStream
from lifelong.experiments.runs.build import make_agent, one_memory
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.runs.errors import UserError, as_user_error, known_errors
from lifelong.experiments.runs.evaluation import own_random
from lifelong.experiments.settings.check import CheckConfig
from lifelong.memory import check_memory

__all__ = ["TOLERANCE", "CheckConfig", "CheckError", "command", "main"]

TOLERANCE = 1e-4
"""Largest |ratio - 1| that is rounding of float32."""

SEGMENTS = 2
_RESETS = 0.1  # share of the steps before which the memory is reset


class CheckError(RuntimeError):
    """A memory or an environment failed the check; the message is one line."""


def command(config: CheckConfig) -> None:
    """Run the verb; a check that fails ends with exit code 1."""
    try:
        for line in main(config):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
    except CheckError as error:
        sys.stderr.write(f"lifelong: {error}\n")
        raise SystemExit(1) from None


def main(config: CheckConfig) -> Iterator[str]:
    """Yield a line for each part of the check that holds.

    Args:
        config: settings.

    Raises:
        UserError: if there is no such memory or environment, or a setting does not fit.
        CheckError: if the memory breaks its contract, a ratio is not one, or code of the memory or the environment
            raises.
    """
    trained = TrainConfig(
        config.env,
        memory=config.memory,
        carry=config.carry,
        memory_options=config.memory_options,
        stream_options=config.stream_options,
        env_kwargs=config.env_kwargs,
        width=config.width,
        layers=config.layers,
        num_envs=config.num_envs,
        seed=config.seed,
        device=config.device,
        trust=config.trust,
    ).resolved()
    with _failing(f"memory {config.memory!r}"), own_random(config.seed):
        with as_user_error():
            memory = one_memory(trained)
        clauses = check_memory(memory, long_life=1000)
        state_bytes = memory.state_bytes
    yield f"memory {config.memory}: contract ok ({len(clauses)} clauses)"
    with _failing(f"environment {config.env!r}"):
        env = make_env(trained)
    try:
        with _failing(f"memory {config.memory!r} in {config.env!r}"), own_random(config.seed):
            error, resets = _ratio(make_agent(trained, env), env, config)
    finally:
        env.close()
    yield (
        f"ratio of acting and learning in {config.env}, carry {config.carry}: max |ratio - 1| = {error:.1e} "
        f"in {SEGMENTS} segments of {config.segment} steps of {config.num_envs} lives, {resets} resets inside: ok"
    )
    yield f"state: {state_bytes:,} bytes per life and layer"


class _ResettingRollout(Rollout):
    """A rollout in which the memory is also reset before random steps, whatever the environment does."""

    def observe(self, observation: Any, info: dict[str, Any]) -> None:
        """Set the present observation, with more resets than `carry` asks for."""
        super().observe(observation, info)
        drawn = torch.rand(self.start.shape) < _RESETS  # on the CPU: the same resets on every device
        self.start = self.start | drawn.to(self.start.device)


def _ratio(policy: ActorCritic, env: TaskStream, config: CheckConfig) -> tuple[float, int]:
    """Return max |ratio - 1| of the segments, and the resets inside them.

    Raises:
        CheckError: if a ratio is not one; says where.
    """
    for weight in policy.actor.parameters():
        if weight.ndim == 2:
            nn.init.orthogonal_(weight)
    rollout = _ResettingRollout(policy, env, config.carry)
    largest, resets = 0.0, 0
    for number in range(SEGMENTS):
        segment = rollout.collect(config.segment)
        errors = _errors(policy, segment)
        resets += int(segment.steps["start"][:, 1:].sum())
        wrong = ~(errors <= TOLERANCE)  # NaN is wrong too
        if wrong.any():
            life, step = wrong.nonzero()[wrong.nonzero()[:, 1].argmin()].tolist()
            raise CheckError(
                f"memory {config.memory!r} in {config.env!r}: acting and learning differ first in segment {number}, "
                f"step {step} of life {life}: |ratio - 1| = {errors[life, step].item():.1e} must be at most "
                f"{TOLERANCE:.0e}"
            )
        largest = max(largest, errors.max().item())
    return largest, resets


def _errors(policy: ActorCritic, segment: Segment) -> Tensor:
    """Return |ratio - 1| [B, T] of a segment that is replayed with the weights that acted."""
    steps = segment.steps
    hidden = replay(policy, entries(steps), steps["start"], segment.state)
    with torch.no_grad():
        log_prob = policy.distribution(hidden, steps.get("action_mask", None)).log_prob(steps["action"])
        errors: Tensor = (log_prob - steps["action_log_prob"]).exp().sub(1).abs().reshape(steps.batch_size)
    return errors


@contextmanager
def _failing(what: str) -> Iterator[None]:
    """Raise whatever is raised inside, but for a user's mistake, as a `CheckError` of one line."""
    try:
        yield
    except (UserError, CheckError):
        raise
    except Exception as error:
        name = "" if isinstance(error, known_errors()) else type(error).__name__
        said = " ".join(str(error).split())
        raise CheckError(": ".join(filter(None, (what, name, said)))) from error
