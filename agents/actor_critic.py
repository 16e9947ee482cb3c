"""Actor-critic of encoder, backbone, policy head and value head, as modules on TensorDicts.

`trunk` reads `observation`, `state` and `start` and writes `hidden` and the state after it; `actor` and `critic` read
`hidden` only, so that a loss may call both without running the memory again.
The whole is pure: it returns the new state of the memory and keeps none.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from gymnasium import spaces
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.func import functional_call

from lifelong.agents.action_heads import ACTION_STD, ActionHead, ActionStd, actor_of, masked
from lifelong.agents.backbone import Backbone
from lifelong.agents.encoder import Encoder
from lifelong.agents.history import has_history
from lifelong.agents.packing import Packing
from lifelong.agents.squashed_normal import SquashedNormal
from lifelong.mask_entry import at_path, mask_path
from lifelong.memory.state_paths import by_path

__all__ = ["ACTION_STD", "ActionStd", "ActorCritic", "Heads"]

Heads = Literal["one", "task"]
"""Policy and value head: one of each for all tasks, or one of each per task (multi-head)."""

_SHARED = ("encoder.", "backbone.")
"""What names of weights begin with that tasks may share."""

_LEAST_STD = 0.01
"""What standard deviations that depend on the state stay above."""


class ActorCritic(TensorDictModuleBase):
    """Recurrent policy and value function of an observation and the memory's state.

    In: `observation`, `state`, `start`, and `action_mask` where there is one. Out: `action`, `action_log_prob`,
    `state_value`, `("next", "state")`. A batch of size [B] is one step; [B, T] is T steps, with `state` that of the
    first.

    Args:
        encoder: of the observation.
        backbone: of the same width.
        action_space: Discrete, MultiDiscrete, MultiBinary, Box, or a Dict or Tuple of these; see `action_heads.py` for
            what is drawn and what the environment gets.
        action_std: what the standard deviation of actions in a Box (before tanh) depends on: the `state`, or nothing
            (`free`: one learned number for each).
        initial_std: what it is at first.
        heads: policy and value head: `one` of each for all tasks, or weights of its own in each per `task` (multi-head;
            biases, and deviations that depend on nothing, are those of all tasks), which observations must tell. Heads
            of other tasks get no gradients.
        packed: whether all other weights are shared among tasks too (PackNet); see `packing.py`. It needs heads of
            tasks, and a memory without state.

    Raises:
        ValueError: if there is no distribution over this action space, the widths differ, `action_std` or `heads` is
            unknown, `initial_std` is not finite and above 0.01, observations do not tell the task that has a head, or
            weights cannot be shared.
    """

    in_keys = ("observation", "state", "start")
    out_keys = ("action", "action_log_prob", "state_value", ("next", "state"))

    def __init__(
        self,
        encoder: Encoder,
        backbone: Backbone,
        action_space: spaces.Space[Any],
        action_std: ActionStd = "state",
        initial_std: float = 1.0,
        heads: Heads = "one",
        *,
        packed: bool = False,
    ) -> None:
        super().__init__()
        if heads not in get_args(Heads):
            raise ValueError(f"heads must be one of {', '.join(get_args(Heads))}, got {heads!r}")
        if action_std not in ACTION_STD:
            raise ValueError(f"action_std must be one of {', '.join(ACTION_STD)}, got {action_std!r}")
        if not (initial_std > _LEAST_STD and math.isfinite(initial_std)):
            raise ValueError(f"initial_std must be finite and above {_LEAST_STD}, got {initial_std}")
        if encoder.width != backbone.width:
            raise ValueError(f"encoder must have the width {backbone.width} of the backbone, got {encoder.width}")
        if backbone.working and not has_history(encoder.space):
            raise ValueError(f"a working memory needs the entry episode_start of observations, got {encoder.space}")
        self.encoder, self.backbone = encoder, backbone
        self.tasks = _tasks(encoder.space) if heads == "task" else 0
        """Tasks that have heads of their own; 0 if all share one."""
        width = backbone.width * max(self.tasks, 1)
        self.head = ActionHead(action_space)
        self.actor = actor_of(width, self.head, action_std, initial_std)
        value = nn.Linear(width, 1)
        nn.init.orthogonal_(value.weight, 0.1)
        nn.init.zeros_(value.bias)
        self.critic = TensorDictModule(value, in_keys=["hidden"], out_keys=["state_value"])
        self.packing = self._packing() if packed else None
        """Which tasks read which weights; None if all read all."""

    def _packing(self) -> Packing:
        """Return the owners of weights that tasks share.

        Raises:
            ValueError: if they cannot be shared.
        """
        if not self.tasks:
            raise ValueError("tasks that share weights (PackNet) need heads of their own: heads must be task, got one")
        if kept := by_path(self.backbone.initial_state(1)):
            raise ValueError(
                "tasks that share weights (PackNet) need a memory without state, which one would write and another "
                f"read: such as none, this one has the state {next(iter(kept))}"
            )
        parameters = dict(self.named_parameters())
        shared = {name: x for name, x in parameters.items() if name.startswith(_SHARED)}
        maps = [linear.weight for linear in self.output_maps]
        heads = {name: x for name, x in parameters.items() if any(x is weight for weight in maps)}
        return Packing(shared, heads, self.tasks)

    def trunk(
        self,
        observation: TensorDict | Mapping[tuple[str, ...], Tensor],
        state: TensorDict | None = None,
        start: Tensor | None = None,
    ) -> tuple[Tensor, TensorDict]:
        """Return the hidden vector that both heads read, and the next state.

        Args:
            observation: [B] one step, or [B, T]; a TensorDict, or its entries by path.
            state: [B] before the first step; None begins new lives, as in `torch.nn.GRU`.
            start: [B] or [B, T] bool, true where a step is the first of a life; None: nowhere but where `state` says.

        Returns:
            hidden: [B, D] or [B, T, D]; with a head for each of K tasks [..., K D], zero but at the present one.
            state: [B] after the last step.
        """
        if self.packing is not None:
            return self._packed(self.packing, observation)
        x = self.encoder(observation)
        run = self.backbone.step if x.ndim == 2 else self.backbone
        anew = (observation["episode_start",][..., 0] > 0,) if self.backbone.working else ()
        hidden, state = run(x, state, start, *anew)
        return (self.of_task(hidden, observation["task",]) if self.tasks else hidden), state

    def _packed(
        self, packing: Packing, observation: TensorDict | Mapping[tuple[str, ...], Tensor]
    ) -> tuple[Tensor, TensorDict]:
        """Return what `trunk` does, each step by the weights that its task reads."""
        task = observation["task",].long()
        ranks, parameters = packing.rank[task], dict(self.named_parameters())
        hidden: Tensor | None = None
        present = range(-1, self.tasks) if torch.compiler.is_exporting() else ranks.unique().tolist()
        for rank in present:
            weights = packing.read_by(rank, parameters)
            encoder, backbone = (
                {name.removeprefix(part): x for name, x in weights.items() if name.startswith(part)} for part in _SHARED
            )
            x = functional_call(self.encoder, encoder, (observation,))
            y, _ = functional_call(self.backbone, backbone, (x if x.ndim == 3 else x[:, None],))
            y = y.view(x.shape)
            hidden = y if hidden is None else torch.where((ranks == rank)[..., None], y, hidden)
        assert hidden is not None  # noqa: S101  there is at least one step
        return self.of_task(hidden, task), self.backbone.initial_state(len(task))

    def of_task(self, hidden: Tensor, task: Tensor) -> Tensor:
        """Return what the heads of all tasks read, zero but for the present one.

        Args:
            hidden: [..., D].
            task: [...] number of the present task.

        Returns:
            [..., K D].
        """
        here = nn.functional.one_hot(task.long(), self.tasks).to(hidden.dtype)
        return (here[..., None] * hidden[..., None, :]).flatten(-2)

    def distribution(self, hidden: Tensor, mask: Tensor | None = None) -> Distribution:
        """Return the distribution over actions, batch [...].

        Args:
            hidden: [..., D], as `trunk` returns it.
            mask: [..., n] bool, which choices are legal; None: all.
        """
        return self._over_actions(self._arguments(hidden), mask)

    def _arguments(self, hidden: Tensor) -> dict[str, Tensor]:
        return self._named(self.actor[0].module(hidden))  # what `actor.get_dist` does, without a TensorDict

    def _named(self, outputs: Tensor | tuple[Tensor, ...]) -> dict[str, Tensor]:
        parameters = outputs if isinstance(outputs, tuple) else (outputs,)
        return dict(zip(self.actor[1].dist_params_keys, parameters, strict=True))

    @property
    def output_maps(self) -> tuple[nn.Linear, nn.Linear]:
        """The linear maps of `hidden` to the policy's outputs and to the value."""
        return self.actor[0].module[0], self.critic.module

    def parameters_of(self, outputs: Tensor) -> dict[str, Tensor]:
        """Return the distribution parameters [...], by name, of the outputs [..., A] of the policy's linear map."""
        return self._named(self.actor[0].module[1](outputs))

    def _over_actions(self, parameters: dict[str, Tensor], mask: Tensor | None) -> Distribution:
        head = self.actor[1]
        if mask is not None:
            key = self.actor[1].in_keys[0]
            parameters = parameters | {key: masked(parameters[key], mask)}
        distribution: Distribution = head.distribution_class(**parameters, **head.distribution_kwargs)
        return distribution

    @functools.cached_property
    def mask_path(self) -> tuple[Any, ...] | None:
        """Keys that lead to the action mask in an observation; None if it holds none.

        Raises:
            ValueError: if it is not clear which entry is the mask.
        """
        space = self.encoder.space
        if isinstance(space, spaces.Dict) and has_history(space):
            path = mask_path(space["observation"], self.head.space)
            return None if path is None else ("observation", *path)
        return mask_path(space, self.head.space)

    def mask_of(self, observation: Any, info: Mapping[str, Any], num_envs: int) -> Tensor | None:
        """Return the action masks [B, n] that a vector environment tells; None where it tells none.

        Args:
            observation: [B] as `reset` or `step` returned it.
            info: of the same step; its `action_mask` goes before an entry of the observation.
            num_envs: B.

        Raises:
            ValueError: if a mask does not fit the action space, or leaves nothing to choose.
        """
        mask = info.get("action_mask")
        if mask is None and (path := self.mask_path) is not None:
            mask = at_path(observation, path)
        if mask is None or not self.head.masks.size:
            return None
        legal = self.head.masks.read_batch(mask, num_envs)
        return torch.from_numpy(legal).to(next(self.parameters()).device)

    def value(self, hidden: Tensor) -> Tensor:
        """Return the value [...] from `hidden` [..., D]."""
        value: Tensor = self.critic.module(hidden)
        return value[..., 0]

    def act(
        self,
        observation: TensorDict,
        state: TensorDict | None = None,
        start: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        deterministic: bool = False,
    ) -> tuple[TensorDict, TensorDict]:
        """Sample one action per life.

        Args:
            observation: [B].
            state: [B] before the step; left as it is. None begins new lives.
            start: [B] bool, true where the step is the first of a life; None: nowhere but where `state` says.
            mask: [B, n] bool, which choices are legal; None: all.
            deterministic: take the mode of the distribution instead of a sample.

        Returns:
            A TensorDict [B] of `action` as it was drawn (`head.taken` is what the environment gets), `action_log_prob`
            and `state_value` [B, 1], and the state after the step.
        """
        parameters, value, state = self.outputs(observation, state, start)
        return self.draw(parameters, value, mask=mask, deterministic=deterministic), state

    def outputs(
        self, observation: TensorDict, state: TensorDict | None = None, start: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Tensor, TensorDict]:
        """Return the distribution parameters, the value and the next state: `act` without sampling.

        Args:
            observation: [B].
            state: [B] before the step; left as it is. None begins new lives.
            start: [B] bool, true where the step is the first of a life; None: nowhere but where `state` says.

        Returns:
            parameters: [B, ...] of the distribution over actions, by name.
            value: [B].
            state: [B] after the step.
        """
        hidden, state = self.trunk(observation, state, start)
        return self._arguments(hidden), self.value(hidden), state

    def draw(
        self, parameters: dict[str, Tensor], value: Tensor, *, mask: Tensor | None = None, deterministic: bool = False
    ) -> TensorDict:
        """Return an action from the distribution, its log-probability and the value, as `act` does.

        Args:
            parameters: [B, ...] of the distribution over actions, by name.
            value: [B].
            mask: [B, n] bool, which choices are legal; None: all.
            deterministic: take the mode of the distribution instead of a sample.
        """
        action, log_prob = self.drawn(parameters, mask, deterministic=deterministic)
        policy_out = {"action": action, "action_log_prob": log_prob, "state_value": value[..., None]}
        return TensorDict(policy_out, value.shape)

    def drawn(
        self, parameters: dict[str, Tensor], mask: Tensor | None = None, *, deterministic: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return actions and their log-probabilities [B], as `draw` does.

        Args:
            parameters: [B, ...] of the distribution over actions, by name.
            mask: [B, n] bool, which choices are legal; None: all.
            deterministic: take the mode of the distribution instead of a sample.
        """
        distribution = self._over_actions(parameters, mask)
        action: Any  # a Tensor; torchrl has no types
        if not deterministic:
            action = distribution.sample()
        elif isinstance(distribution, SquashedNormal):
            action = distribution.deterministic_sample
        else:
            action = distribution.mode
        return action, distribution.log_prob(action)

    def forward(self, tensordict: TensorDict) -> TensorDict:
        """Write action, log probability, value and the state after the last step into `tensordict`."""
        hidden, state = self.trunk(tensordict["observation"], tensordict["state"], tensordict["start"])
        distribution = self.distribution(hidden, tensordict.get("action_mask", None))
        action = distribution.sample()
        tensordict["action"], tensordict["action_log_prob"] = action, distribution.log_prob(action)
        tensordict["state_value"] = self.value(hidden)[..., None]
        tensordict["next", "state"] = state
        return tensordict


def _tasks(space: spaces.Space[Any]) -> int:
    """Return how many tasks observations tell apart.

    Raises:
        ValueError: if they do not tell the task.
    """
    task = space["task"] if isinstance(space, spaces.Dict) and "task" in space.spaces else None
    if not isinstance(task, spaces.Discrete):
        raise ValueError(f"heads of tasks need the entry task of observations (boundary=task_id), got {space}")
    return int(task.n)
