"""The report of a study: a page that is a function of the compact rows beside it, and its check.

    README.md        question, predictions beside outcomes, tables, figures, where it comes from
    NAME.toml        the study file;  registered.json  its registration, if there was one
    rows.parquet     measurements of all trials
    trials.json      sizes of the arms, what tuning chose, and facts of every trial

`check_report` makes the page anew from the other files and compares every number.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lifelong.experiments.metrics.paired import LEVEL
from lifelong.experiments.reports.document import Table
from lifelong.experiments.reports.figures import save_figure
from lifelong.experiments.reports.markdown import markdown_table
from lifelong.experiments.reports.page_check import check_page
from lifelong.experiments.reports.seeds import over_seeds
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.tensorboard import COLOURS, STYLES
from lifelong.experiments.studies.formula import CURVES, NUMBERS, TRAINING
from lifelong.experiments.studies.judgement import FEW, Judgement, judge
from lifelong.experiments.studies.measurements import COLUMNS, Measurements, measured
from lifelong.experiments.studies.registration import REGISTERED, read_registration, standing
from lifelong.experiments.studies.search import Range
from lifelong.experiments.studies.store import read_rows, write_rows
from lifelong.experiments.studies.study import Study
from lifelong.experiments.studies.study_file import StudyFile, Test, read_study_file
from lifelong.experiments.studies.trials_file import ArmSizes, TrialFacts, read_trials

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_report", "judgements_table", "write_report"]

PAGE, ROWS, TRIALS = "README.md", "rows.parquet", "trials.json"
_INSIDE = 6  # arms whose names find room inside a figure
_SHOWN = {
    "retention": "rho1",
    "adaptation": "new",
    "interference": "left",
    TRAINING: "visit",
}  # curve of a figure, by kind of test
_ALONG = {
    "retention": "lag (episodes)",
    "adaptation": "meetings since the change",
    "interference": "steps of something else",
    TRAINING: "visit to a task",
}
_CURVES = {
    "rho": "retention, rehearsed",
    "rho1": "retention at first exposure",
    "new": "P(new answer) by meetings since the change",
    "old": "P(old answer) by meetings since the change",
    "unchanged": "P(right), of answers that did not change",
    "first": "P(right) after as many meetings, before any change",
    "left": "retention after steps of something else",
    "loss": "retention lost by steps of something else",
    "visit": "mean score over the steps of a visit to a task, by the number of the visit",
}

Rows = dict[str, dict[int, Measurements]]


@dataclass(frozen=True)
class _Evidence:
    """What a page is made of.

    Args:
        file: of the study.
        exploratory: why it is; empty if it is not.
        registered: a sentence on its registration.
        rows: measurements by arm and seed.
        arms: sizes and settings by arm.
        trials: facts of each trial.
    """

    file: StudyFile
    exploratory: str
    registered: str
    rows: Rows
    arms: dict[str, ArmSizes]
    trials: list[TrialFacts]


def write_report(study: Study, output: Path, *, partial: bool = False) -> list[Path]:
    """Write the report of a study and return its files.

    Args:
        study: with results.
        output: folder of the report.
        partial: whether seeds may be missing.

    Raises:
        UserError: if seeds are missing, or none is there.
    """
    study.judge(partial=partial)  # refuses what cannot be judged
    results = study.results()
    rows = study.rows()
    if not any(rows.values()):
        raise UserError(f"study {study.file.name!r} has no results: lifelong study run {study.file.path}")
    _check_folder(study, output)
    output.mkdir(parents=True, exist_ok=True)
    arms = {}
    for untuned in study.plans:
        chosen = study.tuning(untuned, any_code=True).chosen or {}
        plan = study.tuned(untuned, chosen)
        sizes = {name: getattr(plan, name) for name in ("state_bytes", "parameters", "memory_flops", "agent_flops")}
        arms[plan.arm.name] = sizes | {
            "steps": plan.config.steps,
            "memory": plan.config.memory,
            "memory_options": list(plan.config.memory_options),
            "expansion": round(plan.config.expansion, 4),
            "tuned": {name: str(value) for name, value in chosen.items()},
        }
    trials = [
        {"arm": arm, "seed": seed, "code": one.code} | one.facts
        for arm, of_seed in results.items()
        for seed, one in sorted(of_seed.items())
    ]
    _write_rows(output / ROWS, rows)
    (output / TRIALS).write_text(_json({"arms": arms, "trials": trials}), encoding="utf-8")
    written = [output / ROWS, output / TRIALS, output / f"{study.file.name}.toml"]
    if written[-1].resolve() != study.file.path.resolve():
        written[-1].write_text(study.file.text, encoding="utf-8")
    (output / REGISTERED).unlink(missing_ok=True)
    if study.registration is not None:
        written.append(output / REGISTERED)
        shutil.copyfile(study.folder / REGISTERED, written[-1])
    evidence = _read(output)
    for test, figure in _figures(evidence):
        written.append(output / f"{test}.svg")
        save_figure(figure, written[-1])
    written.append(output / PAGE)
    written[-1].write_text(_page(evidence), encoding="utf-8")
    return written


def _check_folder(study: Study, output: Path) -> None:
    """Refuse a folder in which a report would write over something else.

    Raises:
        UserError: if it is the study's own, or has files that are none of a report of this study.
    """
    if output.resolve() == study.folder.resolve():
        raise UserError(f"{output} is the study's own folder: --to needs another, such as {study.folder / 'report'}")
    there = sorted(output.iterdir()) if output.is_dir() else []
    others = [path for path in there if path.resolve() != study.file.path.resolve()]
    if others and not ((output / ROWS).is_file() and (output / TRIALS).is_file()):
        raise UserError(
            f"{output} is no report of a study, and not empty (it has {others[0].name}): --to needs a new folder, an "
            "empty one, or one that a report wrote"
        )
    if tables := [path.name for path in others if path.suffix == ".toml" and path.stem != study.file.name]:
        raise UserError(f"{output} has a report of another study, {tables[0]}, not of {study.file.name!r}")


def check_report(folder: Path) -> int:
    """Make the page of a report anew from its rows, and return how many numbers it has.

    Args:
        folder: of the report.

    Raises:
        UserError: if a file of the report is missing, or is none of a report.
        ValueError: if a number of the page differs from what the rows say; names the line.
    """
    page = folder / PAGE
    if not page.is_file():
        raise UserError(f"{folder} is no report of a study: cannot read {page}: no such file")
    evidence = _read(folder)
    return check_page(page, _page(evidence))


def judgements_table(judgements: Sequence[Judgement], exploratory: str) -> Table:
    """Return predictions beside outcomes.

    Args:
        judgements: of a study.
        exploratory: why it is; empty if it is not.
    """
    heading = ("", "prediction", "comparison", "expected", "difference", "95 % interval", "p", "p (Holm)", "seeds",
               "verdict")  # fmt: skip
    lines = tuple(
        (
            one.id,
            one.says,
            f"{one.comparison} in {one.measure}",
            one.expect,
            _number(one.difference, "+.3f"),
            "-" if math.isnan(one.low) else f"{one.low:+.3f} to {one.high:+.3f}",
            _number(one.p, ".4f"),
            _number(one.p_holm, ".4f"),
            f"{len(one.seeds)}",
            one.verdict,
        )
        for one in judgements
    )
    return Table(heading, lines, _caption("Predictions and outcomes", exploratory), text_columns=4)


def _read(folder: Path) -> _Evidence:
    """Return the evidence in a report's folder."""
    files = sorted(folder.glob("*.toml"))
    if len(files) != 1:
        raise UserError(f"{folder} is no report of a study: it needs one study file, it has {len(files)}")
    # nothing that the study names is imported here
    file, registration = read_study_file(files[0], trust=True), read_registration(folder)
    arms, trials = read_trials(folder / TRIALS, [arm.name for arm in file.arms])
    table = read_rows(folder / ROWS)
    if missing := [name for name in ("arm", "seed", *COLUMNS) if name not in table]:
        raise UserError(f"{folder / ROWS} has no rows of a study: it lacks {', '.join(missing)}")
    registered = ""
    if registration is not None:
        commit = f" at commit {registration.git[:12]}" if registration.git else ""
        registered = f"Registered on {registration.date[:10]}{commit}, before the first trial."
    rows: Rows = {arm.name: {} for arm in file.arms}
    arm_of, seed_of = np.array(table["arm"]), np.array(table["seed"])
    for arm in rows:
        for seed in sorted({int(seed) for seed in seed_of[arm_of == arm]}):
            mine = np.flatnonzero((arm_of == arm) & (seed_of == seed))
            rows[arm][seed] = {name: [table[name][k] for k in mine] for name in COLUMNS}
    return _Evidence(file, standing(file, registration, rows), registered, rows, arms, trials)


