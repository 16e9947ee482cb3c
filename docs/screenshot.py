"""Take a picture of TensorBoard's first page, for the README.

pip install 'lifelong-rl[docs]'; apt install chromium
python docs/screenshot.py runs docs/retention.png
"""

import argparse
import socket
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from lifelong.experiments.runs.tensorboard import first_page

CHROMIUM = "/usr/bin/chromium"


def screenshot(runs: Path, path: Path, seconds: float = 10.0) -> None:
    """Write a PNG of the page on which TensorBoard opens.

    Args:
        runs: folder of the runs.
        path: of the picture.
        seconds: to wait for the charts.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["-m", "tensorboard.main", "--logdir", str(runs), "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True)  # noqa: S603
    try:
        for line in server.stderr or ():
            if "http://" in line:
                break
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1600, "height": 1000})
            page.goto(first_page(f"http://127.0.0.1:{port}"))
            page.wait_for_timeout(1000 * seconds)
            page.screenshot(path=path)
            browser.close()
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("path", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0)
    words = parser.parse_args()
    screenshot(words.runs, words.path, words.seconds)
    sys.stdout.write(f"wrote {words.path}\n")
