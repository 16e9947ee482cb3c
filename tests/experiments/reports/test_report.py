"""Reports of runs of simulated agents, whose retention is known, and of runs in which something is missing."""

import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lifelong import cli
from lifelong.experiments.report import ReportConfig, main
from lifelong.experiments.reports.find_runs import find_runs
from lifelong.experiments.reports.groups import group_runs
from lifelong.experiments.reports.run import read_run
from lifelong.experiments.reports.sections import panels
from lifelong.experiments.runs.episodes import EpisodeLog
from lifelong.experiments.runs.errors import UserError

from .conftest import Write, recall_rows, visit_rows

OLD = Path(__file__).parents[1] / "data" / "run-0.1"


def report(*runs: Path, **settings: Any) -> tuple[str, str, str]:
    """Write a report and return its head, its Markdown, and its page."""
    head, written = main(ReportConfig(tuple(map(str, runs)), **settings))
    page, text = (path.read_text() for path in written[:2])
    ET.fromstring(page.removeprefix("<!DOCTYPE html>\n"))  # noqa: S314  our own
    return head, text, page


def cells(table: str, agent: str) -> list[str]:
    """Return the first line of a table in Markdown that begins with an agent."""
    (line, *_) = [line for line in table.split("\n") if line.startswith(f"| {agent} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture
def agents(write_run: Write) -> Path:
    """Return a folder of three seeds of a good memory and one of a bad one."""
    for seed in range(3):
        write_run(f"good-{seed}", seed=seed, rows=recall_rows(40.0, seed=seed), memory="gru")
    return write_run("bad", memory="none", rows=recall_rows(0.0)).parent


def test_the_numbers_of_a_written_report_are_checked(agents: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report(agents)
    assert cli.main(["report", str(agents), "--check"]) == 0
    assert re.search(r"report\.md: all \d+ numbers are what the rows say", capsys.readouterr().out)
    text = agents / "report.md"
    lines = text.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("| gru |"))
    lines[at] = lines[at].replace(" 3 |", " 4 |", 1)
    text.write_text("\n".join(lines))
    with pytest.raises(SystemExit, match="1"):
        cli.main(["report", str(agents), "--check"])
    assert f"report.md:{at + 1}: 4, the rows say 3" in capsys.readouterr().err
    text.unlink()
    assert cli.main(["report", str(agents), "--check"]) == 2
    assert "holds no report: cannot read" in capsys.readouterr().err


def test_seeds_are_averaged_and_their_points_shown(agents: Path) -> None:
    head, text, page = report(agents)
    assert head.startswith(
        "cued-recall, cues=4, lives of 128 episodes: frozen agents in fresh lives\n\n| agent | seeds |"
    )
    name, seeds, first, points, *_ = cells(head, "gru")
    assert (name, seeds) == ("gru", "3")
    mean, low, high = map(float, re.fullmatch(r"([\d.]+) \(([\d.]+) to ([\d.]+)\)", first).groups())  # type: ignore[union-attr]
    assert np.mean([float(point) for point in points.split()]) == pytest.approx(mean, abs=1e-3)
    assert low < mean < high <= 1.0
    assert cells(head, "none")[1:4] == ["1", cells(head, "none")[3], cells(head, "none")[2]]
    assert "one seed: no interval (none)" in text
    for part in ("What is asked.", "0 at chance and 1 at always right", "Retention at first exposure, by lag",
                 "Retention over load", "Each seed.", "Cost.", "Settings of all runs", "SHA-256 of config.json",
                 "lifelong train cued-recall --memory gru", "torch", "How to read this"):  # fmt: skip
        assert part in text, part
        assert part in page, part
    assert page.count("data:image/svg+xml;base64,") == 2, "curves, and retention over load and lag"


def test_a_report_is_the_same_to_the_byte_whenever_it_is_made(agents: Path, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in main(ReportConfig((str(agents),), figure=tmp_path / "a.pdf"))[1]]
    again = [path.read_bytes() for path in main(ReportConfig((str(agents),), figure=tmp_path / "b.pdf"))[1]]
    assert first == again


def test_the_order_and_the_place_of_the_words_do_not_matter(agents: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = report(agents)
    assert report(*sorted(agents.glob("*-*"), reverse=True), agents / "bad", output=agents / "report") == whole
    monkeypatch.chdir(agents.parent)
    assert report(Path(agents.name)) == whole


def test_runs_may_be_named_by_relative_and_absolute_paths(agents: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *_ = sorted(agents.glob("*-*"))
    monkeypatch.chdir(agents.parent)
    assert cli.main(["report", str(first.relative_to(agents.parent)), str(second)]) == 0
    assert (agents / "report.md").is_file()


def test_one_run_has_intervals_over_lives_and_says_so(write_run: Write) -> None:
    folder = write_run(rows=recall_rows(40.0))
    head, text, _ = report(folder)
    assert {path.name for path in (folder / "report").iterdir()} == {"report.html", "report.md"}
    assert text.startswith("# Report of run\n")
    assert "over the lives of this one agent" in text
    assert "One seed of each agent: there is no interval" in text
    assert "(" not in cells(head, "gru")[2]


def test_streams_are_never_averaged(write_run: Write) -> None:
    for seed, cues in ((0, 4), (1, 4), (2, 8)):
        rows = recall_rows(40.0, seed=seed, cues=cues)
        folder = write_run(f"r{seed}", seed=seed, rows=rows, stream_options=(f"cues={cues}",))
    write_run("rooms", stream="rooms", schedule="block:8", mode="train", rows=visit_rows(0.5), evaluation_lives=0)
    head, text, _ = report(folder.parent)
    assert re.findall(r"^(\S.*): (?:frozen|agents)", head, re.M) == [
        "cued-recall, cues=4, lives of 128 episodes",
        "cued-recall, cues=8, lives of 128 episodes",
        "rooms, task=empty-5x5,fourrooms,doorkey-5x5, schedule=block:8, endless lives",
    ]
    assert [line.split("|")[2].strip() for line in head.split("\n") if line.startswith("| gru")] == ["2", "1", "1"]
    assert "Runs of 3 streams. Numbers of different streams are never averaged." in text
    assert "2 seeds: too few for an interval (gru)" in text


def test_agents_are_named_by_what_differs_and_an_interrupted_one_is_another(write_run: Write) -> None:
    rows = recall_rows(40.0)
    folder = write_run("a", rows=rows)
    write_run("b", rows=rows, width=16)
    write_run("c", rows=rows, carry="episode")
    head, _, _ = report(folder.parent)
    names = [cells(head, name)[0] for name in ("gru width=8", "gru width=16", "gru carry=episode width=8")]
    assert len(set(names)) == 3


def test_a_damaged_table_of_training_is_said_and_a_whole_copy_is_taken(write_run: Write) -> None:
    damaged = write_run("a", rows=recall_rows(40.0))
    (damaged / "episodes" / "train-000000.parquet").write_bytes(b"")
    whole = write_run("b", rows=recall_rows(40.0))
    head, _, _ = report(damaged.parent)
    assert "a table of its training is damaged: episodes/train-000000.parquet" in head
    assert f"a: left out, since {whole.name} is the same agent with the same seed" in head


def test_the_same_seed_twice_is_one_seed(write_run: Write) -> None:
    folder = write_run("a", rows=recall_rows(40.0))
    write_run("b", rows=recall_rows(40.0))
    head, text, _ = report(folder.parent)
    assert cells(head, "gru")[1] == "1"
    assert "b: left out, since a is the same agent with the same seed, 0" in text


def test_a_task_sequence_has_its_tasks_and_its_matrix(write_run: Write) -> None:
    for seed in range(3):
        after = [(step, visit_rows(0.5, seed=seed + step, lives=8, blocks=3)) for step in (500, 1000)]
        folder = write_run(
            f"r{seed}", seed=seed, stream="rooms", schedule="block:8", mode="train", evaluation_lives=0,
            rows=visit_rows(0.5, seed=seed, lives=32), evaluations=after,
        )  # fmt: skip
    head, text, page = report(folder.parent)
    assert float(cells(head, "gru")[2].split()[0]) == pytest.approx(0.5, abs=0.15)  # half is kept, by simulation
    (line, *_) = [line for line in text.split("\n") if line.startswith("| gru | fourrooms | 2,304 |")]
    first, last, returned, lost = map(float, line.split("|")[4:8])
    assert (first, last, returned) == pytest.approx((0.1, 0.9, 0.5), abs=0.15)
    assert lost == pytest.approx(last - returned, abs=2e-3)
    assert "final average (ACC)" in text
    assert page.count("data:image/svg+xml;base64,") == 2
    assert "thin lines are seeds" in page


def test_different_evaluation_steps_are_not_averaged(write_run: Write) -> None:
    for seed in range(2):
        after = [(step + seed, visit_rows(0.5, lives=4, blocks=3)) for step in (500, 999)]
        folder = write_run(f"r{seed}", seed=seed, stream="rooms", schedule="block:8", mode="train", evaluation_lives=0,
                           rows=visit_rows(0.5, seed=seed), evaluations=after)  # fmt: skip
    _, text, _ = report(folder.parent)
    assert "Seeds that were evaluated at different steps are shown one by one" in text


def corrupt(folder: Path, part: str = "frozen") -> None:
    path = folder / "episodes" / f"{part}-000000.parquet"
    path.write_bytes(path.read_bytes()[:-100] + b"x" * 100)


def empty(folder: Path) -> None:
    (folder / "episodes" / "frozen-000000.parquet").write_bytes(b"")


def truncate(folder: Path) -> None:
    path = folder / "episodes" / "frozen-000000.parquet"
    path.write_bytes(path.read_bytes()[:1000])


def without_rows(folder: Path) -> None:
    path = folder / "episodes" / "frozen-000000.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)


def foreign(folder: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), folder / "episodes" / "frozen-000000.parquet")


def unevaluated(folder: Path) -> None:
    shutil.rmtree(folder / "episodes")


def of_version_0_1(folder: Path) -> None:
    path = folder / "episodes" / "frozen-000000.parquet"
    kept = pq.read_table(path).drop_columns(["meetings", "load", "train_step", "task_name"])
    path.unlink()
    pq.write_table(kept, folder / "episodes" / "sandbox-000000.parquet")


def partly_of_version_0_1(folder: Path) -> None:
    path = folder / "episodes" / "frozen-000000.parquet"
    table = pq.read_table(path)
    half = table.num_rows // 2
    pq.write_table(table.slice(0, half).drop_columns(["meetings", "load"]), path)
    pq.write_table(table.slice(half), folder / "episodes" / "frozen-000001.parquet")


def with_a_gap(folder: Path) -> None:
    path = folder / "episodes" / "frozen-000000.parquet"
    path.rename(path.with_name("frozen-000003.parquet"))


def without_checkpoint(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoints")


def damaged_checkpoint(folder: Path) -> None:
    (folder / "checkpoints" / "last" / "facts.json").write_text("{")


def of_another_version(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))


def of_no_stream(folder: Path) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["config"]["stream_options"] = ["cues=4", "colour=red"]
    path.write_text(json.dumps(content))


BAD: list[tuple[Callable[[Path], None], str, str]] = [  # what is done to a run; what is said; its seeds in the table
    (corrupt, "odd: left out of frozen agents in fresh lives: episodes/frozen-000000.parquet cannot be read", "3"),
    (empty, "episodes/frozen-000000.parquet is empty", "3"),
    (truncate, "episodes/frozen-000000.parquet cannot be read", "3"),
    (without_rows, "it has no finished episode of mode frozen", "3"),
    (foreign, "frozen-000000.parquet is no part of an episodes table: it has no column 'step'", "3"),
    (unevaluated, "it has no finished episode of mode frozen", "3"),
    (with_a_gap, "parts of its rows of mode frozen are missing: 1 of 4 are there", "3"),
    (of_another_version, "odd/config.json has format 99, this version reads up to", "3"),
    (of_version_0_1, "odd: its rows of mode frozen were written by version 0.1, without meetings and load", "4"),
    (partly_of_version_0_1, "odd: 768 of its 1,536 rows of mode frozen were written by version 0.1", "4"),
    (without_checkpoint, "odd: it has no checkpoint: steps and seconds are not known", "4"),
    (damaged_checkpoint, "odd: its checkpoint cannot be read, so steps and seconds are not known", "4"),
    (of_no_stream, "the stream cannot be made here, so nothing is measured", "3"),
]


@pytest.mark.parametrize(("harm", "said", "seeds"), BAD, ids=[harm.__name__ for harm, _, _ in BAD])
def test_what_is_missing_is_said_and_nothing_averaged_silently(
    harm: Callable[[Path], None], said: str, seeds: str, write_run: Write
) -> None:
    for seed in range(3):
        folder = write_run(f"good-{seed}", seed=seed, rows=recall_rows(40.0, seed=seed))
    harm(write_run("odd", seed=3, rows=recall_rows(40.0, seed=3)))
    head, text, page = report(folder.parent)
    for written in (head, text, page.replace("&#x27;", "'")):
        assert said in written
    assert "## What is missing" in text
    lines = [line for line in head.split("\n") if line.startswith("| gru")]
    assert lines[0].split("|")[2].strip() == seeds


def test_rows_without_meetings_have_no_first_exposure(write_run: Write) -> None:
    folder = write_run("odd", rows=recall_rows(40.0))
    of_version_0_1(folder)
    head, text, _ = report(folder)
    assert "area, first exposure" not in head
    assert "no retention at first exposure: rows of version 0.1 do not say how often a task was met before" in text
    assert "Retention over load" not in text


def test_a_report_without_any_measured_run_says_why(write_run: Write) -> None:
    folder = write_run("run", steps=500)
    head, text, _ = report(folder)
    assert "interrupted at 500 of 1,000 steps; go on with: lifelong train --resume" in head
    assert "None of these runs was measured" in text
    folder = write_run("other", evaluation_lives=0)
    assert "it was trained without an evaluation (evaluation_lives=0)" in report(folder)[1]


def test_a_run_of_0_1_is_reported(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(OLD, tmp_path / "run-0.1"))
    _, text, _ = report(folder)
    assert "interrupted at 3,072 of 4,096 steps" in text
    assert "None of these runs was measured" in text
    assert "| steps | 4096 |" in text


def test_missing_references_are_said(write_run: Write) -> None:
    rows = recall_rows(40.0)
    _, text, _ = report(write_run(rows=rows, feedback="reward"))
    assert "No certificate is stored for these settings (cues=4, feedback=reward, schedule=" in text
    unknown = np.full_like(rows["within"], np.nan)
    folder = write_run("doors", stream="doors", stream_options=(), rows=rows | {"within": unknown, "cross": unknown})
    _, text, _ = report(folder)
    assert "no retention: the scores of the best policies with and without a memory are not known" in text
    assert "Certificate of doors" in text
    assert "the best policy that remembers its life" in text


def test_names_are_escaped(write_run: Write) -> None:
    folder = write_run("<b>|*x*", rows=recall_rows(40.0), memory_options=("num_layers=<i>",))
    _, text, page = report(folder)
    assert "# Report of &lt;b&gt;\\|\\*x\\*" in text
    assert "<b>|" not in page
    assert "&lt;b&gt;|*x*" in page


def test_panels_of_a_figure_are_named_by_what_differs(write_run: Write) -> None:
    write_run("a", rows=recall_rows(40.0))
    write_run("nothing", rows=recall_rows(40.0, lives=1, episodes=8), stream_options=("cues=8",))
    runs = [read_run(folder) for folder in find_runs([str(write_run("b", rows=recall_rows(9.0), seed=1).parent)])]
    assert [panel.title for panel in panels(group_runs(runs))] == ["at first exposure", "rehearsed"]
    write_run("c", rows=recall_rows(40.0), stream_options=("cues=5",))
    runs = [read_run(folder) for folder in find_runs([str(runs[0].folder.parent)])]
    assert [panel.title for panel in panels(group_runs(runs))][2:] == [
        "cued-recall, cues=5, lives of 128 episodes: at first exposure",
        "cued-recall, cues=5, lives of 128 episodes: rehearsed",
    ]


def test_a_report_of_retention_is_shown_on_demand(write_run: Write) -> None:
    folder = write_run("a", rows=recall_rows(40.0))
    write_run("b", rows=recall_rows(40.0), seed=1)
    (folder / "report").mkdir()
    shutil.copytree(folder / "episodes", folder / "report" / "frozen-64" / "episodes")
    head, text, _ = report(folder.parent, report="frozen-64")
    assert "lives of 128 episodes: frozen-64" in head
    assert "b: it has no report frozen-64; lifelong retention" in text
    assert "shown with --report NAME: a: frozen-64" in report(folder.parent)[1]
    with pytest.raises(UserError, match="no run has a report 'frozen-1'; lifelong retention made: frozen-64"):
        main(ReportConfig((str(folder.parent),), report="frozen-1"))


def test_an_evaluation_of_fewer_steps_is_not_of_this_agent(write_run: Write) -> None:
    folder = write_run("extended", rows=recall_rows(40.0), steps=8192)  # its rows were written after 1,000 steps
    write_run("whole", rows=recall_rows(40.0), seed=1)
    text = report(folder.parent)[1]
    assert "extended: left out of frozen agents in fresh lives: evaluated after 1,000 of its 8,192 steps: " in text


def test_a_report_of_another_stream_is_not_measured_with_the_names_of_training(write_run: Write) -> None:
    folder = write_run("a", rows=recall_rows(40.0))
    with EpisodeLog(folder / "report" / "frozen-64", "frozen", tasks=["x", "y", "z", "w"]) as log:
        log.append(recall_rows(40.0), 1000)
    text = "".join(report(folder.parent, report="frozen-64")[:2])
    assert "its task 0 is 'x', that of training 'cue 0': it was lived in another stream" in text


def test_a_run_with_another_memory_than_it_began_with_is_another_agent(write_run: Write) -> None:
    swapped = write_run("swapped", rows=recall_rows(40.0))
    path = swapped / "config.json"
    before = {"run": "runs/first", "step": 512, "memory": "gla"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"swapped": before}))
    write_run("scratch", rows=recall_rows(40.0), seed=1)
    head = report(swapped.parent)[0]
    assert "gru from=first at 512" in head
    assert "gru from=None" in head


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("nope", "no run nope: . holds runs"),
        ("runs --figure x.gif", "figure must end in .pdf, .svg, .png: figure=x.gif"),
        ("runs --figure runs", "cannot write runs: it is a folder"),
        ("runs --figure runs/flat/config.json/x.pdf", "config.json is no folder"),
        ("runs --output runs/flat/config.json/x", "config.json is no folder"),
        ("runs --report x", "no run has a report 'x'; lifelong retention made: nothing"),
        ("runs --figure x.pdf", "no retention curve to draw: no lag bin has 30 rows"),
    ],
)
def test_wrong_words_are_answered_in_one_line(
    words: str, reason: str, write_run: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = recall_rows(40.0, lives=1, episodes=8)
    monkeypatch.chdir(write_run("flat", rows=rows).parents[1])
    assert cli.main(["report", *words.split()]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("lifelong: ")
    assert reason in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert not list(Path("runs").glob("report.*"))


def test_the_terminal_shows_the_head_and_names_every_file(
    agents: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(agents.parent)
    assert cli.main(["report", "runs/good*", "--figure", "out/figure.svg", "--output", "out/page.html"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("cued-recall, cues=4")
    assert said.out.endswith("\n")
    assert said.err == "wrote out/page.html\nwrote out/page.md\nwrote out/figure.svg\n"
    assert all(Path(line.removeprefix("wrote ")).stat().st_size for line in said.err.splitlines())


# ---- how the agents acted -------------------------------------------------------------------------------------------


def with_greedy(folder: Path, score: float) -> Path:
    """Add rows of greedy actions with this return to a run."""
    rows = recall_rows(40.0)
    with EpisodeLog(folder, "greedy") as log:
        log.append(rows | {"return": np.full_like(rows["return"], score)}, 1000)
    return folder


def test_greedy_returns_stand_beside_drawn_ones_and_are_never_averaged_with_them(write_run: Write) -> None:
    drawn = []
    for seed in range(3):
        rows = recall_rows(40.0, seed=seed)
        with_greedy(write_run(f"r{seed}", seed=seed, rows=rows), 2.0 + seed)
        drawn.append(rows["return"].mean())
    head, text, _ = report(write_run("old", seed=9, memory="none", rows=recall_rows(0.0), actions="drawn").parent)
    (heading,) = [line for line in head.split("\n") if line.startswith("| agent | seeds")]
    names = [cell.strip() for cell in heading.strip("|").split("|")]
    line = dict(zip(names, cells(head, "gru"), strict=True))
    assert line["mean return"].startswith(f"{np.mean(drawn):.3f} ")
    assert line["mean return, greedy"].startswith("3.000 ")
    assert dict(zip(names, cells(head, "none"), strict=True))["mean return, greedy"] == "-"
    assert "Actions were drawn from the policies. Mean return, greedy: of the most probable actions" in text
    assert "Drawn actions are samples" in text


def test_runs_by_greedy_actions_alone_are_a_part_of_their_own(write_run: Write) -> None:
    write_run("drawn", rows=recall_rows(40.0))
    head, text, _ = report(with_greedy(write_run("greedy", seed=1, actions="greedy"), 2.0).parent)
    assert "frozen agents in fresh lives, greedy actions\n" in head
    assert "| 2.000 |" in head
    assert "Actions were greedy: the most probable ones." in text
    assert "left out of" not in text


def test_greedy_rows_that_cannot_be_read_leave_the_drawn_ones(write_run: Write) -> None:
    folder = with_greedy(write_run("odd", rows=recall_rows(40.0)), 2.0)
    (folder / "episodes" / "greedy-000000.parquet").write_bytes(b"")
    head, text, _ = report(folder)
    assert "odd: no return of greedy actions: episodes/greedy-000000.parquet is empty" in text
    assert "mean return, greedy" not in head


def test_a_report_of_greedy_retention_is_read_by_its_name(write_run: Write) -> None:
    folder = write_run("one", rows=recall_rows(40.0))
    with_greedy(folder / "report" / "frozen-64-greedy", 2.0)
    head, text, _ = report(folder, report="frozen-64-greedy")
    assert "| 2.000 |" in head
    assert "Actions were greedy: the most probable ones." in text