def _write_rows(path: Path, rows: Rows) -> None:
    parts = [(arm, seed, one) for arm, of_seed in rows.items() for seed, one in sorted(of_seed.items())]
    table = {name: [value for _, _, one in parts for value in one[name]] for name in COLUMNS}
    lengths = [(arm, seed, len(one["test"])) for arm, seed, one in parts]
    first: dict[str, list[Any]] = {
        "arm": [arm for arm, _, length in lengths for _ in range(length)],
        "seed": [seed for _, seed, length in lengths for _ in range(length)],
    }
    write_rows(path, table, first)


def _page(evidence: _Evidence) -> str:
    return "\n\n".join(_sections(evidence)) + "\n"


def _sections(evidence: _Evidence) -> Iterator[str]:
    file, exploratory = evidence.file, evidence.exploratory
    yield f"# {file.name}"
    yield file.question
    if evidence.registered:
        yield evidence.registered
    if exploratory:
        yield f"**{exploratory[0].upper()}{exploratory[1:]}.** Its p values are descriptions, not tests."
    versions = {trial["code"] for trial in evidence.trials}
    if len(versions) > 1:
        yield f"**Its trials are of {len(versions)} versions of the code.**"
    judgements = judge(file, evidence.rows, exploratory)
    if judgements:
        yield "## Predictions and outcomes"
        yield _shown(judgements_table(judgements, exploratory))
        yield (
            "Difference: over paired seeds, which have the same lives. Interval: paired bootstrap over seeds, of fewer "
            f"than {FEW} Student's; not corrected. p: Student's paired test of the direction, doubled; Holm's "
            f"correction over this table. Supported: above the margin (p < {LEVEL}); refuted: below the smallest "
            "effect of interest."
        )
        yield from _points(judgements, exploratory)
    yield "## Arms"
    yield _shown(_arms(evidence))
    yield from _tuned(evidence)
    yield "## Measures"
    yield from _measures(evidence)
    for test in file.tests:
        yield f"## Test {test.name}"
        yield _test_words(test)
        yield from _test(evidence, test)
    yield "## Where it comes from"
    yield from _origin(evidence)


