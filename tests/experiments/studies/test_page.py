"""A page is a function of the rows beside it, and its check notices a number that is another."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lifelong import cli
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.studies.page import check_report, write_report
from lifelong.experiments.studies.registration import register


@pytest.fixture
def report(made: Any, filled: Any, tmp_path: Path) -> Path:
    study = made()
    register(study.file, study.folder, 0)
    write_report(filled(study), tmp_path / "report")
    return tmp_path / "report"


PUBLISHED = Path(__file__).parents[3] / "docs/results"


@pytest.mark.parametrize("name", sorted(path.parent.name for path in PUBLISHED.glob("*/rows.parquet")))
def test_a_published_page_is_what_its_rows_say(name: str) -> None:
    assert check_report(PUBLISHED / name) > 100


def test_a_page_holds_prediction_beside_outcome(report: Path) -> None:
    page = (report / "README.md").read_text()
    assert "Registered on " in page
    assert "exploratory" not in page
    (line,) = [line for line in page.splitlines() if line.startswith("| H1 | the delta rule keeps more")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert (
        cells[2] == "gated\\_delta - gru in area(rho1, far, 2:7)"
        or cells[2] == "gated_delta - gru in area(rho1, far, 2:7)"
    )
    assert float(cells[4]) == pytest.approx(0.4, abs=0.02)
    assert cells[-1] == "supported"
    assert "3 seeds, fewer than 10" in page
    assert "| arm | memory | options | state, bytes | parameters |" in page
    assert "| gru | gru |" in page
    assert "## Test far" in page
    assert {path.name for path in report.iterdir()} == {
        "README.md", "kept.toml", "registered.json", "rows.parquet", "trials.json", "evaluation.svg", "far.svg",
    }  # fmt: skip
    assert (report / "rows.parquet").stat().st_size < 50_000


def test_every_number_is_made_anew(report: Path) -> None:
    assert check_report(report) > 100
    page = report / "README.md"
    text = page.read_text()
    line = next(line for line in text.splitlines() if line.startswith("| H1 "))
    number = line.split("|")[5].strip()
    page.write_text(text.replace(number, "+0.123", 1))
    with pytest.raises(ValueError, match=rf"README\.md:\d+: \+0\.123, the rows say \{number}"):
        check_report(report)
    page.write_text(text.replace("Registered on", "It was registered on"))
    assert check_report(report) > 100  # other words are none of its business
    page.write_text(text + "\nmore\n")
    with pytest.raises(ValueError, match="lines, from the rows come"):
        check_report(report)


def test_lifelong_report_checks_a_study_too(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(report), "--check"]) == 0
    assert f"{report}: all {check_report(report):,} numbers are what the rows say" in capsys.readouterr().out


def test_rows_that_changed_are_noticed(report: Path) -> None:
    table = pq.read_table(report / "rows.parquet")
    values = table.column("value").to_pylist()
    at = table.column("quantity").to_pylist().index("rho1")
    values[at + 1] += 0.1
    pq.write_table(
        table.set_column(table.column_names.index("value"), "value", pa.array(values)), report / "rows.parquet"
    )
    with pytest.raises(ValueError, match="the rows say"):
        check_report(report)


def test_an_exploratory_study_says_so_in_every_table(made: Any, filled: Any, tmp_path: Path) -> None:
    study = made()
    register(study.file, study.folder, 0)
    changed = made(('says = "the delta rule keeps more"', 'says = "another tale"'))
    write_report(filled(changed), tmp_path / "report")
    page = (tmp_path / "report" / "README.md").read_text()
    assert "**Exploratory: its file was changed after its registration on " in page
    captions = [line for line in page.splitlines() if line.startswith("**") and line.endswith("**")]
    assert len(captions) >= 5
    assert all(line.endswith("(exploratory)**") for line in captions)
    assert check_report(tmp_path / "report") > 100


def test_a_folder_that_is_no_report_is_refused(tmp_path: Path, report: Path) -> None:
    with pytest.raises(UserError, match="is no report of a study"):
        check_report(tmp_path)
    trials = (report / "trials.json").read_bytes()
    (report / "trials.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match=r"trials\.json is of no report of a study: it must have `arms` and `trials`"):
        check_report(report)
    page = (report / "README.md").read_bytes()
    (report / "trials.json").write_bytes(trials)
    (report / "README.md").write_bytes(page + b"\xff")
    with pytest.raises(UserError, match=r"README\.md is no text: "):
        check_report(report)
    (report / "kept.toml").unlink()
    with pytest.raises(UserError, match="it needs one study file, it has 0"):
        check_report(report)


def test_a_report_writes_over_nothing_else(made: Any, filled: Any, tmp_path: Path) -> None:
    study = made()
    register(study.file, study.folder, 0)
    study = filled(study)
    home = tmp_path / "home"
    home.mkdir()
    (home / "pyproject.toml").write_text("x = 1")
    with pytest.raises(UserError, match=r"home is no report of a study, and not empty \(it has pyproject\.toml\)"):
        write_report(study, home)
    assert [path.name for path in home.iterdir()] == ["pyproject.toml"]
    with pytest.raises(UserError, match="is the study's own folder: --to needs another, such as "):
        write_report(study, study.folder)
    assert study.registration is not None
    write_report(study, tmp_path / "report")
    write_report(study, tmp_path / "report")  # its own
    other = made(name="lost")
    other.folder = tmp_path / "other"
    with pytest.raises(UserError, match=r"has a report of another study, kept\.toml, not of 'lost'"):
        write_report(filled(other), tmp_path / "report")
    assert check_report(tmp_path / "report") > 100


def test_a_look_before_all_seeds_are_there_is_exploratory(made: Any, filled: Any, tmp_path: Path) -> None:
    study = filled(made())
    more = made(('seeds = "0..2"', 'seeds = "0..3"'))
    register(more.file, more.folder, 0)
    write_report(more, tmp_path / "report", partial=True)
    page = (tmp_path / "report" / "README.md").read_text()
    assert "**Exploratory: of 4 seeds that were registered 3 have all arms so far.**" in page
    assert "**Predictions and outcomes (exploratory)**" in page
    assert study.folder == more.folder


def test_the_page_has_the_sizes_of_what_tuning_chose(made: Any, filled: Any, tmp_path: Path) -> None:
    tune = 'tune = {expansion = [2.0], seeds = [9], by = "return(far)"}\nseeds = '
    write_report(filled(made(("seeds = ", tune))), tmp_path / "report")
    arm = json.loads((tmp_path / "report" / "trials.json").read_text())["arms"]["gru"]
    untuned = made(name="plain")
    untuned.folder = tmp_path / "untuned"
    write_report(filled(untuned), tmp_path / "plain")
    plain = json.loads((tmp_path / "plain" / "trials.json").read_text())["arms"]["gru"]
    assert (arm["expansion"], arm["tuned"], plain["expansion"]) == (2.0, {"expansion": "2.0"}, 1.0)
    assert arm["parameters"] > plain["parameters"]


def test_a_damaged_trials_json_is_named_with_its_entry(report: Path) -> None:
    path = report / "trials.json"
    whole = path.read_text()

    def damaged(change: Any) -> str:
        content = json.loads(whole)
        change(content)
        path.write_text(json.dumps(content))
        with pytest.raises(UserError) as caught:
            check_report(report)
        return str(caught.value).removeprefix(f"{path}")

    assert damaged(lambda x: x["arms"].pop("gru")) == " is of arms gated_delta; the study has gated_delta, gru"
    assert damaged(lambda x: x["arms"]["gru"].pop("tuned")) == ", arm gru: tuned is missing"
    assert damaged(lambda x: x["arms"]["gru"].update(steps="many")).startswith(", arm gru: steps must be an integer")
    assert damaged(lambda x: x["trials"][0].pop("code")) == ", trial 1: code is missing"
    assert damaged(lambda x: x["trials"][2].update(seconds=[1])).startswith(", trial 3: seconds must be a number")
    assert (
        damaged(lambda x: x["trials"][1].update(arm="lstm"))
        == ", trial 2: no arm 'lstm'; the study has gated_delta, gru"
    )
    assert damaged(lambda x: x.update(trials={})).endswith("`arms` must be a table, and `trials` a list")
    path.write_text(whole[:-9])
    with pytest.raises(UserError, match=r"trials\.json cannot be read: JSONDecodeError"):
        check_report(report)
    path.write_text(whole)
    pq.write_table(pa.table({"arm": ["gru"], "x": [1]}), report / "rows.parquet")
    with pytest.raises(UserError, match=r"rows\.parquet has no rows of a study: it lacks seed, test, quantity, "):
        check_report(report)


def test_without_results_there_is_nothing_to_report(made: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="study 'kept' has 0 of 6 trials"):
        write_report(made(), tmp_path / "report")
    with pytest.raises(UserError, match="study 'kept' has no results"):
        write_report(made(), tmp_path / "report", partial=True)
    assert not (tmp_path / "report").exists()
