"""A process of its own that answers questions, such as of environments: whatever ends it, this process goes on.

    message   [(slot, task, method, arguments), ...], answered in this order, up to the first that raises
    reply     the answers, and the warnings that were given meanwhile

It is a fork of this process, so it knows all that this one knows, and needs nothing that can be pickled but answers.
It ends when this process closes it, forgets it or ends, however that is. Signals that a terminal or a queue sends to
all processes are answered here alone. What it was at work on when it ended is in memory that both share.
"""

import contextlib
import faulthandler
import gc
import mmap
import os
import pickle
import select
import signal
import socket
import struct
import sys
import tempfile
import time
import traceback
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from lifelong.envs.entries import ContractError

__all__ = ["FarError", "ProcessEndedError", "Request", "Worker", "call_apart"]

Request = tuple[int, int, str, tuple[Any, ...]]
"""Slot, number of the task, method and arguments."""
Answering = Callable[..., Any]
"""Answers (slot, task, method, *arguments) in the other process."""

_END = (0, 0, "end", ())  # message: close everything, and end
_LOOK = 1000  # milliseconds between two looks at whether the other process still lives
_PATIENCE = 10.0  # seconds that it has for closing its environments
_HEAD = struct.Struct("=Q")
_AT = struct.Struct("=q")
_IDLE = -1  # place in the message, while none is answered
_LONGEST = 4000  # characters of what it said when it ended
_RAISED: dict[str, type[Exception]] = {kind.__name__: kind for kind in (ValueError, TypeError, ImportError)}
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGXCPU")


class FarError(ContractError):
    """Something raised in another process; the text says what."""

    def __init__(self, text: str) -> None:
        RuntimeError.__init__(self, text)
        self.entry = ""


class ProcessEndedError(ContractError):
    """A process has ended while it answered.

    Args:
        slot: of which the question was.
        entry: what was asked, or nothing where the process was idle.
        how: in words.
        place: of the question among those that were asked at once.
    """

    def __init__(self, slot: int, entry: str, how: str, place: int = 0) -> None:
        super().__init__(entry or "its process", f"ended {'its process' if entry else 'between two steps'}: {how}")
        self.slot, self.how, self.place = slot, how, place


class Worker:
    """A process that is begun by `start`, and answers until `close`, or until this object is forgotten.

    Args:
        serve: called in the process, once; returns what answers there. Its attribute `close`, if it has one, is called
            at the end.
    """

    def __init__(self, serve: Callable[[], Answering]) -> None:
        self._serve = serve
        self._process: _Process | None = None
        self._sent: deque[Request] = deque()  # and not answered to whom asked
        self._answers: deque[Any] = deque()  # received, of the first of them
        self._waits, self._whole = False, True  # whether a reply is to come, and no message was cut
        self.processes = 0
        """How many there were; those that know an earlier one know nothing of the present one."""

    @property
    def pid(self) -> int | None:
        """Number of the process; None if there is none, or none that could still be understood."""
        return self._process.pid if self._process is not None and self._whole else None

    def start(self) -> None:
        """Begin a process, unless there is one.

        Raises:
            ValueError: if this system cannot fork.
        """
        self._forget()
        if self._process is None:
            self._process = _Process(self._serve)
            weakref.finalize(self, self._process.close)
            self.processes += 1

    def ahead(self, requests: Sequence[Request]) -> None:
        """Ask, and do not wait: `answer` then finds the answers that have come, in this order.

        Raises:
            ProcessEndedError: if the process has ended.
            ContractError: if it had ended before.
        """
        self._forget()
        self._sent.extend(requests)
        self._send(self._living())

    def answer(self, request: Request) -> Any:
        """Return the answer to a question, which is asked now unless it is the next of those asked ahead.

        Raises:
            ProcessEndedError: if the process has ended, with the slot for which it was at work.
            Exception: `ContractError`, `ValueError`, `TypeError`, `ImportError` and `KeyboardInterrupt` as they were
                raised there; any other as `FarError`.
        """
        if not self._sent or self._sent[0][:3] != request[:3]:
            self.ahead([request])
        if not self._answers:
            self._receive()
        self._sent.popleft()
        raised, value = self._answers.popleft()
        if raised:
            self._sent.clear()  # the others were not answered
            self._answers.clear()
            _raise(*value)
        return value

    def close(self) -> None:
        """Let the process close what it has, and end; it is killed if that takes more than ten seconds.

        That it ends in another way is a warning, since nothing is lost by it.
        """
        if self._process is None:
            return
        try:
            self._forget()
            if self._process is not None:
                self._sent.append(_END)
                self._send(self._process)
                self._receive(_PATIENCE)
        except ProcessEndedError as error:
            warnings.warn(str(error), RuntimeWarning, stacklevel=3)
        finally:
            self._end()

    def _living(self) -> "_Process":
        if self._process is None:
            method = self._sent.popleft()[2]
            self._sent.clear()
            raise ContractError(_entry(method), "is of a process that has ended; reset begins another")
        return self._process

    def _send(self, process: "_Process") -> None:
        self._waits, self._whole = True, False
        data = pickle.dumps(list(self._sent), pickle.HIGHEST_PROTOCOL)
        try:
            process.socket.sendall(_HEAD.pack(len(data)) + data)
        except OSError as error:
            raise self._ended(process) from error
        self._whole = True

    def _receive(self, limit: float | None = None) -> None:
        process = self._living()
        until = None if limit is None else time.monotonic() + limit
        self._whole = False
        try:
            data = process.read(until)
        except (EOFError, OSError) as error:
            raise self._ended(process) from error
        self._waits, self._whole = False, True
        answers, told = pickle.loads(data)  # noqa: S301  of a fork of ours
        self._answers.extend(answers)
        for text, category, filename, line in told:
            warnings.warn_explicit(text, category, filename, line)

    def _forget(self) -> None:
        """Drop what was asked and not looked at."""
        if self._process is not None and not self._whole:  # something was raised here in the middle of a message
            self._end()
        elif self._process is not None and self._waits:
            with contextlib.suppress(ProcessEndedError):
                self._receive()
        self._sent.clear()
        self._answers.clear()

    def _ended(self, process: "_Process") -> ProcessEndedError:
        """Return which question ended the process, and how."""
        at, asked = process.at_work(), list(self._sent)
        how, dump = process.reap(), process.last_words()
        self._end()
        place = at if 0 <= at < len(asked) else 0
        slot, _, method, _ = asked[place]
        error = ProcessEndedError(slot, "" if at == _IDLE else _entry(method), how, place)
        if dump:
            error.add_note(dump)
        return error

    def _end(self) -> None:
        if self._process is not None:
            self._process.close()
        self._process, self._waits, self._whole = None, False, True
        self._sent.clear()
        self._answers.clear()