def _points(judgements: Sequence[Judgement], exploratory: str) -> Iterator[str]:
    notes = dict.fromkeys(note for one in judgements for note in one.notes if note != exploratory)
    if notes:
        yield "\n".join(f"- {note}" for note in notes)
    shown = [one for one in judgements if one.points and len(one.points) < FEW]
    if shown:
        lines = tuple((one.id, one.comparison, " ".join(f"{point:+.3f}" for point in one.points)) for one in shown)
        yield _shown(Table(("", "comparison", "difference of each seed"), lines, _caption("Points", exploratory), 3))


def _arms(evidence: _Evidence) -> Table:
    heading = ("arm", "memory", "options", "state, bytes", "parameters", "FLOPs of a step, memory", "of the agent",
               "steps", "trials", "seconds of training")  # fmt: skip
    lines = []
    for arm, sizes in evidence.arms.items():
        mine = [trial["seconds"] for trial in evidence.trials if trial["arm"] == arm]
        lines.append((
            arm,
            sizes["memory"],
            " ".join([*sizes["memory_options"], f"expansion={sizes['expansion']:g}"]),
            f"{sizes['state_bytes']:,}",
            f"{sizes['parameters']:,}",
            f"{sizes['memory_flops']:,}",
            f"{sizes['agent_flops']:,}",
            f"{sizes['steps']:,}",
            f"{len(mine)}",
            f"{np.mean(mine):,.0f}" if mine else "-",
        ))  # fmt: skip
    return Table(heading, tuple(lines), _caption("What is compared", evidence.exploratory), text_columns=3)


