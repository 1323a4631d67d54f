"""SIGINT, SIGTERM and SIGHUP end every job in the same way: one line, status 128 + number, and no process left.

    first signal      KeyboardInterrupt in the main thread, so that the job cleans up: it commits what is finished,
                      gives back its lease, ends Ray
    second signal,
    or GRACE_SECONDS  every child process is killed, and the process ends, whatever it is waiting for

Python runs handlers only between two steps of the main thread, which may be waiting in native code, and Ray, Ray Tune
and servers replace them. So Python also writes each signal into a pipe (`signal.set_wakeup_fd`), and a thread that
reads it keeps the time.

Nothing heavy is imported here: signals are handled before the job's modules are imported.
"""

import atexit
import io
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from jobs.framework.children import adopt_orphans, end_children
from pipeline.monitoring.log import line

GRACE_SECONDS = 3.0
"""Time for cleaning up. Kubernetes and Docker allow 30 and 10 seconds before they kill."""
SAME_SECONDS = 0.3
"""Signals within this time of the first count as one: a terminal, a shell and a supervisor may all send one."""
DEFAULT_STATUS = 128 + signal.SIGINT
HINT = "the same command continues from the last commit, if there is one"
_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Interruptions:
    """The signals of this process while a job runs.

    Attributes:
        number: of the first signal; None before it came.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._postponed = False
        self._said = False
        self._saying = threading.Lock()
        self._before: dict[int, object] = {}

    def install(self) -> None:
        """Handle signals; those that whoever started the job has switched off (`nohup`) stay so."""
        self._source, self._sink = os.pipe()
        os.set_blocking(self._sink, False)
        self._pipe_before = signal.set_wakeup_fd(self._sink, warn_on_full_buffer=False)
        for number in _HANDLED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.getsignal(number)
        self.reinstall()
        threading.Thread(target=self._watch, name="maepress-signals", daemon=True).start()

    def reinstall(self) -> None:
        """Take the signals back from whoever has taken them."""
        for number in self._before:
            signal.signal(number, self._handle)

    def finish(self) -> None:
        """From now on a signal interrupts nothing; the end of the process is watched all the same."""
        self._postponed = True

    def uninstall(self) -> None:
        """Handle signals as before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what getsignal returned
        signal.set_wakeup_fd(self._pipe_before)
        os.close(self._sink)  # ends the thread

    def forget(self) -> None:
        """In a forked child: its signals are its own, and must not reach the parent's pipe."""
        signal.set_wakeup_fd(-1)
        for number in self._before:
            signal.signal(number, signal.SIG_DFL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:  # a later one must not interrupt the cleaning up
            self.number = number
            # Errors in threads, and in what Python calls while it frees memory, are consequences.
            sys.unraisablehook = threading.excepthook = _ignore
            if not self._postponed:
                raise KeyboardInterrupt

    @contextmanager
    def postponed(self) -> Iterator[None]:
        """Let a signal interrupt at the end of a `with` block."""
        self._postponed = True
        try:
            yield
        finally:
            self._postponed = False
        if self.number is not None:
            raise KeyboardInterrupt

    def _watch(self) -> None:
        """Wait for a signal, and then for a second one, or for the end of the time."""
        if not (first := self._next(None)):
            os.close(self._source)
            return
        deadline = time.monotonic() + GRACE_SECONDS
        adopt_orphans()
        time.sleep(SAME_SECONDS)
        os.set_blocking(self._source, False)
        with suppress(BlockingIOError):
            os.read(self._source, 1 << 10)
        self._next(deadline - time.monotonic())
        self.number = self.number or first  # its handler may not have run
        end_children()
        self.say(None, prefix="\x1b[?25h\n")  # progress may stand in the line, with the cursor hidden
        os._exit(128 + self.number)

    def _next(self, seconds: float | None) -> int | None:
        """The next signal that is handled here; None when the time is over, or nothing is handled any more."""
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if end is None else max(0.0, end - time.monotonic())
            if not select.select([self._source], [], [], left)[0]:
                return None
            numbers = os.read(self._source, 1)
            if not numbers or numbers[0] in self._before:
                return numbers[0] if numbers else None

    def say(self, hint: object, prefix: str = "") -> None:
        """Say once, on standard error, what ended the job.

        Args:
            hint: what follows from it; None for the usual.
            prefix: what a terminal gets first.
        """
        with self._saying:
            if self._said:
                return
            self._said = True
        name = "" if self.number in (None, signal.SIGINT) else f" by {signal.Signals(self.number).name}"
        said = line(f"maepress: interrupted{name}; {hint or HINT}", "WARNING") + "\n"
        with suppress(OSError, ValueError):  # it may be closed
            try:
                end = sys.stderr.fileno()
            except io.UnsupportedOperation:  # in a test or a notebook
                print(said, end="", file=sys.stderr)
            else:
                # Without a buffer, which the main thread may hold, and not if whoever should read it does not.
                if select.select([], [end], [], 1.0)[1]:
                    os.write(end, ((prefix if os.isatty(end) else "") + said).encode())


def _ignore(error: object) -> None:
    """In place of `sys.unraisablehook` and `threading.excepthook`."""


_current: _Interruptions | None = None


def interruptible(action: Callable[[], int], *, last: bool = False) -> int:
    """Run a job, or a part of one; a signal ends it as this module says.

    Calls may be nested: the outermost one handles signals. A KeyboardInterrupt with a text passes that text on to the
    user in place of `HINT`.

    Args:
        action: returns the exit status.
        last: whether the process ends afterwards: its end is watched as well, and a signal ends it here.

    Returns:
        The exit status. After a signal the caller should end the process: `GRACE_SECONDS` after the signal it is ended.
    """
    global _current
    if _current is not None:
        return action()
    current = _current = _Interruptions()
    here = threading.current_thread() is threading.main_thread()  # no other thread can handle signals
    status, hint, ended = DEFAULT_STATUS, None, False
    try:
        if here:
            current.install()
        status = action()
        current.finish()
    except BaseException as e:
        current.finish()
        # What was interrupted may report it in its own way, as SystemExit or as an error of Ray's.
        ended = isinstance(e, KeyboardInterrupt)
        if current.number is None and not ended:
            raise
        hint = e.args[0] if ended and e.args else None
    finally:
        if current.number is None and not last:
            _current = None
            if here:
                current.uninstall()
    if current.number is not None:
        current.say(hint)
        end_children()
        if last:
            _leave(128 + current.number)
        return 128 + current.number
    if ended:
        current.say(hint)
    return status


def _leave(status: int) -> NoReturn:
    """End the process, but do not wait for its threads, nor for native code that takes seconds to put things away."""
    with suppress(BaseException):
        atexit._run_exitfuncs()  # removes temporary folders
        sys.stdout.flush()
    os._exit(status)


def interrupted() -> bool:
    """Whether a signal has come: errors that follow are its consequences."""
    return _current is not None and _current.number is not None


def reinstall() -> None:
    """Take the signals back, after the call of a library that takes them."""
    if _current is not None and threading.current_thread() is threading.main_thread():
        _current.reinstall()


@contextmanager
def postponed() -> Iterator[None]:
    """Let a signal interrupt only at the end of a `with` block, as far as `GRACE_SECONDS` allow."""
    if _current is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    with _current.postponed():
        yield


def _forget_in_child() -> None:
    if _current is not None:
        _current.forget()


os.register_at_fork(after_in_child=_forget_in_child)
