"""TensorBoard tags and layout of a run, retention first.

`RunWriter` writes into the run's own folder, so every run is one line with one colour in every chart.

| tag | x axis | meaning |
| --- | --- | --- |
| Retention/by log2 lag in episodes | log2 of the lag | the newest retention curve: 4 stands for lags 16 to 31 |
| Retention/by plain lag in episodes | smallest lag of the bin | the same curve |
| retention/load_and_lag | image | retention over load and lag, of the frozen agent |
| retention_interval/low, /high | log2 of the lag | its 95 % interval |
| retention/lag_0016-0031, retention/area | environment steps | retention over training |
| retention/first_exposure_area, retention/memory_index | environment steps | at the end of the run |
| evaluation/return_drawn, evaluation/return_greedy | environment steps | of the frozen agent, by how it acts |
| charts/episodic_return, charts/SPS, losses/... | environment steps | the names that CleanRL gives them |
| charts/reward_per_step | environment steps | of the last segment; also where no episode ends |
| losses/value_scale, entropy_share, ... | environment steps | see `PPO.learn` and `agents/entropy.py` |
| retention/after_steps_of_noise, of_STREAM | n, not steps of training | `lifelong interference`: what is left after n |
| adaptation/new_by_meetings, old_by_steps, ... | meetings or steps since | `lifelong adaptation`: P(answer) since |
| memory/norm_0/S, effective_rank_..., ... | environment steps | layer 0, tensor S: see `health` |
| plasticity/dormant_share, ... | environment steps | of the slow weights: see `health` |
| tasks transfer adaptation train time / ... | environment steps | see `GROUPS` |

TensorBoard opens on the page "Time Series" and sorts groups of tags by character, capitals first. So the one
capital, in `Retention/`, makes the retention curves of all runs the first thing a person sees. The page "Custom
Scalars" begins with the same curves and their intervals. Lines are smoothed unless told otherwise, and a smoothed
retention curve is wrong: `first_page` is the address without.

A curve by lag stands in a folder of its own, `<run>/by_lag`, whose one event file is replaced whenever the curve is
measured: any reader of event files sees the newest one alone.
"""

import json
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from lifelong.agents.durable import writing
from lifelong.experiments.metrics.curve import RetentionCurve
from lifelong.experiments.metrics.rows import bin_edges

if TYPE_CHECKING:  # both take long to import
    from matplotlib.figure import Figure

__all__ = [
    "BY_LAG",
    "COLOURS",
    "FINAL_METRICS",
    "FIRST_SETTINGS",
    "GROUPS",
    "LAYOUT",
    "STYLES",
    "RunWriter",
    "final_scalars",
    "first_page",
    "learning_scalars",
    "plot_curves",
    "retention_scalars",
]

GROUPS = (
    "retention", "tasks", "transfer", "adaptation", "evaluation", "memory", "plasticity", "charts", "losses", "train",
    "time",
)  # fmt: skip

FINAL_METRICS = (
    "retention/area", "retention/first_exposure_area", "retention/half_life", "retention/memory_index",
    "charts/episodic_return", "evaluation/return_drawn", "evaluation/return_greedy",
    "transfer/final_average", "transfer/forgetting",
)  # fmt: skip
"""Scalars whose last value TensorBoard's page of HParams shows for a run; one that was not measured is absent."""

FIRST_SETTINGS = ("stream", "memory", "memory_options", "carry", "seed")
"""Settings that the page of HParams begins with."""

_LOSSES = {
    "policy_loss": "policy_loss",
    "value_loss": "value_loss",
    "entropy": "entropy",
    "kl": "approx_kl",
    "clip_fraction": "clipfrac",
    "explained_variance": "explained_variance",
    "value_scale": "value_scale",
    "value_scale_raw": "value_scale_raw",
    "entropy_share": "entropy_share",
    "entropy_below_uniform": "entropy_below_uniform",
}
"""What `PPO.learn` reports -> tag under `losses/`, CleanRL's where it has one."""