def _tuned(evidence: _Evidence) -> Iterator[str]:
    tune = evidence.file.tune
    if tune is None:
        return
    lines = [
        f"- {arm}: " + ", ".join(f"{name} {value}" for name, value in sizes["tuned"].items()) + _edge(evidence, sizes)
        for arm, sizes in evidence.arms.items()
        if sizes["tuned"]
    ]
    if lines:
        seeds = ", ".join(map(str, tune.seeds))
        how = f" ({tune.search.words})" if tune.search.words else ""
        yield f"Tuned on seeds {seeds}, by {tune.by.text}{how}:\n\n" + "\n".join(lines)


def _edge(evidence: _Evidence, sizes: ArmSizes) -> str:
    """Return which settings lie at an edge of what was tried, in words."""
    tried = evidence.file.tune.settings if evidence.file.tune else {}
    edges = [
        name for name, values in tried.items() if name in sizes["tuned"] and _at_edge(sizes["tuned"][name], values)
    ]
    return f" ({', '.join(edges)} at an edge of what was tried)" if edges else ""


def _at_edge(chosen: str, values: Sequence[Any] | Range) -> bool:
    """Return whether a value is the first or last of a list, or in the outer twentieths of a range."""
    if isinstance(values, Range):
        return not values.at(0.05) < float(chosen) < values.at(0.95)
    return len(values) > 1 and chosen in (str(values[0]), str(values[-1]))


def _measures(evidence: _Evidence) -> Iterator[str]:
    texts = dict.fromkeys(one.measure.text for one in evidence.file.hypotheses)
    if not texts:
        yield "No hypothesis names a measure."
    parsed = {one.measure.text: one.measure for one in evidence.file.hypotheses}
    for text in texts:
        lines = []
        for arm, of_seed in evidence.rows.items():
            over = over_seeds([measured(rows, parsed[text]) for rows in of_seed.values()])
            lines.append((arm, f"{len(of_seed)}", over.label(), over.listed()))
        heading = ("arm", "seeds", "mean (95 % interval over seeds)", "seeds, each")
        yield _shown(Table(heading, tuple(lines), _caption(text, evidence.exploratory)))


def _test_words(test: Test) -> str:
    settings = ", ".join(f"{name} = {value}" for name, value in test.settings.items())
    said = f"`lifelong {test.by}` of each."
    if test.by == TRAINING:
        said = "The training itself; numbers are of the performance matrix, where tasks were evaluated."
    elif not test.place:
        said = "The frozen agent at the end of training, in new lives."
    return said + (f" {settings}." if settings else "")


def _test(evidence: _Evidence, test: Test) -> Iterator[str]:
    if numbers := NUMBERS[test.by]:
        lines = [
            (arm, *(over_seeds(_numbers(of_seed, test.name, quantity)).label() for quantity in numbers))
            for arm, of_seed in evidence.rows.items()
        ]
        yield _shown(Table(("arm", *numbers), tuple(lines), _caption("Means over seeds", evidence.exploratory)))
    for quantity in CURVES[test.by]:
        bins = _bins(evidence.rows, test.name, quantity)
        if not bins:
            continue
        lines = []
        for arm, of_seed in evidence.rows.items():
            cells = [_numbers(of_seed, test.name, quantity, ends) for ends in bins]
            lines.append((arm, *(_number(float(np.mean(cell)) if cell else math.nan, ".3f") for cell in cells)))
        heading = ("arm", *(f"{low}" if low == high else f"{low}-{high}" for low, high in bins))
        yield _shown(Table(heading, tuple(lines), _caption(_CURVES[quantity], evidence.exploratory)))
    if _bins(evidence.rows, test.name, _SHOWN[test.by]):
        yield f"![{_CURVES[_SHOWN[test.by]]}]({test.name}.svg)"


def _bins(rows: Rows, test: str, quantity: str) -> list[tuple[int, int]]:
    """Return the bins of a curve in which any trial has a value."""
    found = set()
    for of_seed in rows.values():
        for one in of_seed.values():
            for name, of, low, high, value in zip(
                *(one[c] for c in ("test", "quantity", "first", "last", "value")), strict=True
            ):
                if (name, of) == (test, quantity) and not math.isnan(value):
                    found.add((int(low), int(high)))
    return sorted(found)


