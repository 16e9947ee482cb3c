"""Check that a film can be shown here, before it is made."""

import os
import sys
from pathlib import Path

from lifelong.experiments.runs.errors import UserError

__all__ = ["check_movie", "check_window"]


def check_movie(path: Path) -> None:
    """Validate that a film can be written to a file of this name.

    Raises:
        UserError: if its suffix is none of `.gif` and `.mp4`, or there is no ffmpeg for an MP4.
    """
    if path.suffix not in (".gif", ".mp4"):
        raise UserError(f"a film is a .gif or an .mp4: output={path}")
    if path.suffix == ".mp4":
        from matplotlib.animation import FFMpegWriter

        if not FFMpegWriter.isAvailable():
            raise UserError(f"an .mp4 needs ffmpeg, which is not on PATH: {path.with_suffix('.gif')} needs nothing")


def check_window() -> None:
    """Validate that there is a display.

    Raises:
        UserError: if there is none.
    """
    known = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    if sys.platform == "linux" and not any(os.environ.get(name) for name in known):
        raise UserError("a window needs a display, and neither DISPLAY nor WAYLAND_DISPLAY is set; --output life.gif")