BY_LAG = "by_lag"
"""Folder of a run that holds the curves by lag."""
_BY_LOG2_LAG = "Retention/by log2 lag in episodes"
_BY_PLAIN_LAG = "Retention/by plain lag in episodes"
_LOW, _HIGH = "retention_interval/low", "retention_interval/high"

LAYOUT: dict[str, dict[str, list[Any]]] = {
    "Retention": {
        "retention by log2 lag in episodes, and 95 % interval": ["Margin", [_BY_LOG2_LAG, _LOW, _HIGH]],
    },
    "Retention over training": {"area under the curve": ["Multiline", ["^retention/area$"]]}
    | {
        f"lags of {low} to {high} episodes": ["Multiline", [f"^retention/lag_({lags})$"]]
        for low, high, lags in (
            (1, 15, "0001|0002-0003|0004-0007|0008-0015"),
            (16, 255, "0016-0031|0032-0063|0064-0127|0128-0255"),
            (256, 4095, "0256-0511|0512-1023|1024-2047|2048-4095"),
        )
    },
    "Training": {
        "return": ["Multiline", ["^charts/episodic_return$"]],
        "speed": ["Multiline", ["^charts/SPS$"]],
    },
    "Learning": {
        "explained variance": ["Multiline", ["^losses/explained_variance$"]],
        "root mean square of the value targets": ["Multiline", ["^losses/value_scale"]],
        "entropy: share of its maximum, or nats below uniform": [
            "Multiline",
            ["^losses/entropy_(share|below_uniform)$"],
        ],
    },
    "Memory": {
        "norm of the state": ["Multiline", ["^memory/norm_"]],
        "effective rank of fast-weight matrices": ["Multiline", ["^memory/effective_rank_"]],
        "stable rank of fast-weight matrices": ["Multiline", ["^memory/stable_rank_"]],
        "write strength": ["Multiline", ["^memory/write_strength_"]],
        "saturation": ["Multiline", ["^memory/saturation_"]],
    },
    "Plasticity": {
        "share of dormant units": ["Multiline", ["^plasticity/dormant_share$"]],
        "rank of the features": ["Multiline", ["^plasticity/feature_rank$"]],
        "norm of the slow weights": ["Multiline", ["^plasticity/weight_norm$"]],
        "distance from the initial weights": ["Multiline", ["^plasticity/distance_from_init$"]],
        "gradient norm": ["Multiline", ["^train/gradient_norm$"]],
        "share of the gradient clipped": ["Multiline", ["^plasticity/gradient_clipped$"]],
        "share of the value in the gradient": ["Multiline", ["^plasticity/value_gradient_share$"]],
    },
}
"""Custom scalars: charts by category and title. Within a category TensorBoard puts charts with intervals last."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # told apart by all eyes
STYLES = ("-", "--", "-.", ":")


def first_page(address: str = "http://localhost:6006") -> str:
    """Return the address at which TensorBoard opens on the retention curves of all runs, unsmoothed.

    Args:
        address: of the server, without a slash at the end.
    """
    return f"{address}/?smoothing=0#timeseries"


def learning_scalars(learned: Mapping[str, float]) -> dict[str, float]:
    """Return what a learner reports by tag: losses under CleanRL's names, all else under `train/`."""
    return {f"losses/{_LOSSES[k]}" if k in _LOSSES else f"train/{k}": value for k, value in learned.items()}


def retention_scalars(curve: RetentionCurve) -> dict[str, float]:
    """Return the bins of a retention curve, its area and half-life by tag, NaN where there is no value."""
    over_training = {f"retention/lag_{_padded(number)}": rho for number, rho in enumerate(curve.rho)}
    half_life = curve.half_life.lag if math.isfinite(curve.half_life.lag) else math.nan
    return over_training | {"retention/area": curve.area, "retention/half_life": half_life}


