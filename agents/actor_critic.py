"""Actor-critic of encoder, backbone, policy head and value head, as modules on TensorDicts.

`trunk` reads `observation`, `state` and `start` and writes `hidden` and the state after it; `actor` and `critic` read
`hidden` only, so that a loss may call both without running the memory again.
The whole is pure: it returns the new state of the memory and keeps none.
"""

from typing import Any, Literal, get_args

import torch
from gymnasium import spaces
from tensordict import TensorDict
from tensordict.nn import (
    NormalParamExtractor,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
    TensorDictModuleBase,
)
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution
from torchrl.modules import TanhNormal

from lifelong.agents.backbone import Backbone
from lifelong.agents.encoder import Encoder
from lifelong.agents.history import has_history

__all__ = ["ACTION_STD", "ActionStd", "ActorCritic"]

ActionStd = Literal["state", "free"]
ACTION_STD: tuple[ActionStd, ...] = get_args(ActionStd)


class ActorCritic(TensorDictModuleBase):
    """Recurrent policy and value function of an observation and the memory's state.

    In: `observation`, `state`, `start`. Out: `action`, `action_log_prob`, `state_value`, `("next", "state")`.
    A batch of size [B] is one step; [B, T] is T steps, with `state` that of the first.

    Args:
        encoder: of the observation.
        backbone: of the same width.
        action_space: Discrete, or a Box with finite bounds.
        action_std: what the standard deviation of actions in a Box (before tanh) depends on: the `state`, or nothing
            (`free`: one learned number for each).

    Raises:
        ValueError: if there is no distribution over this action space, the widths differ, or `action_std` is unknown.
    """

    in_keys = ("observation", "state", "start")
    out_keys = ("action", "action_log_prob", "state_value", ("next", "state"))

    def __init__(
        self,
        encoder: Encoder,
        backbone: Backbone,
        action_space: spaces.Space[Any],
        action_std: ActionStd = "state",
    ) -> None:
        super().__init__()
        if action_std not in ACTION_STD:
            raise ValueError(f"action_std must be one of {', '.join(ACTION_STD)}, got {action_std!r}")
        if encoder.width != backbone.width:
            raise ValueError(f"encoder must have the width {backbone.width} of the backbone, got {encoder.width}")
        if backbone.working and not has_history(encoder.space):
            raise ValueError(f"a working memory needs the entry episode_start of observations, got {encoder.space}")
        self.encoder, self.backbone = encoder, backbone
        self.actor = _actor(backbone.width, action_space, action_std)
        value = nn.Linear(backbone.width, 1)
        nn.init.orthogonal_(value.weight, 0.1)
        nn.init.zeros_(value.bias)
        self.critic = TensorDictModule(value, in_keys=["hidden"], out_keys=["state_value"])

    def trunk(
        self, observation: TensorDict, state: TensorDict | None = None, start: Tensor | None = None
    ) -> tuple[Tensor, TensorDict]:
        """Return the hidden vector that both heads read, and the next state.

        Args:
            observation: [B] one step, or [B, T].
            state: [B] before the first step; None begins new lives, as in `torch.nn.GRU`.
            start: [B] or [B, T] bool, true where a step is the first of a life; None: nowhere but where `state` says.

        Returns:
            hidden: [B, D] or [B, T, D].
            state: [B] after the last step.
        """
        run = self.backbone.step if observation.ndim == 1 else self.backbone
        if not self.backbone.working:
            return run(self.encoder(observation), state, start)
        return run(self.encoder(observation), state, start, observation["episode_start"][..., 0] > 0)

    def distribution(self, hidden: Tensor) -> Distribution:
        """Return the distribution over actions, batch [...], from `hidden` [..., D]."""
        return self._over_actions(self._arguments(hidden))

    def _arguments(self, hidden: Tensor) -> dict[str, Tensor]:
        outputs = self.actor[0].module(hidden)  # what `actor.get_dist` does, without a TensorDict
        parameters = outputs if isinstance(outputs, tuple) else (outputs,)
        return dict(zip(self.actor[1].dist_params_keys, parameters, strict=True))

    def _over_actions(self, parameters: dict[str, Tensor]) -> Distribution:
        head = self.actor[1]
        distribution: Distribution = head.distribution_class(**parameters, **head.distribution_kwargs)
        return distribution

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
        deterministic: bool = False,
    ) -> tuple[TensorDict, TensorDict]:
        """Sample one action per life.

        Args:
            observation: [B].
            state: [B] before the step; left as it is. None begins new lives.
            start: [B] bool, true where the step is the first of a life; None: nowhere but where `state` says.
            deterministic: take the mode of the distribution instead of a sample.

        Returns:
            A TensorDict [B] of `action`, `action_log_prob` and `state_value` [B, 1], and the state after the step.
        """
        parameters, value, state = self.outputs(observation, state, start)
        return self.draw(parameters, value, deterministic=deterministic), state

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

    def draw(self, parameters: dict[str, Tensor], value: Tensor, *, deterministic: bool = False) -> TensorDict:
        """Return an action from the distribution, its log-probability and the value, as `act` does.

        Args:
            parameters: [B, ...] of the distribution over actions, by name.
            value: [B].
            deterministic: take the mode of the distribution instead of a sample.
        """
        distribution = self._over_actions(parameters)
        action: Any  # a Tensor; torchrl has no types
        if not deterministic:
            action = distribution.sample()
        elif isinstance(distribution, TanhNormal):
            action = distribution.deterministic_sample
        else:
            action = distribution.mode
        policy_out = {
            "action": action,
            "action_log_prob": distribution.log_prob(action),
            "state_value": value[..., None],
        }
        return TensorDict(policy_out, value.shape)

    def forward(self, tensordict: TensorDict) -> TensorDict:
        """Write action, log probability, value and the state after the last step into `tensordict`."""
        hidden, state = self.trunk(tensordict["observation"], tensordict["state"], tensordict["start"])
        distribution = self.distribution(hidden)
        action = distribution.sample()
        tensordict["action"], tensordict["action_log_prob"] = action, distribution.log_prob(action)
        tensordict["state_value"] = self.value(hidden)[..., None]
        tensordict["next", "state"] = state
        return tensordict


