"""Moments of a life: what an agent observes, does and writes to its memory, step by step."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lifelong.agents import Carry
from lifelong.agents.actor_critic import ActorCritic
from lifelong.agents.encoder import as_tensors
from lifelong.envs import TaskStream
from lifelong.experiments.metrics.state_health import large_tensors, norm, write_strength
from lifelong.experiments.runs.actions import Actions
from lifelong.experiments.runs.directory import flat
from lifelong.experiments.runs.sources import Source, Sources

__all__ = ["Moment", "moments"]

_FLAG: dict[Carry, str] = {"lifetime": "life_start", "task": "task_start", "episode": "episode_start"}


@dataclass(frozen=True, slots=True)
class Moment:
    """One step of a life, or the end of an episode.

    Args:
        picture: [height, width, 3] before the action, or after the last one; None where the env draws none.
        observation: the task's own, of one life.
        task: name of the task.
        episode: number of the episode in its life.
        lag: episodes since the task was last met; -1 if never.
        gained: return of the episode so far.
        action: taken, as a row (see `lifelong.action_spaces`); None at the end of an episode.
        reward: for it.
        norm: of each tensor of the memory's state after the step, the largest ones of each layer, by name; with the
            number of the layer if there are several.
        write: write strength of the step, of the same tensors.
        sources: earlier steps that wrote most of what the memory reads now; none where that is no sum of writes.
        ended: whether this is the end of an episode.
    """

    picture: NDArray[np.uint8] | None
    observation: Any
    task: str
    episode: int
    lag: int
    gained: float
    action: Any
    reward: float
    norm: dict[str, float]
    write: dict[str, float]
    sources: tuple[Source, ...] = ()
    ended: bool = False


@torch.no_grad()
def moments(policy: ActorCritic, env: TaskStream, carry: Carry, actions: Actions = "drawn") -> Iterator[Moment]:
    """Yield the moments of a new life for ever: one for each step, one more where an episode ends.

    Args:
        policy: to evaluate; not changed.
        env: of one life; it is reset.
        carry: what ends the memory.
        actions: how the policy acts.
    """
    observation, info = env.reset()
    state = policy.backbone.initial_state(1)
    device, sources = next(policy.parameters()).device, Sources(policy)
    while True:
        number = int(env.task[0])
        picture, seen = _picture(env), observation["observation"]
        start = torch.from_numpy(info[_FLAG[carry]]).to(device)
        seen_now = as_tensors(observation, (1,), device)
        mask = policy.mask_of(observation, info, 1)
        policy_out, after = policy.act(seen_now, state, start, mask=mask, deterministic=actions == "greedy")
        size, write = _change(flat(state), flat(after))
        read_from = sources.now(seen_now, state, start, int(env.episode[0]))
        state, drawn = after, policy_out["action"]
        action = policy.head.executed(drawn)
        met, episode = int(env.met[0, number]), int(env.episode[0])
        reward, _, _, ended = env.advance(policy.head.taken(drawn))
        shared: dict[str, Any] = {
            "task": env.tasks[number].name, "episode": episode, "lag": episode - met if met >= 0 else -1,
            "gained": float(env.episode_return[0]), "reward": float(reward[0]), "norm": size, "write": write,
            "sources": read_from,
        }  # fmt: skip
        yield Moment(picture, _first(seen), action=action[0], **shared)
        if ended.size:
            yield Moment(_picture(env), _first(env.observe()[0]["observation"]), action=None, ended=True, **shared)
            env.end(ended)
            env.renew(ended)
        observation, info = env.observe()


def _picture(env: TaskStream) -> NDArray[np.uint8] | None:
    pictures = env.render() if env.render_mode == "rgb_array" else None
    return None if not pictures or pictures[0] is None else np.asarray(pictures[0], np.uint8)


def _first(observation: Any) -> Any:
    """Return the observation of the only life."""
    if isinstance(observation, dict):
        return {name: _first(value) for name, value in observation.items()}
    return np.asarray(observation[0])


def _change(
    before: dict[tuple[str, ...], torch.Tensor], after: dict[tuple[str, ...], torch.Tensor]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the norm of each large tensor of a state, and its write strength."""
    large = large_tensors(after)
    several = len({path[0] for path in large}) > 1
    norms, write = {}, {}
    for path, x in large.items():
        name = "/".join(path if several else path[1:])
        norms[name], write[name] = float(norm(x)), float(write_strength(before[path], x))
    return norms, write