def _numbers(
    of_seed: Mapping[int, Measurements], test: str, quantity: str, ends: tuple[int, int] = (-1, -1)
) -> list[float]:
    """Return a number of each seed; NaN where it has none."""
    found = []
    for one in of_seed.values():
        columns = zip(*(one[c] for c in ("test", "quantity", "first", "last", "value")), strict=True)
        mine = [value for name, of, *lags, value in columns if (name, of, tuple(lags)) == (test, quantity, ends)]
        found.append(float(mine[0]) if mine else math.nan)
    return found


def _origin(evidence: _Evidence) -> Iterator[str]:
    file, trials = evidence.file, evidence.trials
    yield f"```console\nlifelong study run {file.name}.toml\nlifelong study report {file.name}.toml\n```"
    yield "`lifelong study report --check` makes every number of this page anew from `rows.parquet` and `trials.json`."
    lines = [
        f"- study file: SHA-256 {file.sha256}",
        f"- rows: SHA-256 {hashlib.sha256(_json(_plain(evidence.rows)).encode()).hexdigest()}",
        f"- seeds: {', '.join(map(str, file.seeds))}; tests of a trial are of lives of its own seed",
        f"- trials: {len(trials)}, {sum(float(trial['seconds']) for trial in trials) / 3600:.2f} hours of training",
        f"- commits: {', '.join(sorted({str(trial.get('git'))[:12] for trial in trials}))}",
        f"- versions of the code: {', '.join(sorted({str(trial['code'])[:12] for trial in trials}))}",
        f"- packages: {'; '.join(sorted({_versions(trial) for trial in trials}))}",
        f"- device: {', '.join(sorted({str(trial.get('device')) for trial in trials}))}",
    ]
    yield "\n".join(lines)


def _versions(trial: TrialFacts) -> str:
    return ", ".join(f"{name} {version}" for name, version in (trial.get("versions") or {}).items())


def _plain(rows: Rows) -> dict[str, Any]:
    """Return rows as JSON has them: equal rows give equal text."""
    return {
        arm: {str(seed): {name: [str(value) for value in one[name]] for name in COLUMNS} for seed, one in found.items()}
        for arm, found in rows.items()
    }


def _figures(evidence: _Evidence) -> Iterator[tuple[str, "Figure"]]:
    """Yield a figure of each test that has a curve: the mean over seeds, and each seed as a thin line."""
    from matplotlib.figure import Figure

    for test in evidence.file.tests:
        quantity = _SHOWN[test.by]
        bins = _bins(evidence.rows, test.name, quantity)
        if not bins:
            continue
        figure = Figure(figsize=(7.2, max(3.6, 0.22 * len(evidence.rows))), layout="constrained")
        axes = figure.subplots()
        at = [max(low, 0.5) for low, _ in bins]
        for number, (arm, of_seed) in enumerate(evidence.rows.items()):
            each = np.array([_numbers(of_seed, test.name, quantity, ends) for ends in bins])  # [bins, seeds]
            if not each.size or np.isnan(each).all():
                continue
            colour, style = COLOURS[number % len(COLOURS)], STYLES[number // len(COLOURS) % len(STYLES)]
            axes.plot(at, each, linewidth=0.6, alpha=0.4, color=colour, linestyle=style)
            axes.plot(at, each.mean(1), linewidth=1.8, color=colour, linestyle=style, marker="o", ms=3, label=arm)
        axes.set_xscale("log", base=2)
        axes.set_xticks(at, [f"{low}" for low, _ in bins])
        axes.minorticks_off()
        axes.set_xlabel(_ALONG[test.by])
        axes.set_ylabel(_CURVES[quantity])
        axes.grid(alpha=0.25, linewidth=0.5)
        if len(evidence.rows) > _INSIDE:
            axes.legend(fontsize=8, handlelength=3.5, loc="upper left", bbox_to_anchor=(1.0, 1.03))
        else:
            axes.legend(fontsize=8)
        yield test.name, figure


def _shown(table: Table) -> str:
    return f"**{table.caption}**\n\n{markdown_table(table)}"


def _caption(text: str, exploratory: str) -> str:
    return f"{text} (exploratory)" if exploratory else text


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def _json(content: Any) -> str:
    return json.dumps(content, indent=1) + "\n"
