"""A command that gets a signal: what it says from then on, how it ends, and which processes it leaves behind."""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

MARK = "MAEPRESS_TEST_MARK"
LINE = "maepress: interrupted{}; the same command continues from the last commit, if there is one\n"
LEFT_SECONDS = 5.0
"""Time that a job has for ending itself and all of its processes."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    Attributes:
        status: exit status.
        said: standard error from the signal on.
        seconds: from the signal to the end of the process.
        left: command lines of the processes that were left LEFT_SECONDS after the signal.
        errors: all of standard error.
    """

    status: int
    said: str
    seconds: float
    left: list[str]
    errors: str


def line(number: int, says: str = "") -> str:
    """The one line of an interrupted job, whole or up to what follows from it."""
    whole = LINE.format("" if number == signal.SIGINT else f" by {signal.Signals(number).name}")
    return whole.partition("; ")[0] + f"; {says}\n" if says else whole


def interrupted(
    words: Sequence[object],
    number: int,
    ready: Callable[[str], bool],
    folder: Path,
    *,
    after: float = 0.0,
    whole_group: bool = False,
    patience: float = 240.0,
    again: float | None = None,
) -> Ended:
    """Start a command, send it a signal, and wait for its end.

    Args:
        words: the command.
        number: of the signal.
        ready: whether to send it now, called with standard error so far.
        folder: where standard error is kept.
        after: seconds to wait once it is ready.
        whole_group: send it to the processes of the command's group as well, as a terminal does.
        patience: longest time in seconds until it is ready.
        again: seconds after which the signal is sent again.
    """
    mark, errors = uuid.uuid4().hex, folder / f"errors-{uuid.uuid4().hex}"
    with errors.open("wb") as file:
        process = subprocess.Popen(
            [str(word) for word in words],
            stdout=subprocess.DEVNULL,
            stderr=file,
            stdin=subprocess.DEVNULL,
            env=os.environ | {MARK: mark},
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + patience
        while not ready(errors.read_text()):
            assert process.poll() is None, errors.read_text()
            assert time.monotonic() < deadline, errors.read_text()
            time.sleep(0.02)
        time.sleep(after)
        before = len(errors.read_bytes())
        started = time.monotonic()
        send = os.killpg if whole_group else os.kill
        send(process.pid, number)
        if again is not None:
            time.sleep(again)
            send(process.pid, number)
        status = process.wait(60)
        seconds = time.monotonic() - started
        while (left := marked(mark)) and time.monotonic() < started + LEFT_SECONDS:
            time.sleep(0.05)
        text = errors.read_bytes()
        return Ended(status, text[before:].decode(), seconds, list(left.values()), text.decode())
    finally:
        for pid in [*marked(mark)]:
            os.kill(pid, signal.SIGKILL)
        process.wait()


def marked(mark: str) -> dict[int, str]:
    """Command lines of the processes with this value of MARK, by process id."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            if f"{MARK}={mark}\0".encode() in (folder / "environ").read_bytes():
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found[int(folder.name)] = re.sub(r"\s+", " ", words)[:160]
        except OSError:  # somebody else's, or it has just ended
            continue
    return found


def command(*words: object) -> list[str]:
    """`maepress` with arguments."""
    return [sys.executable, "-m", "maepress", *map(str, words)]