def call_apart(function: Callable[[], Any]) -> Any:
    """Return what a function returns, called in a process of its own.

    Raises:
        ProcessEndedError: if it ends the process.
        Exception: as `Worker.answer`.
    """
    worker = Worker(lambda: lambda *_: function())
    worker.start()
    try:
        return worker.answer((0, 0, "call", ()))
    finally:
        worker.close()


class _Process:
    """A fork of this process, as this one sees it."""

    def __init__(self, serve: Callable[[], Answering]) -> None:
        if not hasattr(os, "fork"):
            raise ValueError(f"env_workers must be 0 on {sys.platform}, which cannot fork")
        self.socket, theirs = socket.socketpair()
        self._at, self._dump = mmap.mmap(-1, _AT.size), tempfile.TemporaryFile()  # noqa: SIM115  closed below
        _AT.pack_into(self._at, 0, _IDLE)
        self._parent, self._ended = os.getpid(), False
        self._status: int | None = None
        self.pid = os.fork()
        if not self.pid:
            _be_the_other(serve, self, theirs)
        theirs.close()
        self._poll = select.poll()
        self._poll.register(self.socket, select.POLLIN)
        _LIVING.add(self)

    def read(self, until: float | None) -> bytearray:
        """Return the next message of the process.

        Raises:
            EOFError: if it has ended.
            OSError: if it cannot be reached, or the time is over.
        """
        return self._read(_HEAD.unpack(self._read(_HEAD.size, until))[0], until)

    def _read(self, size: int, until: float | None) -> bytearray:
        data, got = bytearray(size), 0
        view = memoryview(data)
        while got < size:
            while not self._poll.poll(_LOOK):
                if self._has_ended():  # what it has begun itself may hold the connection open
                    raise EOFError
                if until is not None and time.monotonic() > until:
                    raise TimeoutError
            n = self.socket.recv_into(view[got:])
            if not n:
                raise EOFError
            got += n
        return data

    def at_work(self) -> int:
        """Return the place in the message of what it answers; -1 for none."""
        return int(_AT.unpack_from(self._at)[0])

    def last_words(self) -> str:
        """Return what it wrote where it was when it ended."""
        said = os.pread(self._dump.fileno(), _LONGEST, 0).decode(errors="replace")
        return said.partition("\n\nExtension modules: ")[0].strip()

    def reap(self) -> str:
        """Wait for its end, or enforce it, and return in words how it has ended."""
        until = time.monotonic() + _PATIENCE
        while not self._has_ended():
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.001)
        if self._status is None:
            return "nobody knows how"
        code = os.waitstatus_to_exitcode(self._status)
        if code >= 0:
            return f"exit status {code}"
        memory = "; was there no memory left?" if -code == signal.SIGKILL else ""
        return f"signal {-code}, {signal.strsignal(-code)}{memory}"

    def close(self) -> None:
        """Let it end, and wait for that."""
        if os.getpid() != self._parent or self._dump.closed:  # in a fork, or done
            return
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # of copies in forks too
        self.reap()
        self.socket.close()
        self._at.close()
        self._dump.close()
        _LIVING.discard(self)

    def _has_ended(self) -> bool:
        if os.getpid() != self._parent:  # in the fork itself: whether the other has
            return os.getppid() != self._parent
        if not self._ended:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else has waited for it
                self._ended = True
            else:
                if pid:
                    self._ended, self._status = True, status
        return self._ended

    # ---- in the other process ---------------------------------------------------------------------------------------

    def answer(self, serve: Callable[[], Answering], theirs: socket.socket) -> None:
        """Answer until this process is no longer wanted."""
        told: list[tuple[str, type[Warning], str, int]] = []

        def note(
            message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any, **__: Any
        ) -> None:
            own = next(kind for kind in category.__mro__ if kind.__module__ == "builtins")
            told.append((str(message), own, filename, lineno))

        warnings.showwarning = note
        answering = serve()
        close = getattr(answering, "close", lambda: None)
        self._poll = select.poll()
        self._poll.register(theirs, select.POLLIN)
        self.socket = theirs
        while (message := self._message()) is not None:
            answers: list[Any] = []
            for place, (slot, task, method, given) in enumerate(message):
                _AT.pack_into(self._at, 0, place)
                try:
                    answers.append((False, close() if method == "end" else answering(slot, task, method, *given)))
                except BaseException as error:  # noqa: BLE001  whatever it is, the other process is told
                    answers.append((True, _told(error)))
                    break
            try:
                data = pickle.dumps((answers, told), pickle.HIGHEST_PROTOCOL)
            except Exception as error:  # noqa: BLE001  of what cannot be pickled
                data = pickle.dumps(([(True, _told(error))], told), pickle.HIGHEST_PROTOCOL)
            told.clear()
            _AT.pack_into(self._at, 0, _IDLE)
            theirs.sendall(_HEAD.pack(len(data)) + data)
            if message[-1][2] == "end":
                return
        close()

    def _message(self) -> list[Request] | None:
        """Return the next message; None if there is nobody any more."""
        while not self._poll.poll(_LOOK):
            if os.getppid() != self._parent:
                return None
        try:
            message: list[Request] = pickle.loads(self.read(None))  # noqa: S301  of the process this is a fork of
        except (EOFError, OSError):
            return None
        return message


