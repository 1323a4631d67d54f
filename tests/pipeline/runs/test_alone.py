"""Of two runs that encode one source into one archive, one gives way; nobody gives way to the dead or to others."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.encode.run import EncodeSettings, encode
from pipeline.runs.alone import SILENT_SECONDS, require_alone, source_name
from pipeline.runs.heartbeat import Heartbeat, is_running_here, this_process
from pipeline.runs.lease import LeaseHeld
from pipeline.storage.base import Store
from pipeline.storage.open import open_store, open_target
from pipeline.sync.run import SyncSettings, sync


@pytest.fixture
def root(place: str) -> Store:
    return open_target(place)


def change(root: Store, run: str, **facts: Any) -> None:
    """Change what a run's heartbeat says."""
    key = f"plans/{run}/alive.json"
    root.put(key, json.dumps(json.loads(root.get(key)) | facts).encode())


def test_a_run_gives_way_to_one_with_the_same_source_however_it_is_spelled(root: Store, tmp_path: Path) -> None:
    source = open_store(str(tmp_path / "photos"))
    require_alone(root, source)
    with Heartbeat(root, "first", "encode", source_name(source)):
        for url in (tmp_path / "photos", f"file://{tmp_path}/photos/", f"{tmp_path}/x/../photos"):
            with pytest.raises(LeaseHeld, match=r"encode first on \S+ is encoding .* let it end; if it is dead"):
                require_alone(root, open_store(url))
        require_alone(root, open_store(str(tmp_path / "photos-2")))
    require_alone(root, source)


def test_of_two_that_have_begun_the_earlier_one_stays(root: Store) -> None:
    source = open_store("s3://bucket/photos")
    with Heartbeat(root, "b", "encode", source_name(source)), Heartbeat(root, "a", "sync", source_name(source)):
        require_alone(root, source, "b")
        with pytest.raises(LeaseHeld, match="encode b on"):
            require_alone(root, source, "a")


def test_an_encode_of_any_source_and_a_release_give_way_to_each_other(root: Store) -> None:
    ours, other = open_store("s3://bucket/photos"), open_store("s3://bucket/others")
    said = r"release first on \S+ is releasing objects of another source from"
    with Heartbeat(root, "first", "release", source_name(ours)), pytest.raises(LeaseHeld, match=said):
        require_alone(root, other)
    with Heartbeat(root, "first", "encode", source_name(other)), Heartbeat(root, "b", "release", source_name(ours)):
        with pytest.raises(LeaseHeld, match=r"encode first on \S+ is encoding another source into"):
            require_alone(root, ours, "b")
        require_alone(root, other, "first")


def test_nobody_gives_way_to_a_dead_run(root: Store) -> None:
    source = open_store("s3://bucket/photos")
    script = "from pipeline.runs.heartbeat import this_process; print(this_process())"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    with Heartbeat(root, "first", "encode", source_name(source)):
        with pytest.raises(LeaseHeld):
            require_alone(root, source)
        change(root, "first", process=ended)
        require_alone(root, source)  # killed on this machine: known at once
        change(root, "first", host="elsewhere")
        with pytest.raises(LeaseHeld, match="on elsewhere"):
            require_alone(root, source)
        change(root, "first", seen=time.time() - SILENT_SECONDS - 1)
        require_alone(root, source)
        change(root, "first", seen=time.time() + 1e6)  # its clock is wrong: nobody waits for that time
        require_alone(root, source)


def test_a_process_that_ended_is_known_before_anybody_waited_for_it() -> None:
    assert is_running_here(this_process())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        start = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
        running = f"{child.pid} {start}"
        assert is_running_here(running)
        assert not is_running_here(f"{child.pid} 1"), "an earlier process with this number"
        assert child.stdin is not None
        child.stdin.close()
        deadline = time.monotonic() + 60
        while " Z " not in Path(f"/proc/{child.pid}/stat").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not is_running_here(running)


@pytest.mark.parametrize("words", ["", " ", "0 1", "-1 1", "9" * 30 + " 1", "1\n2", "x y"])
def test_what_is_no_name_of_a_process_is_not_running(words: str) -> None:
    assert not is_running_here(words)


def test_a_damaged_heartbeat_stops_nobody(root: Store) -> None:
    source = open_store("s3://bucket/photos")
    with Heartbeat(root, "first", "encode", source_name(source)):
        for damage in (b"", b"[]", b"7", b'"x"', b'{"started": "x", "seen": {}}', b"[" * 100_000):
            root.put("plans/first/alive.json", damage)
            require_alone(root, source)
        root.put("plans/first/alive.json", b"{}")


def test_encode_and_sync_give_way_before_they_load_a_model_or_train_one(root: Store, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"x")
    both: dict[str, Any] = {"source": str(tmp_path / "photos"), "archive": root.url, "model": "no such model"}
    with Heartbeat(root, "first", "encode", source_name(open_store(both["source"]))):
        for job in (
            lambda: encode(EncodeSettings(**both), quiet=True),
            lambda: sync(SyncSettings(**both, adapt_nights=1), quiet=True),
        ):
            with pytest.raises(LeaseHeld):
                job()
    assert [entry.key for entry in root.entries()] == []
