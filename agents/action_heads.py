"""Policy heads over action spaces: what is drawn, and what the environment gets of it.

| actions | policy | the environment gets |
| --- | --- | --- |
| Discrete | one categorical distribution | the choice |
| Box of floats, all bounds finite and apart | a normal distribution squashed into the bounds | the draw |
| MultiDiscrete, MultiBinary | a categorical for each number | the choices |
| Box of integers of 256 values or fewer | a categorical for each number | every value, as chosen |
| Box of integers of more values | as a Box of floats over [low - 1/2, high + 1/2] | the draw, rounded |
| an entry of a Box with an infinite bound | a normal distribution about what is nearest to 0 | the draw, clipped to the finite bound |
| an entry of a Box with low = high | none | that value |
| Dict, Tuple | that of each entry | the entries |

The log-probability and the entropy of a joint action are the sums over its numbers. The log-probability is that of the
draw: where a draw is rounded or clipped, the environment does so as far as the policy is concerned. The first two rows
stand for themselves; all other policies are one `JointAction` whose actions are one row of numbers [..., A], choices
first. `previous_action` and the record of an episode hold what the environment got.

An action mask removes choices from the policy: they have probability 0, and count nothing in the entropy.
"""  # noqa: E501  a table

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from tensordict import TensorDict
from tensordict.nn import (
    NormalParamExtractor,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
)
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Normal

from lifelong.action_spaces import Masks, as_actions, choice_sizes, from_zero, no_action, validate_space
from lifelong.agents.squashed_normal import SquashedNormal

__all__ = ["ACTION_STD", "ActionHead", "ActionStd", "Choice", "JointAction", "actor_of", "entropy_of", "masked"]

ActionStd = Literal["state", "free"]
ACTION_STD: tuple[ActionStd, ...] = get_args(ActionStd)

_MOST_VALUES = 256  # of an integer that is a choice; there are no more of an entry of pixels
_MOST_LOGITS = 4096  # of all integers of a Box together

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Numbers:
    """The numbers [N] of a row of actions, and how each is drawn.

    Args:
        choices: [K] places of the numbers that are chosen, those that a mask speaks of first.
        sizes: [K] values of each.
        first: [K] the first of them.
        squashed: [M] places of the numbers that are drawn within bounds.
        free: [L] places of those that are drawn without.
        low: [N] least that the environment gets; of squashed integers, half a unit more is drawn on each side.
        high: [N] greatest.
        integer: [N] whether the environment gets whole numbers.
    """

    choices: Ints
    sizes: Ints
    first: Floats
    squashed: Ints
    free: Ints
    low: Floats
    high: Floats
    integer: NDArray[np.bool_]