_LIVING: "weakref.WeakSet[_Process]" = weakref.WeakSet()


def _be_the_other(serve: Callable[[], Answering], process: _Process, theirs: socket.socket) -> NoReturn:
    """Serve in the fork, and end it."""
    code = 1
    try:
        gc.freeze()  # what was there is the other process's to collect
        for other in (process, *_LIVING):
            other.socket.close()
        for name in _SIGNALS:
            signal.signal(getattr(signal, name), _answer_nothing)
        os.register_at_fork(after_in_child=_answer_as_usual)
        _kept = sys.stdout, sys.stderr  # with what is not written yet, and locks of threads: not to be closed here
        sys.stdout, sys.stderr = (open(fd, "w", buffering=1, closefd=False) for fd in (1, 2))  # noqa: SIM115
        faulthandler.enable(process._dump, all_threads=False)
        torch: Any = sys.modules.get("torch")
        if torch is not None:
            torch.set_num_threads(1)  # threads of OpenMP do not survive a fork
        process.answer(serve, theirs)
        code = 0
    except BaseException:  # noqa: BLE001  the other process tells
        with contextlib.suppress(Exception):
            os.write(process._dump.fileno(), traceback.format_exc().encode())
    finally:
        os._exit(code)


def _answer_nothing(*_: Any) -> None:
    """Do nothing at a signal; unlike SIG_IGN it is not what programs begin with that this process starts."""


def _answer_as_usual() -> None:
    """Let signals end what an environment has forked, as it may expect."""
    for name in _SIGNALS:
        signal.signal(getattr(signal, name), signal.SIG_DFL)


def _told(error: BaseException) -> tuple[str, str, str, str]:
    """Return kind, entry, text and traceback of an error."""
    trace = "".join(traceback.format_exception(error))
    if isinstance(error, ContractError):
        return "ContractError", error.entry, str(error), trace
    if isinstance(error, KeyboardInterrupt):
        return "KeyboardInterrupt", "", str(error), trace
    kind = next((name for name, known in _RAISED.items() if type(error) is known), "")
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  whatever foreign exceptions raise
        text = "what cannot be shown"
    return kind, "", text if kind else f"{type(error).__name__}: {text}", trace


def _raise(kind: str, entry: str, text: str, trace: str) -> NoReturn:
    """Raise what was told of an error."""
    error: BaseException
    if kind == "KeyboardInterrupt":
        error = KeyboardInterrupt(text)
    elif kind == "ContractError":
        error = ContractError(entry, text.removeprefix(f"{entry} "))
    else:
        error = _RAISED[kind](text) if kind else FarError(text)
    error.add_note(trace)
    raise error


def _entry(method: str) -> str:
    return "close()" if method == "end" else f"{method}()"
