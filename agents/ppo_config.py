"""Hyperparameters of PPO, as data: a command line reads them without torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from lifelong.schema import Within, check

__all__ = ["Count", "PPOConfig", "Positive", "Share"]

Count = Annotated[int, Within(1, 2**62)]
Positive = Annotated[float, Within(above=0)]
NotNegative = Annotated[float, Within(0)]
Share = Annotated[float, Within(0.0, 1.0)]


@dataclass(frozen=True, slots=True)
class PPOConfig:
    """PPO's hyperparameters.

    Args:
        lr: learning rate of Adam; a run lowers it linearly, and the entropy bonus with it.
        epochs: passes over every segment.
        minibatches: parts into which the lives of a segment are split.
        clip_epsilon: clipping range of the probability ratio.
        gamma: discount of the next step of the same episode.
        life_gamma: discount of the next episode of the same life; through it an episode counts for later ones.
        gae_lambda: lambda of generalised advantage estimation.
        entropy_coef: weight of the entropy bonus.
        value_coef: weight of the value loss.
        advantage_floor: least standard deviation that advantages are divided by. Where rewards are rare most segments
            hold none, and their own spread would blow the value's errors up to the size of a success.
        normalize_reward: whether rewards are divided by the running spread of returns (`ReturnScale`): without it
            values of 100 make gradients of which clipping leaves the policy nothing.
        max_grad_norm: gradient norm that is clipped to.
        target_kl: divergence from the policy that collected the segment, estimated on each minibatch before its step,
            above which nothing more is learned from the segment; 0 is no bound. Where a task is solved, advantages are
            the value's errors and nothing else, and normalising makes them as large as any.
        tbptt: steps over which gradients flow back through a carried memory; 0 is the whole segment.
        l2_init: weight λ of L2 Init, λ times the squared distance of the weights from those they began with; it keeps
            them able to learn; 0 is none.
        shrink_perturb: share s of fresh weights that is mixed into the weights after every update, which are shrunk by
            as much; 0 is none.
        redo_every: recycle dormant hidden units (ReDo) after every so many updates: fresh weights come in, nothing goes
            out; 0 is never.
        redo_tau: activity, as a share of the mean of its layer, up to which a unit is dormant for that. The default is
            the paper's, of ReLU units; gated ones do not fall silent, and need about .2.
        continual_backprop: share ρ of the mature hidden units that is recycled after every update, those of least use
            (continual backprop); 0 is none.
        maturity: updates that a unit is left in peace after it was made or recycled, for that.
        ewc: weight λ of online EWC's penalty, λ / 2 times the squared distance of the weights from those at the last
            change of task, each by its importance for the tasks until then; it must be told when the task changes
            (`boundary` flag or task_id, all lives at once); 0 is none.
        ewc_decay: share γ of the importance for earlier tasks that is kept at a change of task.
        reset_at_boundary: whether a change of task, of which it must be told as for `ewc`, sets weights and optimiser
            back to where they began: the control that carries nothing over. Normalisers and the memory's state stay.
        clear: segments of a life that are kept, a uniform sample of all so far, from which as much is learned as from
            new ones (CLEAR); 0 is none.
        cloning: weight with which the policy is held to the actions that were taken in kept segments; with half of it
            values are held to those of then.
        packnet: passes over the last steps of a task that was learned for the first time, by which the share of the
            weights that it keeps is trained once more (PackNet); it must be told which task it is (`boundary` task_id),
            has heads of tasks, and a memory without state; 0 is none.
        optimizer: of the slow weights: `adam`, or `muon` for the matrices of hidden layers and Adam for all else.
        vtrace: whether advantages are found anew in every minibatch, with the values and ratios of then (V-trace), in
            place of once for the segment.
        precision: of the factors of matrix products while learning. With `bf16` they have 8 bits, sums and weights keep
            float32; that is faster from a width of about 256 on. Acting is in float32.
    """

    lr: Positive = 3e-3
    epochs: Count = 2
    minibatches: Count = 4
    clip_epsilon: Positive = 0.2
    gamma: Share = 0.99
    life_gamma: Share = 0.0
    gae_lambda: Share = 0.95
    entropy_coef: NotNegative = 0.01
    value_coef: NotNegative = 0.5
    advantage_floor: Positive = 1e-6
    normalize_reward: Literal["on", "off"] = "on"
    max_grad_norm: Positive = 0.5
    tbptt: Annotated[int, Within(0)] = 0
    target_kl: NotNegative = 0.0
    l2_init: NotNegative = 0.0
    shrink_perturb: Share = 0.0
    redo_every: Annotated[int, Within(0)] = 0
    redo_tau: Share = 0.025
    continual_backprop: Share = 0.0
    maturity: Annotated[int, Within(0)] = 50
    ewc: NotNegative = 0.0
    ewc_decay: Share = 1.0
    reset_at_boundary: Literal["on", "off"] = "off"
    clear: Annotated[int, Within(0, 2**31)] = 0
    cloning: NotNegative = 0.01
    packnet: Annotated[int, Within(0)] = 0
    optimizer: Literal["adam", "muon"] = "adam"
    vtrace: Literal["on", "off"] = "off"
    precision: Literal["float32", "bf16"] = "float32"

    def __post_init__(self) -> None:
        """Validate types and ranges.

        Raises:
            ValueError: if one is wrong, or two exclude each other.
        """
        check(self)
        if self.redo_every and self.continual_backprop:
            raise ValueError(
                "redo_every and continual_backprop recycle units each in its way, one at a time: "
                f"redo_every={self.redo_every}, continual_backprop={self.continual_backprop:g}"
            )
        for name in ("ewc", "clear"):
            if getattr(self, name) and self.reset_at_boundary == "on":
                raise ValueError(
                    f"reset_at_boundary carries nothing over from task to task, {name} does: "
                    f"{name}={getattr(self, name)}, reset_at_boundary=on"
                )

        changing = ("shrink_perturb", "redo_every", "continual_backprop")
        anew = ["reset_at_boundary=on"] if self.reset_at_boundary == "on" else []
        anew += ["optimizer=muon"] if self.optimizer == "muon" else []  # a step of a matrix changes all of it
        if self.packnet and (other := [f"{n}={getattr(self, n)}" for n in changing if getattr(self, n)] + anew):
            raise ValueError(
                f"packnet fixes the weights of a task, {other[0].partition('=')[0]} changes weights of all tasks: "
                f"packnet={self.packnet}, {other[0]}"
            )

    @property
    def needs_task_changes(self) -> str:
        """Setting that must be told when the task changes, as name=value; empty if there is none."""
        if self.ewc:
            return f"ewc={self.ewc:g}"
        if self.packnet:
            return f"packnet={self.packnet}"
        return "reset_at_boundary=on" if self.reset_at_boundary == "on" else ""
