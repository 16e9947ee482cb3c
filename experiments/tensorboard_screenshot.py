"""Take a picture of TensorBoard's first page: `python experiments/tensorboard_screenshot.py runs retention.png`.

Starts TensorBoard on a loopback port of its own, lets a headless chromium (Debian's; `apt install chromium`) draw the
page that `runs.tensorboard.first_page` names, and stops both. Chromium is driven over a pipe with the
DevTools protocol, because the page goes on drawing long after it has loaded.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.request import urlopen

import tyro

from lifelong.experiments.runs.tensorboard import first_page

__all__ = ["screenshot", "serve"]

# Nothing but the page is fetched, and nothing but it is drawn.
_CHROMIUM = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-pipe"
)


class Chromium:
    """A headless chromium with one page, driven over a pipe.

    Args:
        width: of the page, pixels.
        height: of the page, pixels.

    Raises:
        FileNotFoundError: if there is no chromium on the path.
    """

    def __init__(self, width: int, height: int) -> None:
        program = shutil.which("chromium")
        if program is None:
            raise FileNotFoundError("no chromium on the path; apt install chromium")
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        # Chromium reads commands from descriptor 3 and answers on 4; a shell puts our pipes there.
        options = [*_CHROMIUM.split(), f"--window-size={width},{height}", f"--user-data-dir={self._profile.name}"]
        script = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(  # noqa: S603  the program is Debian's, the options are ours
            ["/bin/bash", "-c", script, program, *options, "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._out: IO[bytes] = os.fdopen(ours_out, "wb", buffering=0)
        self._in: IO[bytes] = os.fdopen(ours_in, "rb")
        self._number = 0
        target = next(t for t in self._ask("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self._ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session: str = attached["sessionId"]
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._tell("Emulation.setDeviceMetricsOverride", **size)

    def open(self, url: str) -> None:
        """Go to a page; returns before it is drawn."""
        self._tell("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression on the page."""
        answer = self._tell("Runtime.evaluate", expression=script, returnByValue=True)
        return answer["result"].get("value")

    def picture(self) -> bytes:
        """Return what is seen now, as PNG."""
        return base64.b64decode(self._tell("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait(10)
        self._out.close()
        self._in.close()
        self._profile.cleanup()

    def _tell(self, method: str, **arguments: Any) -> Any:
        return self._ask(method, self._session, **arguments)

    def _ask(self, method: str, session: str | None = None, **arguments: Any) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": arguments}
        if session is not None:
            message["sessionId"] = session
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._next())
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _next(self) -> bytes:
        read = bytearray()
        while (byte := self._in.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("chromium ended before it answered")
            read += byte
        return bytes(read)


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Run TensorBoard on a free loopback port and yield its address, without a slash at the end.

    Args:
        folder: of the runs.

    Raises:
        RuntimeError: if it does not start.
    """
    command = [
        sys.executable,
        "-P",
        "-m",
        "tensorboard.main",
        "--logdir",
        str(folder),
        "--host",
        "127.0.0.1",
        "--port",
        "0",
    ]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603
        try:
            said = ""
            for _ in range(300):
                log.seek(0)
                said = log.read().decode()
                if found := re.search(r"http://127\.0\.0\.1:\d+", said):
                    break
                if server.poll() is not None:
                    raise RuntimeError(f"tensorboard ended: {said}")
                time.sleep(0.1)
            else:
                raise RuntimeError(f"tensorboard did not start within 30 s: {said}")
            yield found[0]
        finally:
            server.terminate()
            server.wait(10)


def screenshot(
    folder: tyro.conf.Positional[Path],
    image: tyro.conf.Positional[Path],
    *,
    page: str | None = None,
    width: int = 1600,
    height: int = 1000,
    seconds: float = 8.0,
) -> None:
    """Write a picture of the first page of TensorBoard over these runs.

    Args:
        folder: of the runs, as in `tensorboard --logdir`.
        image: PNG file to write.
        page: what follows the host in the address; None is the one with the retention curves.
        width: pixels.
        height: pixels.
        seconds: to let the page draw.
    """
    with serve(folder) as address:
        _wait_for_runs(address)
        browser = Chromium(width, height)
        try:
            browser.open(first_page(address) if page is None else address + page)
            time.sleep(seconds)
            image.parent.mkdir(parents=True, exist_ok=True)
            image.write_bytes(browser.picture())
        finally:
            browser.close()


def _wait_for_runs(address: str) -> None:
    """Wait until TensorBoard has read what there is: until two looks in a row see the same tags."""
    before: Any = None
    for _ in range(60):
        with urlopen(f"{address}/data/plugin/timeseries/tags") as answer:  # noqa: S310  a loopback address
            now = json.load(answer).get("scalars")
        if now and now["runTagInfo"] and now == before:
            return
        before = now
        time.sleep(0.5)
    raise RuntimeError("tensorboard finds no scalars")


if __name__ == "__main__":
    tyro.cli(screenshot)