class ActionHead:
    """What a policy over an action space draws, and what the environment gets.

    Args:
        space: of one action, supported by `validate_space`.
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        validate_space(space, "policy")
        self.space, self.masks = from_zero(space), Masks(space)
        self.simple = isinstance(space, spaces.Discrete) or _is_squashed(space)
        """Whether actions are drawn as the environment gets them: by one Categorical, or one SquashedNormal."""
        self.numbers = _numbers_of(self.space)

    def executed(self, action: Tensor) -> NDArray[Any]:
        """Return the rows that the environment gets, [B, ...]; see `lifelong.action_spaces`.

        Args:
            action: [B] or [B, A], drawn.
        """
        drawn = action.numpy(force=True)
        if self.simple:
            return drawn.reshape(len(drawn), *(self.space.shape or ()))
        numbers, K, M = self.numbers, self.numbers.choices.size, self.numbers.squashed.size
        row = no_action(self.space)
        rows = np.empty((len(drawn), numbers.low.size))
        rows[:, numbers.choices] = drawn[:, :K] + numbers.first
        rows[:, numbers.squashed], rows[:, numbers.free] = drawn[:, K : K + M], drawn[:, K + M :]
        rows[:, numbers.integer] = np.rint(rows[:, numbers.integer])
        np.clip(rows, numbers.low, numbers.high, out=rows)
        return rows.reshape(len(drawn), *row.shape).astype(row.dtype)

    def taken(self, action: Tensor) -> Any:
        """Return drawn actions as an environment takes them in which choices count from 0, nested as the space is.

        Args:
            action: [B] or [B, A], drawn.
        """
        rows = self.executed(action)
        return rows if self.simple else as_actions(self.space, rows)


class Choice(Categorical):
    """Categorical distribution in which the logit -inf removes a choice, from the entropy and its gradient too."""

    def entropy(self) -> Tensor:
        """Return the entropy, [...]; 0 log 0 = 0."""
        logits: Tensor = self.logits
        return -(logits.masked_fill(logits.isneginf(), 0.0) * self.probs).sum(-1)


class JointAction(Distribution):
    """Distribution over rows of independent numbers [..., A]: choices, then squashed numbers, then free ones.

    Args:
        parameters: [..., logits of all choices, loc of all numbers, scale of all numbers].
        layout: how many there are of each.
    """

    has_rsample = False

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """None: what is wrong shows in the parts."""
        return {}

    def __init__(self, parameters: Tensor, layout: "_Layout") -> None:
        logits, loc, scale = parameters.split([layout.logits, layout.numbers, layout.numbers], -1)
        self.layout, self.choices, self.squashed, self.free = layout, None, None, None
        if layout.K:
            self.choices = Choice(logits=layout.padded(logits), validate_args=False)
        if layout.M:
            self.squashed = SquashedNormal(
                loc[..., : layout.M], scale[..., : layout.M], low=layout.low, high=layout.high
            )
        if layout.numbers > layout.M:
            centre = loc[..., layout.M :] + layout.centre
            self.free = Normal(centre, scale[..., layout.M :], validate_args=False)
        super().__init__(parameters.shape[:-1], torch.Size([layout.K + layout.numbers]), validate_args=False)

    def _joined(self, choices: Tensor | None, *numbers: Tensor | None) -> Tensor:
        """Return a row: of integers where there are choices only."""
        rows = [part for part in numbers if part is not None]
        if choices is not None:
            rows = [choices.to(rows[0].dtype) if rows else choices, *rows]
        return torch.cat(rows, -1) if len(rows) > 1 else rows[0]

    def _split(self, row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        K, M = self.layout.K, self.layout.M
        return row[..., :K].long(), row[..., K : K + M], row[..., K + M :]

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return drawn rows [*sample_shape, ..., A]."""
        parts = (self.choices, self.squashed, self.free)
        return self._joined(*(None if part is None else part.sample(torch.Size(sample_shape)) for part in parts))

    @property
    def mode(self) -> Tensor:
        """Most probable choices, and the numbers that the means stand for."""
        return self._joined(
            None if self.choices is None else self.choices.mode,
            None if self.squashed is None else self.squashed.deterministic_sample,
            None if self.free is None else self.free.mean,
        )

    @property
    def only_choices(self) -> Categorical | None:
        """Distribution of the choices [..., K]; None where there are numbers too."""
        return None if self.layout.numbers else self.choices

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the sum of the log-probabilities of all numbers, [...]."""
        choices, squashed, free = self._split(value)
        terms: list[Tensor] = []
        if self.choices is not None:
            terms.append(self.choices.log_prob(choices).sum(-1))  # type: ignore[no-untyped-call]
        if self.squashed is not None:
            terms.append(self.squashed.log_prob(squashed))
        if self.free is not None:
            terms.append(self.free.log_prob(free).sum(-1))
        return torch.stack(terms).sum(0)

    def entropy(self) -> Tensor:
        """Return the sum of the entropies of all numbers, [...]; of squashed ones it is that of one draw, -log p."""
        terms: list[Tensor] = []
        if self.choices is not None:
            terms.append(self.choices.entropy().sum(-1))
        if self.squashed is not None:
            terms.append(entropy_of(self.squashed))
        if self.free is not None:
            terms.append(self.free.entropy().sum(-1))
        return torch.stack(terms).sum(0)


def entropy_of(distribution: Distribution) -> Tensor:
    """Return the entropies [...]; that of one draw, -log p, where there is no formula."""
    try:
        entropy: Tensor = distribution.entropy()  # type: ignore[no-untyped-call, unused-ignore]
    except NotImplementedError:
        scored = getattr(distribution, "rsample_and_log_prob", None)  # exact where a draw is at the edge of its range
        log_prob = scored()[1] if scored else distribution.log_prob(distribution.rsample())  # type: ignore[no-untyped-call, unused-ignore]
        entropy = -log_prob
    return entropy


class _Layout(nn.Module):
    """Turn the linear layer's outputs into the parameters of a `JointAction`.

    Args:
        numbers: of the rows.
        action_std: what the standard deviations depend on.
        initial_std: what they are at first.
    """

    def __init__(self, numbers: _Numbers, action_std: ActionStd, initial_std: float) -> None:
        super().__init__()
        self.K, self.M = numbers.choices.size, numbers.squashed.size
        self.logits, self.numbers = int(numbers.sizes.sum()), self.M + numbers.free.size
        half = np.where(numbers.integer, 0.5, 0.0)
        nearest = np.clip(0.0, numbers.low, numbers.high)
        self.low: Tensor
        self.high: Tensor
        self.centre: Tensor
        self.places: Tensor
        for name, values in (
            ("low", (numbers.low - half)[numbers.squashed]),
            ("high", (numbers.high + half)[numbers.squashed]),
            ("centre", nearest[numbers.free]),
        ):
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32), persistent=False)
        most = int(numbers.sizes.max(initial=0))
        self.even = bool((numbers.sizes == most).all())
        begin = np.cumsum(numbers.sizes) - numbers.sizes
        inside = np.arange(most) < numbers.sizes[:, None]
        places = np.where(inside, begin[:, None] + np.arange(most), self.logits)
        self.register_buffer("places", torch.as_tensor(places), persistent=False)
        free, log_std = action_std == "free" and self.numbers, torch.full((self.numbers,), math.log(initial_std))
        self.log_std = nn.Parameter(log_std) if free else None
        self.extract = _extractor(initial_std)

    @property
    def outputs(self) -> int:
        """How many outputs the linear layer has."""
        return self.logits + (self.numbers if self.log_std is not None else 2 * self.numbers)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., logits, loc, scale]."""
        if not self.numbers:
            return x
        logits, rest = x[..., : self.logits], x[..., self.logits :]
        loc, scale = self.extract(rest) if self.log_std is None else (rest, self.log_std.exp().expand_as(rest))
        return torch.cat([logits, loc, scale], -1)

    def padded(self, logits: Tensor) -> Tensor:
        """Return logits [..., K, most], -inf where a number has fewer values than the most."""
        if self.even:
            return logits.reshape(*logits.shape[:-1], *self.places.shape)
        return nn.functional.pad(logits, (0, 1), value=-torch.inf)[..., self.places]


