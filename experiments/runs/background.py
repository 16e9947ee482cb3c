"""Writer in the background: one piece of work at a time, while training goes on."""

import threading
import time
from collections.abc import Callable

__all__ = ["Background"]


class Background:
    """Does what it is given in a thread; what that raises is raised where it is waited for."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self.spent = 0.0
        """Processor seconds of the last piece of work."""

    @property
    def busy(self) -> bool:
        """Whether there is work that is not done."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, work: Callable[[], None]) -> None:
        """Begin a piece of work, once the one before is done.

        Args:
            work: reads only what nobody else writes.

        Raises:
            Exception: what the one before raised; nothing is begun then.
        """
        self.wait()
        self._thread = threading.Thread(target=self._do, args=(work,), name="lifelong checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Wait until all is done.

        Raises:
            Exception: what the work raised; once.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _do(self, work: Callable[[], None]) -> None:
        began = time.thread_time()
        try:
            work()
        except BaseException as error:  # noqa: BLE001  it is raised by `wait`
            self._error = error
        self.spent = time.thread_time() - began
