"""Jobs sent to a real Ray head through its job server, over connections that break."""

import contextlib
import json
import os
import select
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from PIL import Image

from jobs.cli import main
from jobs.framework.job_client import Cluster, environment, submission_id_of
from tests.conftest import photo_like
from tests.jobs.head import Head, ray_head

pytestmark = pytest.mark.slow

DAY = date(2026, 11, 24)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    folder = Path(tempfile.mkdtemp(prefix="mae-", dir="/tmp"))
    try:
        with ray_head(folder) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an environment that names no cluster."""
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith(("RAY_", "MAEPRESS_"))]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def inside(here: Path, head: Head, monkeypatch: pytest.MonkeyPatch) -> Head:
    """The head, and its token in the environment."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    return head


class Wire:
    """A TCP connection to a server that can be cut, and forwards again afterwards."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target, self._pairs, self._lock = target, list[socket.socket](), threading.Lock()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Drop every connection that is open now."""
        with self._lock:
            for each in self._pairs:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            self._pairs.clear()

    def _accept(self) -> None:
        while True:
            inside, _ = self._door.accept()
            outside = socket.create_connection(self._target)
            with self._lock:
                self._pairs += [inside, outside]
                self.connections += 1
            threading.Thread(target=self._forward, args=(inside, outside), daemon=True).start()

    @staticmethod
    def _forward(inside: socket.socket, outside: socket.socket) -> None:
        other = {inside: outside, outside: inside}
        with inside, outside, contextlib.suppress(OSError):
            while True:
                for each in select.select(list(other), [], [])[0]:
                    data = each.recv(65536)
                    if not data:
                        return
                    other[each].sendall(data)


def test_a_job_runs_in_a_copy_of_the_folder_and_its_status_and_logs_come_back(
    inside: Head, here: Path, tiny_model_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "nightly").mkdir()
    Image.fromarray(photo_like(64, 80)).save(here / "nightly" / "a.png")
    shutil.copytree(tiny_model_folder, here / "small")
    (here / "settings.yaml").write_text("model: small\nquality: 12\n")
    words = ["compress", "nightly/a.png", str(here / "a.mae"), "--config", "settings.yaml"]

    assert main(["submit", "--address", inside.job_server, "--", *words]) == 0

    seen = capfd.readouterr()
    assert "80x64" in seen.out
    assert "quality 12" in seen.out
    assert (here / "a.mae").read_bytes()[:4] == b"MAEP"
    assert "submitted compress-" in seen.err


def test_a_job_that_fails_ends_with_its_own_exit_status_and_its_one_line(
    inside: Head, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "--address", inside.job_server, "--", "status", "/nowhere/archive"]) == 2
    assert "/nowhere/archive" in capfd.readouterr().out