def final_scalars(curve: RetentionCurve | None, first: RetentionCurve | None, index: float) -> dict[str, float]:
    """Return the final metrics of a run by tag, NaN where there is no value.

    Args:
        curve: retention of the run as a whole; None if it was not measured.
        first: the same at first exposure.
        index: memory index; NaN if there is none.
    """
    values = {"retention/memory_index": index}
    if curve is None or first is None:
        return values
    whole = {tag: value for tag, value in retention_scalars(curve).items() if "/lag_" not in tag}
    return values | whole | {"retention/first_exposure_area": first.area}


class RunWriter:
    """Writes one run's events.

    Args:
        folder: of the run.
        config: what the run is made of, nested as JSON is; written as text, and as HParams of this very run.
        purge_step: environment steps from which on what was written before is hidden. None for a new run.
    """

    def __init__(
        self, folder: Path | str, config: Mapping[str, Any] | None = None, *, purge_step: int | None = None
    ) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._folder, self._reason = Path(folder), ""
        _say_errors_once()
        self._writer: Any = SummaryWriter(str(folder), purge_step=purge_step, flush_secs=10)
        self._writer.add_custom_scalars(LAYOUT)
        if config is not None:
            self._describe(config)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers by tag.

        Args:
            values: by tag, `group/name` with a group of `GROUPS`; NaN, "not known", is left out.
            step: environment steps so far.

        Raises:
            ValueError: if a tag's group is unknown; nothing is written then.
        """
        if unknown := [tag for tag in values if tag.partition("/")[0] not in GROUPS]:
            raise ValueError(f"tags begin with {', '.join(GROUPS)} and a slash: {', '.join(unknown)}")
        for tag, value in values.items():
            if not math.isnan(value):
                self._writer.add_scalar(tag, value, step)

    def retention(self, curve: RetentionCurve, step: int | None) -> None:
        """Write a retention curve by lag, in place of the one before, and its bins over training.

        A curve without a value is not written; a text says why.

        Args:
            curve: just measured.
            step: environment steps so far; None if the slow weights are frozen: the curve by lag alone.
        """
        if not curve.measured:
            if curve.reason and curve.reason != self._reason:
                self._writer.add_text("Retention/why there is no curve", curve.reason, step or 0)
                self._reason = curve.reason
            return
        self._rewrite(curve)
        if step is not None:
            self.scalars(retention_scalars(curve), step)

    def _rewrite(self, curve: RetentionCurve) -> None:
        """Write the curve by lag as the only one of its folder."""
        from torch.utils.tensorboard.writer import SummaryWriter

        folder = self._folder / BY_LAG
        before = list(folder.glob("events.out.tfevents.*"))
        with SummaryWriter(str(folder)) as writer:
            scalar: Any = writer.add_scalar
            for lag, rho, low, high in zip(curve.lag, curve.rho, curve.low, curve.high, strict=True):
                if math.isnan(rho):
                    continue
                octave = lag.bit_length() - 1
                if lag == 2**octave:  # not a chosen lag between two powers
                    scalar(_BY_LOG2_LAG, rho, octave)
                scalar(_BY_PLAIN_LAG, rho, lag)
                if lag == 2**octave:
                    for tag, end in ((_LOW, low), (_HIGH, high)):
                        # a bin without an interval still needs ends, or its point would not be drawn
                        scalar(tag, rho if math.isnan(end) else end, octave)
        for path in before:
            path.unlink()

    def finish(self, values: Mapping[str, float], step: int) -> None:
        """Write the final metrics of a run, see `final_scalars`, and that it is finished."""
        self.scalars(values, step)
        *_, end = _hparams({})
        self._writer.file_writer.add_summary(end)

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        """Write a picture; `figure` is matplotlib's, `step` environment steps so far."""
        self._writer.add_figure(tag, figure, step, close=False)

    def _describe(self, config: Mapping[str, Any]) -> None:
        text = json.dumps(config, indent=2, default=str)
        self._writer.add_text("config", f"```json\n{text}\n```")
        # `add_hparams` would write a second folder, a second run; the metrics are read from the tags of this one.
        for summary in _hparams(config)[:2]:  # `finish` writes the end
            self._writer.file_writer.add_summary(summary)

    def files(self) -> list[Path]:
        """Return the event files of this run, those of its earlier processes among them."""
        found = self._folder.glob("events.out.tfevents.*")
        return sorted(path for path in found if path.is_file())  # a pipe would hang

    def flush(self) -> None:
        """Flush the event file."""
        self._writer.flush()

    def close(self) -> None:
        """Flush and end."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with writing(self._folder):
            if isinstance(error, OSError):  # of the thread that writes, which does not name the file
                raise error
            self.close()


def _say_errors_once() -> None:
    """Leave it to the next call of a writer to raise what TensorBoard's thread could not write; it prints it, too."""
    before = threading.excepthook
    if getattr(before, "quiet", False):
        return

    def hook(failed: threading.ExceptHookArgs) -> None:
        if not (isinstance(failed.exc_value, OSError) and type(failed.thread).__name__ == "_AsyncWriterThread"):
            before(failed)

    hook.quiet = True  # type: ignore[attr-defined]
    threading.excepthook = hook


