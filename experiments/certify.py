"""Measure a stream's reference policies, from chance to the oracle.

    lifelong certify                              all streams whose requirements are installed
    lifelong certify reversal                     one of them, in its certified settings
    lifelong certify reversal --stream-options hazard=0.1
    lifelong certify reversal --check             compare new lives with the stored certificate; exit code 1 if they
                                                  differ
    lifelong certify reversal --store             write the certificate that comes with the package

Prints a table for each: mean return of an episode with half a 95 % interval over lives; the expected return in closed
form where there is one; and the difference. `within` is the best policy without memory across episodes, `cross` the
best with it; without a gap between them the stream is a control.
"""

import sys
from collections.abc import Iterator

from lifelong.agents.durable import writing
from lifelong.envs import STREAMS, make_stream
from lifelong.envs.extras import install_line, is_installed
from lifelong.envs.references.certificate import FIRST, PLANS, Certificate, Plan, certify, load, store
from lifelong.experiments.runs.code_version import package_version
from lifelong.experiments.runs.config import options
from lifelong.experiments.runs.errors import UserError, as_user_error
from lifelong.experiments.settings.certify import CertifyConfig

__all__ = ["CertifyConfig", "command", "main", "table"]

_ENDLESS = 200  # episodes of an endless life
_ROUNDED = 2e-6  # figures are stored with six decimals


def command(config: CertifyConfig) -> None:
    """Run the verb; a check that fails ends with exit code 1."""
    failed = False
    for text, holds in main(config):
        sys.stdout.write(text)
        sys.stdout.flush()
        failed = failed or not holds
    if failed:
        raise SystemExit(1)


def main(config: CertifyConfig) -> Iterator[tuple[str, bool]]:
    """Yield the table of each certificate as Markdown, and whether it holds.

    Args:
        config: settings.

    Raises:
        UserError: if a stream does not exist, cannot be certified, or has no stored certificate to compare with.
    """
    for name in config.streams or tuple(PLANS):
        name = name.replace("_", "-")
        if not config.streams and not is_installed(extra := STREAMS[name].extra):
            yield f"## {name}\n\nleft out: it needs {install_line(extra)}\n\n", True
            continue
        plans = (Plan(options(config.stream_options)),) if config.stream_options else PLANS.get(name, (Plan(),))
        stored: list[Certificate | None] = [None] * len(plans)
        if config.check:
            stored = [*_stored(name, len(plans))]
        fresh = []
        for plan, kept in zip(plans, stored, strict=True):
            fresh.append(_certified(name, plan, config))
            text, holds = table(fresh[-1]), True
            if kept:
                compared, holds = _compared(kept, fresh[-1])
                text += compared
            yield text + "\n", holds
        if config.store:
            with writing("the certificate"):
                path = store(fresh)
            yield f"wrote {path}\n\n", True


def table(certificate: Certificate) -> str:
    """Return a certificate as a table in Markdown."""
    chosen = ", ".join(f"{name}={value}" for name, value in certificate.settings.items()) or "as it comes"
    lines = [
        f"## {certificate.stream}, {chosen}",
        "",
        f"{certificate.lives} lives of {certificate.episodes} episodes, seed {certificate.seed}, "
        f"version {certificate.version}; mean return of an episode and half a 95 % interval over lives",
        "",
        "| policy | mean | expected | difference |",
        "| --- | --- | --- | --- |",
    ]
    for name, score in certificate.scores.items():
        theory, difference = "", ""
        if score.closed_form is not None:
            theory, difference = f"{score.closed_form:.4f}", f"{score.mean - score.closed_form:+.4f}"
        lines.append(f"| {name} | {score.mean:.4f} ± {score.half:.4f} | {theory} | {difference} |")
    lines += _by_task(certificate)
    summary = "what memory across episodes is worth is not known: there is no policy for it"
    if certificate.control is not None:
        within, cross = certificate.scores["within"].mean, certificate.scores["cross"].mean
        summary = f"memory across episodes is worth {cross - within:.4f}: cross less within"
    if certificate.control:
        summary = "**a control**, as these lives can tell: no gap between within and cross"
    if certificate.within_episode is not None:
        summary += f"\nmemory within an episode is worth {certificate.within_episode:.4f}: within less memoryless"
    if certificate.fixed and certificate.conflict:
        lost = certificate.scores["oracle"].mean - certificate.fixed[1]
        summary += f"\nno fixed policy does for all tasks: {certificate.fixed[0]!r}, the best known, loses {lost:.4f}"
    elif certificate.fixed:
        summary += f"\n**a negative control**: {certificate.fixed[0]!r} does for all tasks"
    if certificate.leaks:
        worth = certificate.scores[FIRST].mean - certificate.scores["within"].mean
        summary += f"\n**not sealed**: what an episode's first observation shows of the one before is worth {worth:.4f}"
    for name, score in certificate.scores.items():
        if score.given_up:
            episodes = certificate.lives * certificate.episodes
            summary += f"\n{name} knew no way in {score.given_up} episodes of {episodes}, and did nothing there"
    return "\n".join([*lines, "", summary, ""])


def _by_task(certificate: Certificate) -> list[str]:
    """Return the lines of single tasks, if any."""
    by_policy = {name: score.tasks for name, score in certificate.scores.items() if score.tasks}
    if not by_policy:
        return []
    tasks = list(next(iter(by_policy.values())))
    rows = [f"| {name} | {' | '.join(f'{means[task]:.1f}' for task in tasks)} |" for name, means in by_policy.items()]
    return ["", f"| policy | {' | '.join(tasks)} |", f"| --- |{' --- |' * len(tasks)}", *rows]


def _certified(name: str, plan: Plan, config: CertifyConfig) -> Certificate:
    seed = config.seed if config.seed is not None else int(config.check)
    with as_user_error():
        stream = make_stream(name, config.lives or plan.lives, trust=config.trust, seed=seed, **plan.settings)
        episodes = config.episodes or plan.episodes or stream.life_episodes or _ENDLESS
        try:
            return certify(name, stream, episodes, plan.settings, package_version("lifelong-rl"))
        finally:
            stream.close()


def _stored(name: str, plans: int) -> list[Certificate]:
    try:
        stored = load(name)
    except FileNotFoundError:
        raise UserError(
            f"stream {name!r} has no stored certificate; lifelong certify {name} --store makes one"
        ) from None
    if len(stored) != plans:
        raise UserError(f"stream {name!r} has {len(stored)} stored certificates and {plans} plans; store them anew")
    return stored


def _compared(kept: Certificate, fresh: Certificate) -> tuple[str, bool]:
    """Return the comparison of new lives with a stored certificate as text, and whether they agree."""
    if (kept.settings, kept.episodes, set(kept.scores)) != (fresh.settings, fresh.episodes, set(fresh.scores)):
        of = f"{kept.episodes} episodes, {kept.settings or 'no settings'}, {', '.join(kept.scores)}"
        return f"\n**differs**: the stored certificate is for {of}\n", False
    off = {name: pair for name, pair in kept.differences(fresh).items() if abs(pair[0]) > pair[1] + _ROUNDED}
    if off:
        listed = ", ".join(f"{name} by {by:+.4f}, allowed {allowed:.4f}" for name, (by, allowed) in off.items())
        return f"\n**differs** from the stored certificate: {listed}\n", False
    return "\nagrees with the stored certificate\n", True
