"""Signals in real jobs: one line, status 130 or 143, and no process left after five seconds.

`tests/jobs/framework/test_signals.py` has the odd moments, in a small job. Here a terminal sends Ctrl-C to all
processes of a job, a supervisor sends SIGTERM to the first, and some send it to all.
"""

import os
import pty
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from jobs.framework.registry import NAMES
from pipeline.archive.archive import Archive
from tests.conftest import photo_like
from tests.interrupting import LEFT_SECONDS, command, interrupted, line

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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("number", "whole_group"), [(signal.SIGINT, True), (signal.SIGTERM, False), (15, True)])
@pytest.mark.parametrize(
    ("job", "when"),
    [
        ("encode ARCHIVE --executor local", "stage=plan"),
        ("encode ARCHIVE --executor ray", "starting Ray ..."),
        ("encode ARCHIVE --executor ray", "stage=plan"),
        ("train --out OUT --init MODEL --batch 2 --crop 64 --workers 2", "starting Ray ..."),
        ("train --out OUT --init MODEL --batch 2 --crop 64 --workers 2", "minute 0."),
        ("tune --out OUT --init MODEL --minutes 5 --trials 2 --batch 2 --crop 64", "starting Ray ..."),
        ("evaluate --out OUT --model MODEL --workers 2", "measuring"),
    ],
)
def test_a_job_at_work_ends_with_all_of_its_processes(
    job: str, when: str, number: int, whole_group: bool, photos: Path, tmp_path: Path, tiny_model_folder: Path
) -> None:
    name, *words = job.split()
    places = {"ARCHIVE": tmp_path / "archive", "OUT": tmp_path / "out", "MODEL": tiny_model_folder}
    options = [places.get(word, word) for word in words]
    if name == "encode":
        options += ["--model", tiny_model_folder]
    after = 3.0 if when == "starting Ray ..." else 1.0 if name != "encode" else 0.2
    ended = interrupted(
        command(name, photos, *options),
        number,
        lambda said: when in said,
        tmp_path,
        after=after,
        whole_group=whole_group,
    )
    assert (ended.status, ended.said.splitlines(True)[-1]) == (128 + number, line(number)), ended
    assert ended.seconds < LEFT_SECONDS and ended.left == [], ended
    assert "Traceback" not in ended.said and "***" not in ended.said, "a stack of Python or of native code"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("executor", ["local", "ray"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_decode_ends_with_all_of_its_processes(
    number: int, executor: str, small_archive: Archive, tmp_path: Path
) -> None:
    dest = tmp_path / "restored"
    words = command("decode", small_archive.url, dest, "--executor", executor)
    ended = interrupted(words, number, lambda said: dest.is_dir() and any(dest.rglob("*.png")), tmp_path)
    assert (ended.status, ended.said.splitlines(True)[-1]) == (128 + number, line(number)), ended
    assert ended.seconds < LEFT_SECONDS and ended.left == [], ended


@pytest.fixture
def silent_server() -> Iterator[tuple[str, threading.Event]]:
    """A server that accepts connections and never answers: its address, and whether somebody has connected."""
    listener, asked = socket.create_server(("127.0.0.1", 0)), threading.Event()
    held = []

    def accept() -> None:
        while True:
            try:
                held.append(listener.accept()[0])
            except OSError:  # closed
                return
            if held[-1].recv(1, socket.MSG_PEEK):  # not a look whether somebody listens
                asked.set()

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    listener.close()
    for connection in held:
        connection.close()


WORDS = {
    "train": "s3://b/photos --out s3://b/out",
    "encode": "s3://b/photos s3://b/archive",
    "sync": "--source s3://b/photos --archive s3://b/archive",
    "decode": "s3://b/archive s3://b/out",
    "estimate": "s3://b/photos",
    "evaluate": "s3://b/photos --out s3://b/out",
    "tune": "s3://b/photos --out s3://b/out",
    "probe": "s3://b/archive --label-from-key (.*)/",
    "submit": "--address SERVER -- status s3://b/archive",
    "restore": "s3://b/archive 1",
    "compress": "s3://b/photo.png s3://b/photo.mae",
    "decompress": "s3://b/photo.mae s3://b/photo.png",
    "browse": "s3://b/archive --port 0",
    "release": "s3://b/photos s3://b/archive",
    "forget": "s3://b/archive --keys a",
    "replicate": "s3://b/archive s3://b/copy",
    "export": "s3://b/archive s3://b/out",
}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("job", [name for name in NAMES if name != "demo"])  # it asks no server of others
def test_every_job_ends_while_a_server_does_not_answer(
    job: str,
    number: int,
    tmp_path: Path,
    silent_server: tuple[str, threading.Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It waits in native code for the most part: boto's sockets, or the Rust of delta-rs, where no handler runs."""
    address, asked = silent_server
    for name, value in (("AWS_ENDPOINT_URL", address), ("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s")):
        monkeypatch.setenv(name, value)
    words = WORDS.get(job, "s3://b/archive").replace("SERVER", address).split()
    ended = interrupted(command(job, *words), number, lambda said: asked.is_set(), tmp_path, after=0.3)
    assert (ended.status, ended.said) == (128 + number, line(number))
    assert ended.seconds < LEFT_SECONDS and ended.left == []