def plot_curves(curves: Mapping[str, RetentionCurve], path: Path | str | None = None, title: str = "") -> "Figure":
    """Draw the retention curves of several runs, their intervals as bands.

    Args:
        curves: by name, drawn in this order.
        path: PNG file (or what its suffix says) to write; None for none.
        title: above the axes.

    Returns:
        The figure, made without pyplot: nothing is to be closed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 4.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    longest = max((curve.lag[-1].bit_length() for curve in curves.values() if curve.rho), default=1)
    for level, name in ((1.0, "nothing forgotten"), (0.0, "no memory")):
        axes.axhline(level, color="0.6", linewidth=1.0, zorder=0)
        axes.annotate(name, (1.0, level), xycoords=("axes fraction", "data"), xytext=(-4, 3),
                      textcoords="offset points", ha="right", va="bottom", fontsize=8, color="0.45")  # fmt: skip
    for number, (name, curve) in enumerate(curves.items()):
        colour, style = COLOURS[number % len(COLOURS)], STYLES[number // len(COLOURS) % len(STYLES)]
        label = name if math.isnan(curve.area) else f"{name}  (area {round(curve.area, 2) + 0.0:.2f})"
        axes.plot(curve.lag, curve.rho, style, marker="o", markersize=4, linewidth=1.8, color=colour, label=label)
        axes.fill_between(curve.lag, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
    axes.set_xscale("log", base=2)
    every = 1 if longest <= 10 else 2
    axes.set_xticks([2**k for k in range(0, longest, every)], [str(2**k) for k in range(0, longest, every)])
    axes.minorticks_off()
    axes.set_ylim(-0.12, 1.12)
    axes.set_xlabel("lag: episodes since the task was last met")
    axes.set_ylabel("retention")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if title:
        axes.set_title(title)
    if curves:
        figure.legend(loc="outside lower center", ncols=min(len(curves), 3), frameon=False)
    if path is not None:
        with writing(path):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path)
    return figure


def _hparams(config: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Return the summaries of HParams: names of settings and metrics, settings of the run, and its end."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import (
        HParamsPluginData,  # pyright: ignore[reportAttributeAccessIssue]  protobuf makes it at run time
    )
    from torch.utils.tensorboard.summary import hparams

    names, start, end = hparams(_flat(config), dict.fromkeys(FINAL_METRICS, 0.0))
    plugin = names.value[0].metadata.plugin_data
    content = HParamsPluginData.FromString(plugin.content)
    for info in content.experiment.hparam_infos:
        info.differs = info.name in FIRST_SETTINGS  # those that differ come first, and only five are shown at once
    plugin.content = content.SerializeToString()
    return names, start, end


def _padded(number: int) -> str:
    low, high = bin_edges(number)
    return f"{low:04}" if low == high else f"{low:04}-{high:04}"


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, bool | float | str]:
    """Return nested entries as `outer.inner`, whatever is no number as text."""
    flat: dict[str, bool | float | str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat
