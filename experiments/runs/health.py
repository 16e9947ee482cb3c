"""Health of a living agent: what `state_health` and `plasticity` say of its memory and slow weights, at reports.

| tag | meaning |
| --- | --- |
| memory/norm_PATH | norm of each tensor of the state, mean over lives |
| memory/effective_rank_PATH, memory/stable_rank_PATH | of its fast-weight matrices, mean over lives and heads |
| memory/write_strength_PATH | of 8 steps near the end of the last segment, mean over steps and lives |
| memory/saturation_PATH | share of entries near the greatest |
| plasticity/dormant_share | of the hidden units of encoder and backbone; memories have tags of their own |
| plasticity/feature_rank | srank of what policy and value read |
| plasticity/weight_norm | of all slow weights |
| plasticity/distance_from_init | norm of all slow weights less those they began with, where these are kept |
| plasticity/gradient_clipped | share of the mean gradient that clipping takes away |
| plasticity/value_gradient_share | of the value in the gradient of the weights that policy and value share |
| time/health_seconds | processor time that this took |

PATH is layer and name, as in `memory/norm_0/S`; what is measured of the state, but for the norm, is that of its large
tensors. The state is that of now, of at most 8 lives and 32 matrices whose smaller side is at most 128. Features and
write strength come from at most the first 128 steps of the last segment, replayed by the weights of now: the last 8 of
them one by one. Gradients are those of one more minibatch of it, of at most 8 lives. Nothing is drawn, and agent, state
and learner stay as they are. Reports in which this would come to more than 1 % of the training have norms only. Why
returns may have stayed low is said by `learning_bounds`.
"""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from tensordict import TensorDict
from torch import Tensor

from lifelong.agents import PPO, Segment
from lifelong.agents.actor_critic import ActorCritic
from lifelong.agents.dormant_units import TAU, unit_activities
from lifelong.agents.gradient_shares import gradient_norms
from lifelong.agents.redo import Redo
from lifelong.experiments.metrics.plasticity import (
    clipped_share,
    dormant_share,
    srank,
    value_share,
    weight_norm,
)
from lifelong.experiments.metrics.state_health import (
    effective_rank,
    is_matrix,
    large_tensors,
    norm,
    saturation,
    singular_values,
    stable_rank,
    write_strength,
)
from lifelong.experiments.runs.directory import flat
from lifelong.experiments.runs.evaluation import own_random
from lifelong.experiments.runs.learning_bounds import LearningBounds

__all__ = ["Health", "Replay", "memory_scalars", "plasticity_scalars", "replay"]

_LIVES = 8
_STEPS = 128  # of the last segment
_WRITES = 8  # of them, one by one
_MATRICES = 32
_WIDEST = 128  # smaller side of a matrix
_SHARE = 0.01  # of the time
_GROWTH, _DORMANT = 10.0, 0.5  # beyond which a training says so
_FEWEST = 3  # reports whose norms the last one is compared with


class Health:
    """Measures the health of one training at its reports, and says at the end what is out of bounds.

    Args:
        learner: of the policy that is trained.
        steps: environment steps of the training.
        always: whether every report is measured, however long it takes.
        resumed: whether the training goes on from a checkpoint.
    """

    def __init__(self, learner: PPO, steps: int, *, always: bool = False, resumed: bool = False) -> None:
        self.learner, self.policy, self.steps, self.always = learner, learner.policy, steps, always
        self.learning = LearningBounds(steps, normalized=learner.return_scale is not None, resumed=resumed)
        self._began, self._spent, self._last = time.process_time(), 0.0, 0.0  # not the clock: machines are shared
        self._before: dict[str, float] = {}  # greatest norms of the first half
        self._reports = 0  # in the first half
        self._norms: dict[str, float] = {}
        self._dormant = math.nan

    def scalars(
        self, segment: Segment, state: TensorDict, reported: Mapping[str, float], step: int
    ) -> dict[str, float]:
        """Return the scalars of a report by tag.

        Args:
            segment: the last one.
            state: [B] after it.
            reported: what else the report says by tag, `train/gradient_norm` of the last update among it.
            step: environment steps so far.
        """
        found = self._measure(segment, state, reported["train/gradient_norm"], step)
        self.learning.report({**reported, **found}, step)
        return found

    @torch.no_grad()
    def _measure(self, segment: Segment, state: TensorDict, gradient_norm: float, step: int) -> dict[str, float]:
        self._norms = {name: float(norm(x).mean()) for name, x in _floats(state)}
        if step <= self.steps / 2:
            self._reports += 1
            self._before = {name: max(x, self._before.get(name, 0.0)) for name, x in self._norms.items()}
        scalars = {f"memory/norm_{name}": x for name, x in self._norms.items()}
        now = time.process_time()
        if not self.always and self._spent + self._last > _SHARE * (now - self._began):
            return scalars
        with own_random(0):  # a memory may draw
            replayed = replay(self.policy, segment)
            of_policy, of_value = gradient_norms(self.learner, segment, _LIVES, _STEPS)
        scalars |= memory_scalars(state, replayed) | plasticity_scalars(self.policy, replayed)
        scalars["plasticity/gradient_clipped"] = clipped_share(gradient_norm, self.learner.config.max_grad_norm)
        scalars["plasticity/value_gradient_share"] = value_share(of_policy, of_value)
        if self.learner.regeneration is not None:
            scalars["plasticity/distance_from_init"] = self.learner.regeneration.distance()
        self._dormant = scalars["plasticity/dormant_share"]
        self._last = time.process_time() - now
        self._spent += self._last
        return scalars | {"time/health_seconds": self._last}

    def out_of_bounds(self) -> str:
        """Return what is out of bounds at the last report, or in the training's learning, in words; else nothing.

        Nothing is said of growth where there were fewer than three reports in the first half, as in a run that goes on
        from its second half: one alone may fall on the first steps of a life.
        """
        said = [
            f"the norm of the memory's state {name} is {now:.3g}, more than {_GROWTH:.0f} times its greatest of the "
            f"first half of the run, {before:.3g}"
            for name, now in self._norms.items()
            if self._reports >= _FEWEST and now > _GROWTH * (before := self._before.get(name, 0.0)) > 0
        ]
        if self._dormant > _DORMANT:
            said.append(
                f"{100 * self._dormant:.0f} % of the policy's hidden units are dormant "
                f"(at most {TAU} of their layer's mean activity)"
            )
        if isinstance(redo := self.learner.recycling, Redo) and not redo.recycled and redo.least > redo.tau:
            said.append(
                f"ReDo recycled no unit: the least active has {redo.least:.2g} of its layer's mean activity, "
                f"redo_tau is {redo.tau:g}"
            )
        said += self.learning.out_of_bounds()
        return f"out of bounds: {'; '.join(said)}" if said else ""


