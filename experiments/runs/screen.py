"""Screens that show a film: a window, or a file, GIF (Pillow) or MP4 (ffmpeg)."""

import errno
import importlib
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any, Protocol

from lifelong.agents.durable import WriteError, writing
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.film import DPI, Film

__all__ = ["Movie", "Screen", "Window"]


class Screen(Protocol):
    """What shows frames."""

    def frame(self, film: Film) -> bool:
        """Show the film as it is now; return whether to go on."""
        ...

    def close(self) -> None:
        """End."""
        ...


class Movie:
    """Writes a film to a file; what its suffix says: `.gif` or `.mp4`.

    Args:
        path: of the file.
        film: that is written.
        fps: frames a second.
    """

    def __init__(self, path: Path, film: Film, fps: int) -> None:
        self._path = path
        from matplotlib.animation import FFMpegWriter, PillowWriter

        self._writer = PillowWriter(fps=fps) if path.suffix == ".gif" else FFMpegWriter(fps=fps)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer.setup(film.figure, path, dpi=DPI)

    def frame(self, film: Film) -> bool:
        """Append the film as it is now."""
        with writing(self._path):
            self._writer.grab_frame()
        return True

    def close(self) -> None:
        """Write the file."""
        try:
            with writing(self._path):
                self._writer.finish()
        except CalledProcessError as error:
            said = " ".join(str(error.stderr or error.output or "").split())
            ended = (
                f"ended by signal {-error.returncode}" if error.returncode < 0 else f"exit status {error.returncode}"
            )
            raise WriteError(errno.EIO, f"ffmpeg: {said or ended}", str(self._path)) from error


class Window:
    """Shows a film in a window.

    Args:
        title: of the window.
        fps: frames a second.
    """

    def __init__(self, title: str, fps: int) -> None:
        self._pygame: Any = importlib.import_module("pygame")  # which MiniGrid brings
        self._pygame.display.init()
        self._pygame.display.set_caption(title)
        self._clock, self._fps = self._pygame.time.Clock(), fps
        self._surface: Any = None

    def frame(self, film: Film) -> bool:
        """Show the film as it is now, in time; return False once the window is closed."""
        pixels = film.pixels()
        size = pixels.shape[1], pixels.shape[0]
        if self._surface is None:
            try:
                self._surface = self._pygame.display.set_mode(size)
            except self._pygame.error as error:
                raise UserError(f"no window can be opened: {error}; --output life.gif") from error
        self._surface.blit(self._pygame.image.frombuffer(pixels.tobytes(), size, "RGBA"), (0, 0))
        self._pygame.display.flip()
        self._clock.tick(self._fps)
        return not any(event.type == self._pygame.QUIT for event in self._pygame.event.get())

    def close(self) -> None:
        """Close the window."""
        self._pygame.display.quit()