class _FreeStd(nn.Module):
    """Standard deviations that depend on nothing: one learned logarithm for each number of an action."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.log_std = nn.Parameter(torch.zeros(numbers))

    def forward(self, loc: Tensor) -> tuple[Tensor, Tensor]:
        return loc, self.log_std.exp().expand_as(loc)


def _actor(width: int, space: spaces.Space[Any], action_std: ActionStd) -> ProbabilisticTensorDictSequential:
    options: dict[str, Any]
    tail: nn.Module
    if isinstance(space, spaces.Discrete):
        outputs, keys, tail = int(space.n), ["logits"], nn.Identity()
        distribution, options = Categorical, {"validate_args": False}
    elif isinstance(space, spaces.Box) and space.is_bounded("both"):
        numbers, keys = int(torch.tensor(space.shape).prod()), ["loc", "scale"]
        free = action_std == "free"
        outputs, tail = (numbers, _FreeStd(numbers)) if free else (2 * numbers, NormalParamExtractor())
        low, high = (torch.as_tensor(edge, dtype=torch.float32).reshape(-1) for edge in (space.low, space.high))
        distribution, options = TanhNormal, {"low": low, "high": high}
    else:
        raise ValueError(f"no distribution over actions {space}: supported are Discrete and Box with finite bounds")
    linear = nn.Linear(width, outputs)
    nn.init.orthogonal_(linear.weight, 0.01)
    nn.init.zeros_(linear.bias)
    return ProbabilisticTensorDictSequential(
        TensorDictModule(nn.Sequential(linear, tail), in_keys=["hidden"], out_keys=keys),
        ProbabilisticTensorDictModule(
            in_keys=keys,
            out_keys=["action"],
            distribution_class=distribution,
            distribution_kwargs=options,
            return_log_prob=True,
            log_prob_key="action_log_prob",
        ),
    )