class _FreeStd(nn.Module):
    """Standard deviations that depend on nothing: one learned logarithm for each number of an action."""

    def __init__(self, numbers: int, initial_std: float) -> None:
        super().__init__()
        self.log_std = nn.Parameter(torch.full((numbers,), math.log(initial_std)))

    def forward(self, loc: Tensor) -> tuple[Tensor, Tensor]:
        return loc, self.log_std.exp().expand_as(loc)


def _extractor(initial_std: float) -> NormalParamExtractor:
    """Return what splits outputs [..., 2 A] into means and standard deviations; outputs of 0 are `initial_std`."""
    return NormalParamExtractor(scale_mapping=f"biased_softplus_{initial_std}")


class _Masked(TensorDictModule):  # type: ignore[misc]  # it has no types
    """Parameters of the distribution from `hidden`; an entry `action_mask`, where there is one, is applied."""

    def forward(self, tensordict: TensorDict, *others: Any, **options: Any) -> TensorDict:
        """Write the parameters into `tensordict`."""
        result: TensorDict = super().forward(tensordict, *others, **options)
        mask = tensordict.get("action_mask", None)
        if mask is not None:
            key = self.out_keys[0]
            result[key] = masked(result[key], mask)
        return result


def masked(logits: Tensor, mask: Tensor) -> Tensor:
    """Return parameters in which illegal choices have the logit -inf: probability 0, and no gradient.

    Args:
        logits: [..., P], those that the mask speaks of first.
        mask: [..., n] bool, n <= P.
    """
    n = mask.shape[-1]
    legal = logits[..., :n].masked_fill(~mask, -torch.inf)
    return legal if n == logits.shape[-1] else torch.cat([legal, logits[..., n:]], -1)