def test_a_schedule_that_fires_twice_submits_once(inside: Head, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [
        "submit",
        "--address",
        inside.job_server,
        "--json",
        "--no-wait",
        "--quiet",
        "--",
        "status",
        "/nowhere/twice",
    ]
    assert main(words) == 0
    first = json.loads(capfd.readouterr().out)
    assert main(words) == 0
    second = json.loads(capfd.readouterr().out)
    assert (first["submitted"], second["submitted"]) == (True, False)
    assert first["submission_id"] == second["submission_id"]

    assert main(["submit", "--address", inside.job_server, "--", "status", "/nowhere/twice"]) == 2
    seen = capfd.readouterr()
    assert "was submitted before" in seen.err
    assert "/nowhere/twice" in seen.out


def test_logs_go_on_where_they_stopped_when_the_connection_breaks(inside: Head, here: Path) -> None:
    host, port = inside.job_server.removeprefix("http://").split(":")
    wire = Wire((host, int(port)))
    cluster = Cluster(f"http://127.0.0.1:{wire.port}")
    script = (
        "import time\nfor i in range(30):\n    print('line', i, flush=True)\n    time.sleep(0.3)\nraise SystemExit(7)"
    )
    (here / "talk.py").write_text(script)
    assert cluster.submit("python talk.py", "talk-1", environment({}, ""))
    seen: list[str] = []
    cuts = 0

    def show(text: str) -> None:
        nonlocal cuts
        seen.append(text)
        if (cuts == 0 and "line 5\n" in "".join(seen)) or (cuts == 1 and "line 15\n" in "".join(seen)):
            cuts += 1
            threading.Timer(0.1, wire.cut).start()

    before = wire.connections
    ended = cluster.follow("talk-1", show)

    assert cuts == 2
    assert wire.connections - before >= 3
    assert (ended.status, ended.exit_status) == ("FAILED", 7)
    lines = [line for line in "".join(seen).splitlines() if line.startswith("line ")]
    assert lines == [f"line {i}" for i in range(30)]


def test_a_cluster_that_asks_for_a_token_lets_nobody_else_in(
    head: Head, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["submit", "--address", head.job_server, "--", "status", "s3://a/b"]
    for name, value, complaint in (
        ("RAY_AUTH_TOKEN_PATH", str(here / "none"), "asks for a token"),
        ("RAY_AUTH_TOKEN", "0" * 64, "does not accept our token"),
    ):
        monkeypatch.setenv(name, value)
        assert main(words) == 2
        error = capsys.readouterr().err
        assert complaint in error
        assert error.count("\n") == 1
        assert "0" * 64 not in error


def test_an_unreachable_cluster_is_reported_at_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    assert main(["submit", "--address", "http://127.0.0.1:9", "--", "status", "s3://a/b"]) == 2
    assert capsys.readouterr().err.startswith("maepress: no job server at http://127.0.0.1:9 (Connection refused)")
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "JOB is missing"),
        (["--", "fly", "me"], "no job to submit"),
        (["--", "submit", "--", "status", "x"], "no job to submit"),
        (["--", "status", "s3://a/b", "--nonsense"], "unknown option --nonsense"),
        (["--", "encode", "s3://a/b", "s3://c/d", "--quality", "64"], "--quality 64: must be at most 63"),
        (["--", "encode", "s3://a/b", "archive"], "ARCHIVE archive would be lost"),
        (["--", "sync", "../nightly.yaml"], "../nightly.yaml must lie in this folder"),
        (["--requirements", "none.txt", "--", "status", "s3://a/b"], "--requirements none.txt: no such file"),
        (["--submission-id", "a b", "--", "status", "s3://a/b"], "--submission-id a b"),
    ],
)
def test_mistakes_are_answered_before_anything_is_sent(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    assert main(["submit", "--address", "http://127.0.0.1:9", *words]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_an_id_changes_with_the_day_the_words_the_configuration_and_the_settings(here: Path) -> None:
    (here / "a.yaml").write_text("quality: 40\n")
    (here / "b.yaml").write_text("quality: 41\n")
    first = submission_id_of(["sync", "a.yaml"], "a.yaml", {}, DAY)
    assert first == submission_id_of(["sync", "a.yaml"], "a.yaml", {}, DAY)
    assert first.startswith("sync-20261124-")
    others = [
        submission_id_of(["sync", "a.yaml"], "a.yaml", {}, date(2026, 11, 25)),
        submission_id_of(["sync", "a.yaml", "--dry-run"], "a.yaml", {}, DAY),
        submission_id_of(["sync", "a.yaml"], "b.yaml", {}, DAY),
        submission_id_of(["sync", "a.yaml"], "a.yaml", {"MAEPRESS_QUALITY": "3"}, DAY),
    ]
    assert len({first, *others}) == 5


def test_settings_travel_and_credentials_do_not() -> None:
    variables = {
        "MAEPRESS_QUALITY": "30",
        "AWS_ENDPOINT_URL": "http://s3:8333",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ACCESS_KEY_ID": "key",
        "HOME": "/root",
    }
    made = environment(variables, "")
    assert made["env_vars"] == {"MAEPRESS_QUALITY": "30", "AWS_ENDPOINT_URL": "http://s3:8333"}
    assert made["working_dir"] == "."
    assert {".?*", "build"} <= set(made["excludes"])
