"""Ctrl-C at a terminal, which all processes of a job get: one line, status 130, and nothing left behind."""

import os
import pty
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import photo_like

PATIENCE = 240.0
ENDING = 60.0
INTERRUPTED = "maepress: interrupted; the same command continues from the last commit, if there is one"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for n in range(8):
        Image.fromarray(photo_like(300, 400, seed=n)).save(folder / f"{n}.png")
    return folder


class Terminal:
    """A command on a terminal of 80 columns, in a session of its own."""

    def __init__(self, *words: object) -> None:
        self.said = b""
        self._pid, self._end = pty.fork()
        if self._pid == 0:
            os.environ.update(COLUMNS="80", TERM="xterm")
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests may run where it is ignored
            os.execv(sys.executable, [sys.executable, "-m", "maepress", *map(str, words)])

    def read_until(self, words: str | None, seconds: float) -> None:
        """Read until it says something; None: until it has closed the terminal."""
        deadline = time.monotonic() + seconds
        os.set_blocking(self._end, False)
        while words is None or words not in self.text():
            assert time.monotonic() < deadline, self.text()
            try:
                data = os.read(self._end, 1 << 16)
            except BlockingIOError:
                time.sleep(0.05)
                continue
            except OSError:  # closed
                data = b""
            if not data:
                assert words is None, self.text()
                return
            self.said += data

    def interrupt(self) -> None:
        """Type Ctrl-C."""
        os.write(self._end, b"\x03")

    def status(self) -> int:
        """The exit status, once it has ended."""
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def kill(self) -> None:
        """End what is left of its session."""
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def text(self) -> str:
        """What it said, without control sequences."""
        return re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", self.said).decode().replace("\r", "\n")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("where", "when"),
    [
        pytest.param("ray", "starting Ray ...", marks=pytest.mark.slow),
        ("ray", "/8 objects"),
        ("local", "/8 objects"),
    ],
)
def test_an_interrupted_encode_says_one_line(
    where: str, when: str, photos: Path, tmp_path: Path, tiny_model_folder: Path
) -> None:
    words = ["encode", photos, tmp_path / "archive", "--model", tiny_model_folder, "--executor", where]
    terminal = Terminal(*words)
    try:
        terminal.read_until(when, PATIENCE)
        time.sleep(1.0)
        terminal.interrupt()
        terminal.read_until(None, ENDING)
        assert terminal.status() == 130, terminal.text()
    finally:
        terminal.kill()
    lines = {line.replace("^C", "").strip() for line in terminal.text().splitlines()} - {"", "starting Ray ..."}
    others = {line for line in lines if "/8 objects" not in line}
    assert others == {INTERRUPTED}, terminal.text()


@pytest.mark.timeout(300)
def test_an_interrupted_evaluation_says_one_line(photos: Path, tmp_path: Path, tiny_model_folder: Path) -> None:
    words = ["--model", tiny_model_folder, "--workers", 2, "--qualities", 64]
    terminal = Terminal("evaluate", photos, "--out", tmp_path / "report", *words)
    try:
        terminal.read_until("measuring", PATIENCE)
        time.sleep(1.0)
        terminal.interrupt()
        terminal.read_until(None, ENDING)
        assert terminal.status() == 130, terminal.text()
    finally:
        terminal.kill()
    assert INTERRUPTED in terminal.text() and "Traceback" not in terminal.text(), terminal.text()
