"""The picture of TensorBoard's first page; it needs playwright (extra `docs`) and a browser."""

import importlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import rgb_to_hsv
from matplotlib.image import imread

from lifelong.experiments.metrics.curve import RetentionCurve
from lifelong.experiments.runs.tensorboard import RunWriter

DOCS = Path(__file__).resolve().parents[1] / "docs"
FIRST_CHART = np.s_[310:530, 410:810]  # rows and columns of the picture


@pytest.fixture
def screenshot(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return docs/screenshot.py as a module."""
    pytest.importorskip("playwright")
    monkeypatch.syspath_prepend(str(DOCS))
    return importlib.import_module("screenshot")


def write_run(folder: Path, rho: tuple[float, ...]) -> None:
    curve = RetentionCurve(
        measure="recall", rho=rho, low=rho, high=rho, score=rho, count=(90,) * len(rho), area=0.5, area_low=0.4,
        area_high=0.6, minimum=30,
    )  # fmt: skip
    with RunWriter(folder) as writer:
        writer.retention(curve, 1000)


@pytest.mark.slow
def test_the_retention_curve_of_every_run_is_in_the_picture(screenshot: Any, tmp_path: Path) -> None:
    if not any(map(shutil.which, screenshot.BROWSERS)):
        pytest.skip("no browser")
    write_run(tmp_path / "runs" / "remembers", (1.0, 0.95, 0.9, 0.85))
    write_run(tmp_path / "runs" / "forgets", (0.9, 0.5, 0.2, 0.1))
    screenshot.screenshot(tmp_path / "runs", tmp_path / "new" / "page.png")
    picture = imread(tmp_path / "new" / "page.png")[..., :3]
    assert picture.shape == (1000, 1600, 3)
    pixels = picture[FIRST_CHART].reshape(-1, 3)
    coloured = pixels[np.ptp(pixels, axis=1) > 0.1]  # neither paper, nor grid, nor text
    hues, counts = np.unique(rgb_to_hsv(coloured)[:, 0].round(1), return_counts=True)
    assert (counts > 300).sum() == 2, dict(zip(hues, counts, strict=True))  # two lines, whatever their shades


def test_a_folder_without_runs_has_no_picture(screenshot: Any, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no runs in "):
        screenshot.screenshot(tmp_path, tmp_path / "page.png")