@dataclass(frozen=True, slots=True)
class Replay:
    """What a policy computes in the steps of a segment.

    Args:
        features: [B, T, D] what policy and value read.
        layers: [N] activity of the hidden units of each layer.
        writes: mean write strength of the large tensors of the memory by name; NaN where it starts anew at each step.
    """

    features: Tensor
    layers: list[Tensor]
    writes: dict[str, float]


def replay(policy: ActorCritic, segment: Segment) -> Replay:
    """Return what a policy computes in the steps of a segment.

    Args:
        policy: left as it is.
        segment: left as it is.
    """
    steps = segment.steps[:_LIVES, :_STEPS]
    observation, starts = steps["observation"], steps["start"]
    alone = starts.shape[1] - min(_WRITES, starts.shape[1] // 2)
    with unit_activities(policy) as layers:
        features, state = policy.trunk(observation[:, :alone], segment.state[:_LIVES], starts[:, :alone])
    strengths: dict[str, list[Tensor]] = {}
    for t in range(alone, starts.shape[1]):
        start = starts[:, t].contiguous()  # as in acting: kernels are compiled by layout
        _, after = policy.trunk(observation[:, t], state, start)
        before = flat(state)
        for path, x in large_tensors(flat(after)).items():
            strengths.setdefault("/".join(path), []).append(write_strength(before[path], x)[~start])
        state = after
    return Replay(features, layers, {name: float(torch.cat(parts).mean()) for name, parts in strengths.items()})


def memory_scalars(state: TensorDict, replayed: Replay) -> dict[str, float]:
    """Return ranks, saturation and write strength of the large tensors of the memory by tag.

    Args:
        state: [B] of now.
        replayed: of the last segment.
    """
    scalars: dict[str, float] = {}
    for path, x in large_tensors(flat(state[:_LIVES])).items():
        name = "/".join(path)
        scalars[f"memory/saturation_{name}"] = float(saturation(x))
        if is_matrix(path, x) and min(x.shape[-2:]) <= _WIDEST:
            sigma = singular_values(x.flatten(0, -3)[:_MATRICES].cpu())
            scalars[f"memory/effective_rank_{name}"] = float(effective_rank(sigma).mean())
            scalars[f"memory/stable_rank_{name}"] = float(stable_rank(sigma).mean())
    return scalars | {f"memory/write_strength_{name}": x for name, x in replayed.writes.items()}


def plasticity_scalars(policy: ActorCritic, replayed: Replay) -> dict[str, float]:
    """Return dormant units, rank of the features and weight norm by tag.

    Args:
        policy: whose weights.
        replayed: of the last segment.
    """
    return {
        "plasticity/dormant_share": dormant_share(replayed.layers),
        "plasticity/feature_rank": srank(replayed.features.flatten(0, -2).cpu()),
        "plasticity/weight_norm": weight_norm(policy.parameters()),
    }


def _floats(state: TensorDict) -> Iterator[tuple[str, Tensor]]:
    """Yield the floating-point tensors of a state by name."""
    floats: Mapping[tuple[str, ...], Tensor] = {k: x for k, x in flat(state).items() if x.is_floating_point()}
    yield from (("/".join(path), x) for path, x in floats.items())
