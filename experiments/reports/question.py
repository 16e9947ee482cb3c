"""What was asked: the stream, the measure of retention with the meaning of 0 and 1, and the stream's certificate."""

import inspect
import math
from typing import Any

import numpy as np

from lifelong.envs import STREAMS, TaskStream
from lifelong.envs.references.certificate import FIRST, FIXED, PLANS, Certificate, load
from lifelong.experiments.reports.document import Block, Paragraph, Table
from lifelong.experiments.reports.find_runs import listed
from lifelong.experiments.reports.run import Run
from lifelong.experiments.runs.lives import length_of_lives
from lifelong.experiments.runs.summary import MEASURES
from lifelong.registry import load as load_target

__all__ = ["certificate_blocks", "question"]

_ROLES = {
    "random": "random actions",
    "within": "the best policy that forgets at every episode's end",
    "cross": "the best policy that remembers its life",
    "oracle": "a policy that knows what is hidden",
}


def question(run: Run, env: TaskStream) -> Table:
    """Return the question that the runs of a stream answer, as a table of words and their meaning.

    Args:
        run: one of them.
        env: its stream.
    """
    name = str(run.stream["stream"])
    entry = STREAMS.get(name)
    names = "one" if len(env.tasks) == 1 else f"{len(env.tasks)}: {listed(task.name for task in env.tasks)}"
    asked = "How much of a task does an agent still know, by how many episodes ago it met it last?"
    meaning = f"{env.retention}: {MEASURES[env.retention]}" if env.retention else "none"
    if env.retention is None:
        asked = "With one task there is nothing to come back to: no retention is measured, only the return."
    known = {role: float(np.mean([getattr(task.references, role) for task in env.tasks])) for role in _ROLES}
    scores = [f"{known[role]:.3g} {words}" for role, words in _ROLES.items() if not math.isnan(known[role])]
    unknown = [words for role, words in _ROLES.items() if math.isnan(known[role])]
    lines = [
        ("stream", f"{name}{f': {entry.summary}' if entry else ''}"),
        ("tasks", names),
        ("order of tasks", str(run.config.schedule or env.schedule)),
        ("life", length_of_lives(env) + ("" if run.config.endless else "; then all that is hidden is drawn anew")),
        ("question", asked),
        ("measure of retention", meaning),
        ("reference scores", f"mean return of an episode: {'; '.join(scores)}" if scores else "none are known"),
    ]
    if scores and unknown:
        lines.append(
            ("no single number", f"the score of {'; '.join(unknown)}: it depends on what was met, or is not known")
        )
    return Table(("", ""), tuple(lines), "What is asked.", text_columns=2)


def certificate_blocks(run: Run) -> list[Block]:
    """Return the stored certificate of a run's stream as a table, or the sentence why there is none."""
    name = str(run.stream["stream"])
    if name not in PLANS:
        return [
            Paragraph(f"No certificate is stored for {name}: its reference policies were not measured over many lives.")
        ]
    try:
        stored = load(name)
    except (OSError, KeyError, TypeError, ValueError) as error:
        return [Paragraph(f"The certificate of {name} cannot be read: {error}")]
    asked = _settings(run)
    fitting = [certificate for certificate in stored if _plain(certificate.settings) == asked]
    if not fitting:
        kinds = "; ".join(_words(certificate.settings) for certificate in stored)
        return [
            Paragraph(f"No certificate is stored for these settings ({_words(asked)}); stored are those for: {kinds}.")
        ]
    return [_table(fitting[0], run)]


def _table(certificate: Certificate, run: Run) -> Table:
    lines = []
    for policy, score in certificate.scores.items():
        theory = "-" if score.closed_form is None else f"{score.closed_form:.4f}"
        lines.append((policy, _policy(policy), f"{score.mean:.4f}", f"± {score.half:.4f}", theory))
    life, hazard = run.config.life_episodes or 0, run.config.life_hazard
    other = ""
    if life != certificate.episodes:
        endless = "endless" if hazard is None else f"{1 / hazard:.4g} episodes on average"
        here = f"{life} episodes" if life else endless
        other = f" Lives here are {here}: scores of policies that remember differ with the length of a life."
    verdict = {True: " The stream is a control: memory across episodes gains nothing.", False: "", None: ""}
    caption = (
        f"Certificate of {certificate.stream} ({_words(certificate.settings)}): mean return of an episode, "
        f"{certificate.lives:,} lives of {certificate.episodes} episodes, half a 95 % interval over lives, and the "
        f"closed form where there is one; version {certificate.version}.{other}{verdict[certificate.control]}"
    )
    return Table(("policy", "which is", "mean return", "", "closed form"), tuple(lines), caption, text_columns=2)


def _policy(name: str) -> str:
    if name == FIRST:
        return "a policy that remembers only what an episode's first observation shows of the one before"
    return "a policy that ignores which task is on" if name.startswith(f"{FIXED} ") else _ROLES.get(name, "")


def _settings(run: Run) -> dict[str, str]:
    """Return a run's settings of its stream as the certificates name them: where they are not the defaults."""
    given = {**run.stream["stream_options"]}
    given |= {name: run.stream[name] for name in ("feedback", "schedule", "only_task") if run.stream[name] is not None}
    given |= {"boundary": run.stream["boundary"]} if run.stream["boundary"] != "none" else {}
    entry = STREAMS[str(run.stream["stream"])]
    known = inspect.signature(load_target("stream", entry.target)).parameters
    usual = {name: str(parameter.default) for name, parameter in known.items()}
    return {name: value for name, value in _plain(given).items() if usual.get(name) != value}


def _plain(settings: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in settings.items()}


def _words(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items()) or "as it comes"
