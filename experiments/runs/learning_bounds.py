"""Bounds of learning: why the returns of a training may have stayed low, with a remedy for each.

| out of bounds | said with the remedy |
| --- | --- |
| every reward equal, and every return | a larger entropy bonus, more steps, or another reward |
| value's share of the gradient > .9, share clipped > .9 | rewards divided by the spread of returns, a smaller weight |
| entropy < .05 of its maximum halfway, no return above the first | a larger entropy bonus, or fewer epochs |
| explained variance < -.1, the return not above the first | a larger weight of the value, or more epochs |

Where nothing differed the others follow from it and are not said. Shares of the gradient are averaged over all reports,
since each is of one minibatch; explained variance over those of the second half, since values must be learned first. A
run that goes on from a checkpoint knows neither its first returns nor its first rewards, and says nothing of them.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from lifelong.agents import Segment

__all__ = ["LearningBounds"]

_VALUE_SHARE = 0.9  # 9 to 1: of a step clipped to a norm of .5 the policy has about .05
_CLIPPED = 0.9  # a tenth is left; a gradient clipped by less still grows with the policy's part
_ENTROPY_SHARE = 0.05  # of two actions, one is drawn in 99 of 100 steps
_EXPLAINED = -0.1  # of returns that nobody can predict it lies a little below 0, and that is no fault
_EPISODES = 20  # fewer returns are equal by chance
_REPORTS = 3  # that a mean of explained variances needs: the targets of one segment may be almost equal

_TAGS = (
    "charts/episodic_return",
    "losses/entropy_share",
    "losses/explained_variance",
    "plasticity/gradient_clipped",
    "plasticity/value_gradient_share",
)


class LearningBounds:
    """Keeps what one training reports of its learning, and says at the end what is out of bounds.

    Args:
        steps: environment steps of the training.
        normalized: whether rewards are divided by the spread of returns.
        resumed: whether the training goes on from a checkpoint.
    """

    def __init__(self, steps: int, *, normalized: bool, resumed: bool = False) -> None:
        self.steps, self.normalized, self.resumed = steps, normalized, resumed
        self._reports: list[tuple[int, dict[str, float]]] = []
        self._rewards, self._returns = (math.inf, -math.inf), (math.inf, -math.inf)  # least and greatest
        self._episodes = 0
        self._first: list[float] = []  # the returns that ended first

    def observe(self, segment: Segment) -> None:
        """Take a segment's rewards and returns into account; called with every segment of the training."""
        least, greatest = segment.steps["next", "reward"].aminmax()
        self._rewards = min(self._rewards[0], least.item()), max(self._rewards[1], greatest.item())
        if not segment.episodes:
            return
        returns = np.asarray(segment.episodes["return"])
        if self._episodes < _EPISODES:
            self._first += returns.tolist()
        self._episodes += len(returns)
        self._returns = min(self._returns[0], returns.min().item()), max(self._returns[1], returns.max().item())

    def report(self, scalars: Mapping[str, float], step: int) -> None:
        """Take a report into account.

        Args:
            scalars: by TensorBoard tag.
            step: environment steps so far.
        """
        self._reports.append((step, {tag: scalars[tag] for tag in _TAGS if tag in scalars}))

    def out_of_bounds(self) -> list[str]:
        """Return what is out of bounds, in words and with the remedy."""
        if alike := self._no_scale():
            return [alike]
        return [said for said in (self._clipped_policy(), self._collapse(), self._blind_value()) if said]

    def _no_scale(self) -> str:
        (least, greatest), (low, high) = self._rewards, self._returns
        if self.resumed or self._episodes < _EPISODES or least != greatest or low != high:
            return ""
        return (
            f"every reward was {least:.3g} and every one of {self._episodes:,} returns {low:.3g}, so there was nothing "
            "to learn from: a larger --entropy-coef or more --steps may find another reward, if the task has one"
        )

    def _clipped_policy(self) -> str:
        share = _mean([x for _, x in self._found("plasticity/value_gradient_share")])
        clipped = _mean([x for _, x in self._found("plasticity/gradient_clipped")])
        if not (share > _VALUE_SHARE and clipped > _CLIPPED):
            return ""
        remedy = "a smaller --value-coef" if self.normalized else "--normalize-reward on"
        return (
            f"{100 * share:.1f} % of the gradient in the weights that policy and value share is the value's, and "
            f"clipping takes away {100 * clipped:.1f} %, so the policy hardly learns: {remedy}"
        )

    def _collapse(self) -> str:
        shares = [x for step, x in self._found("losses/entropy_share") if step <= self.steps / 2]
        returns = [x for _, x in self._found("charts/episodic_return")]
        if self.resumed or self._episodes < _EPISODES or not (shares and returns) or shares[-1] >= _ENTROPY_SHARE:
            return ""
        if max(returns) > (first := _mean(self._first)):
            return ""
        return (
            f"the policy's entropy was {100 * shares[-1]:.1f} % of its maximum halfway through the run, and the return "
            f"never rose above that of its first episodes, {first:.3g}: a larger --entropy-coef or fewer --epochs"
        )

    def _blind_value(self) -> str:
        found, returns = (
            [x for step, x in self._found(tag) if step > self.steps / 2]
            for tag in ("losses/explained_variance", "charts/episodic_return")
        )
        if self.resumed or _mean(returns) > _mean(self._first):
            return ""  # returns that are all the same, since the task is solved, leave nothing to explain
        if len(found) < _REPORTS or not (explained := _mean(found)) < _EXPLAINED:
            return ""
        remedy = "a larger --value-coef or more --epochs"
        return (
            f"the value's error varies more than the returns do, their explained variance is {explained:.2f}: "
            f"{remedy if self.normalized else f'--normalize-reward on, {remedy}'}"
        )

    def _found(self, tag: str) -> Iterator[tuple[int, float]]:
        """Yield step and value of the reports that have this tag and a value."""
        for step, scalars in self._reports:
            if math.isfinite(x := scalars.get(tag, math.nan)):
                yield step, x


def _mean(numbers: list[float]) -> float:
    """Return the mean; NaN of none."""
    return sum(numbers) / len(numbers) if numbers else math.nan