def actor_of(
    width: int, head: ActionHead, action_std: ActionStd, initial_std: float = 1.0
) -> ProbabilisticTensorDictSequential:
    """Return the policy's modules: from `hidden` [..., D] to the distribution over actions.

    Args:
        width: D.
        head: of the action space.
        action_std: what the standard deviation of numbers depends on: the `state`, or nothing (`free`: one learned
            number for each).
        initial_std: what it is at first.
    """
    space, options = head.space, dict[str, Any]()
    tail: nn.Module
    distribution: type[Distribution]
    if isinstance(space, spaces.Discrete):
        outputs, keys, tail = int(space.n), ["logits"], nn.Identity()
        distribution, options = Choice, {"validate_args": False}
    elif head.simple:
        assert isinstance(space, spaces.Box)  # noqa: S101  of finite bounds
        numbers, keys = int(torch.tensor(space.shape).prod()), ["loc", "scale"]
        free = action_std == "free"
        outputs, tail = (numbers, _FreeStd(numbers, initial_std)) if free else (2 * numbers, _extractor(initial_std))
        low, high = (torch.as_tensor(edge, dtype=torch.float32).reshape(-1) for edge in (space.low, space.high))
        distribution, options = SquashedNormal, {"low": low, "high": high}
    else:
        tail = layout = _Layout(head.numbers, action_std, initial_std)
        outputs, keys = layout.outputs, ["parameters"]
        distribution, options = JointAction, {"layout": layout}
    linear = nn.Linear(width, outputs)
    nn.init.orthogonal_(linear.weight, 0.01)
    nn.init.zeros_(linear.bias)
    return ProbabilisticTensorDictSequential(
        _Masked(nn.Sequential(linear, tail), in_keys=["hidden"], out_keys=keys),
        ProbabilisticTensorDictModule(
            in_keys=keys,
            out_keys=["action"],
            distribution_class=distribution,
            distribution_kwargs=options,
            return_log_prob=True,
            log_prob_key="action_log_prob",
        ),
    )


def _is_squashed(space: spaces.Space[Any]) -> bool:
    """Return whether a space is a Box of floats whose bounds are all finite and apart."""
    if not isinstance(space, spaces.Box) or space.dtype.kind != "f" or not space.is_bounded("both"):
        return False
    low, high = space.low.astype(np.float32), space.high.astype(np.float32)
    with np.errstate(over="ignore"):
        return bool((np.isfinite(high - low) & (high > low)).all())


def _numbers_of(space: spaces.Space[Any]) -> _Numbers:
    """Return how each number of a space is drawn; choices count from 0."""
    leaves: list[Any] = list(_leaves(space))
    low, high, integer, kinds = (np.concatenate(part) for part in zip(*(_drawn(leaf) for leaf in leaves), strict=True))
    masked_ones, values = np.flatnonzero(kinds == _CHOICE), np.flatnonzero(kinds == _VALUE)
    choices = np.concatenate([masked_ones, values])
    sizes = np.where(integer, high - low + 1, 1)[choices]  # a float that is chosen is fixed
    return _Numbers(
        choices=choices,
        sizes=sizes.astype(np.int64),
        first=low[choices],
        squashed=np.flatnonzero(kinds == _SQUASHED),
        free=np.flatnonzero(kinds == _FREE),
        low=low,
        high=high,
        integer=integer,
    )


_CHOICE, _VALUE, _SQUASHED, _FREE = range(4)  # of a MultiDiscrete; of a Box, as a choice; within bounds; without


def _drawn(leaf: Any) -> tuple[Floats, Floats, NDArray[np.bool_], Ints]:
    """Return least and greatest value, whether it is whole, and kind of the draw, of each number of a leaf."""
    if not isinstance(leaf, spaces.Box):
        sizes = choice_sizes(leaf).astype(np.float64)
        return np.zeros(sizes.size), sizes - 1, np.ones(sizes.size, np.bool_), np.full(sizes.size, _CHOICE)
    low, high = leaf.low.reshape(-1).astype(np.float64), leaf.high.reshape(-1).astype(np.float64)
    bounded = leaf.bounded_below.reshape(-1) & leaf.bounded_above.reshape(-1)
    whole = leaf.dtype.kind != "f"
    with np.errstate(over="ignore"):
        apart = (high - low).astype(np.float32)
        near = high.astype(np.float32) == low.astype(np.float32)
    if whole:
        values = np.where(bounded & (high - low < _MOST_VALUES), high - low + 1, 0)
        chosen = (values > 0) & (values[values > 0].sum() <= _MOST_LOGITS)
        high = np.where(high >= 2.0**63, np.nextafter(high, 0), high)  # the greatest integer is no float
    else:
        chosen = bounded & near
    chosen |= bounded & (high == low)
    kinds = np.where(chosen, _VALUE, np.where(bounded & np.isfinite(apart), _SQUASHED, _FREE))
    return low, high, np.full(low.size, whole), kinds


def _leaves(space: spaces.Space[Any]) -> list[spaces.Space[Any]]:
    if isinstance(space, spaces.Dict):
        return [leaf for inner in space.spaces.values() for leaf in _leaves(inner)]
    if isinstance(space, spaces.Tuple):
        return [leaf for inner in space.spaces for leaf in _leaves(inner)]
    return [space]
