"""Overview of a study before it is run: trials, sizes, what is unequal, and the hours it will take."""

import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from rich.console import Console

from lifelong.agents import Rollout
from lifelong.experiments.reports.document import Table
from lifelong.experiments.reports.markdown import markdown_table
from lifelong.experiments.runs.build import make_agent, make_learner
from lifelong.experiments.runs.build_env import make_env
from lifelong.experiments.runs.config import TrainConfig
from lifelong.experiments.studies.plan import Plan, unequal
from lifelong.experiments.studies.search import Effort
from lifelong.experiments.studies.study import Study

__all__ = ["overview", "training_seconds"]

_SEGMENTS = 2  # that are timed, after one that is not


def overview(study: Study, console: Console, *, measure: bool = True) -> str:
    """Return the overview as Markdown.

    Args:
        study: to describe.
        console: for what takes time.
        measure: whether arms of which no trial has ended are trained for a moment, to know their speed.

    Raises:
        UserError: if something in the study is wrong; with the line.
    """
    plans = study.plans
    seconds = {plan.arm.name: _seconds(study, plan, console, measure) for plan in plans}
    tuning = {plan.arm.name: study.tuning_effort(plan) for plan in plans}
    heading = ("arm", "memory", "options", "state, bytes", "parameters", "FLOPs of a step, memory", "of the agent",
               "steps", "trials", "of tuning", "hours")  # fmt: skip
    lines, hours = [], 0.0
    for plan in plans:
        trainings = len(study.file.seeds) + tuning[plan.arm.name].trainings
        took = seconds[plan.arm.name]
        hours += trainings * (took or 0.0) / 3600
        lines.append((
            plan.arm.name,
            plan.config.memory,
            " ".join([*plan.config.memory_options, f"expansion={plan.config.expansion:.4g}"]),
            f"{plan.state_bytes:,}",
            f"{plan.parameters:,}",
            f"{plan.memory_flops:,}",
            f"{plan.agent_flops:,}",
            f"{plan.config.steps:,}",
            f"{len(study.file.seeds)}",
            f"{tuning[plan.arm.name].candidates}",
            "-" if took is None else f"{trainings * took / 3600:.2f}",
        ))  # fmt: skip
    table = markdown_table(Table(heading, tuple(lines), "", text_columns=3))
    return "\n".join([study.file.question, "", table, "", *_sentences(study, plans, tuning, hours)]) + "\n"


def _sentences(study: Study, plans: list[Plan], tuning: dict[str, Effort], hours: float) -> Iterator[str]:
    file = study.file
    size = file.size
    yield from (f"- {said}" for said in unequal(plans, size.tolerance if size else 0.0))
    tests = ", ".join(f"{test.name} ({test.by})" for test in file.tests)
    final, before = len(plans) * len(file.seeds), sum(one.candidates for one in tuning.values())
    yield f"- {final + before} trials: {final} and {before} of tuning; tests of each: {tests}"
    comparisons = sum(len(one.contrast.comparisons) for one in file.hypotheses)
    yield f"- {len(file.hypotheses)} hypotheses, {comparisons} comparisons"
    if len(file.seeds) < 10 and file.hypotheses:
        yield f"- {len(file.seeds)} seeds, fewer than 10: points are shown; intervals and p trust normal differences"
    if hours:
        yield f"- about {hours:.2g} hours of training on one core, one trial a core at a time; tests come on top"
    yield f"- {study.standing or 'registered'}"


def _seconds(study: Study, plan: Plan, console: Console, measure: bool) -> float | None:
    """Return the seconds that a training of an arm takes: of its trials that have ended, or measured for a moment."""
    chosen = study.tuning(plan, any_code=True).chosen
    found = [] if chosen is None else [study.store.get(one, any_code=True) for one in study.trials(plan, chosen)]
    took = [float(one.facts["seconds"]) for one in found if one is not None and one.facts.get("seconds")]
    if took:
        return sum(took) / len(took)
    if not measure:
        return None
    console.print(f"measuring {plan.arm.name}", highlight=False)
    return training_seconds(plan.config)


def training_seconds(config: TrainConfig) -> float:
    """Return how long a training would take, from a few of its segments.

    Args:
        config: resolved.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads or 1)
    env = make_env(config)
    try:
        with torch.random.fork_rng():
            agent = make_agent(replace(config, seed=0), env)
            learner, rollout = (
                make_learner(config, agent),
                Rollout(agent, env, config.carry, cuda_graph=config.cuda_graph),
            )
            learner.learn(rollout.collect(config.segment or 1), 1.0)
            began, before = time.perf_counter(), rollout.steps
            for _ in range(_SEGMENTS):
                learner.learn(rollout.collect(config.segment or 1), 1.0)
            took = time.perf_counter() - began
    finally:
        env.close()
        torch.set_num_threads(threads)
    return took / (rollout.steps - before) * (config.steps or 0)
