"""Take a picture of TensorBoard's first page, for the README.

pip install 'lifelong-rl[docs]'; apt install chromium
python -P docs/screenshot.py runs docs/images/retention.png
"""

import argparse
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from lifelong.experiments.runs.tensorboard import first_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")  # of the system; playwright would download its own
CHARTS = "scalar-card line-chart"  # in TensorBoard's page


def screenshot(runs: Path, path: Path, seconds: float = 2.0) -> None:
    """Write a PNG of the page on which TensorBoard opens.

    Args:
        runs: folder of the runs.
        path: of the picture.
        seconds: to wait for the lines once there are charts.

    Raises:
        RuntimeError: if there are no runs or no browser, or TensorBoard does not start.
    """
    if not any(runs.rglob("events.out.tfevents.*")):
        raise RuntimeError(f"no runs in {runs}")
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        raise RuntimeError(f"no browser, looked for {', '.join(BROWSERS)}: apt install chromium")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["-m", "tensorboard.main", "--logdir", str(runs), "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True) as server:  # noqa: S603
        try:
            _wait_until_it_serves(server)
            with sync_playwright() as driver:
                browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
                page = browser.new_page(viewport={"width": 1600, "height": 1000})
                page.goto(first_page(f"http://127.0.0.1:{port}"))
                page.wait_for_selector(CHARTS)
                page.wait_for_timeout(1000 * seconds)
                path.parent.mkdir(parents=True, exist_ok=True)
                page.screenshot(path=path)
                browser.close()
        finally:
            server.terminate()


def _wait_until_it_serves(server: subprocess.Popen[str]) -> None:
    said = ""
    for line in server.stderr or ():
        if "http://" in line:
            return
        said = line.strip() or said
    raise RuntimeError(f"TensorBoard has ended: {said}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of the runs")
    parser.add_argument("path", type=Path, help="picture to write")
    parser.add_argument("--seconds", type=float, default=2.0, help="to wait for the lines (default: %(default)s)")
    words = parser.parse_args()
    screenshot(words.runs, words.path, words.seconds)
    sys.stdout.write(f"wrote {words.path}\n")
