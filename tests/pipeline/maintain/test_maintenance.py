"""Back to an older version, out with what nobody needs, small shards together: and never a row lost."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.archive.archive import Archive
from pipeline.archive.commits import CommitConflict
from pipeline.archive.heartbeat import Heartbeat, list_runs
from pipeline.archive.lease import Lease, LeaseHeld
from pipeline.archive.receipt import Receipt, Rejection
from pipeline.archive.schema import IMAGES
from pipeline.archive.shards import Shard, write_shard
from pipeline.maintain.compact import CompactSettings, compact, small_neighbours
from pipeline.maintain.history import HistorySettings, history
from pipeline.maintain.restore import RestoreSettings, restore
from pipeline.maintain.vacuum import VacuumResult, VacuumSettings, vacuum
from pipeline.storage.base import StorageError
from pipeline.storage.local_store import TEMPORARY
from tests.pipeline.making import add, original, originals

DAY = 24 * 3600


@pytest.fixture
def archive(place: str) -> Archive:
    return Archive.create(place)


@pytest.fixture
def local(tmp_path: Path) -> Archive:
    return Archive.create(str(tmp_path / "archive"))


def keys_of(archive: Archive) -> list[str]:
    return [row.key for row in archive.rows_by_key()]


def refused(archive: Archive) -> list[str]:
    return [row.key for row in archive.rejections_by_key()]


def replace(archive: Archive, base: Shard, *keys: str, drop: tuple[str, ...] = (), run: str = "second") -> Shard:
    shard = write_shard(archive.images, [originals(keys, run=run)], base=base.path, drop=drop)
    assert shard is not None
    archive.committer(run).commit([Receipt(0, shard, remove=base.path, rows=len(keys), retired=len(drop))])
    return shard


def age(archive: Archive, seconds: float, *names: str) -> None:
    """Make files look as if they had been written long ago."""
    when = time.time() - seconds
    for path in Path(archive.url).rglob("*"):
        if path.is_file() and (not names or path.name in names):
            os.utime(path, (when, when))


# ---- history and restore


def test_history_says_what_made_each_version(archive: Archive) -> None:
    base = add(archive, [original("a"), original("b")], run="one").add
    assert base is not None
    replace(archive, base, "b", drop=("a",), run="two")
    restore(RestoreSettings(archive=archive.url, version=1))
    found = history(HistorySettings(archive=archive.url))
    told = [(v.version, v.job, v.rows, v.retired) for v in found]
    assert told == [
        (3, "restore to 1", None, None),
        (2, "encode", 1, 1),
        (1, "encode", 2, 0),
        (0, "create table", None, None),
    ]
    assert [v.run for v in found[1:]] == ["two", "one", None]
    assert [v.version for v in history(HistorySettings(archive=archive.url, versions=2))] == [3, 2]


def test_a_bad_night_is_rolled_back_rows_and_rejections_alike_and_that_can_be_undone(archive: Archive) -> None:
    base = add(archive, [original("a"), original("b")], run="one", rejections=[Rejection("r1", "e", "read", "x")]).add
    assert base is not None
    add(archive, [original("c")], run="two", rejections=[Rejection("r2", "e", "read", "x")])
    good = archive.version()
    replace(archive, base, "b", drop=("a",), run="bad")
    add(archive, [original("d")], run="bad2", rejections=[Rejection("r3", "e", "read", "x")])
    latest = archive.version()
    result = restore(RestoreSettings(archive=archive.url, version=good))
    assert (result.restored, result.version, result.rows, result.shards) == (good, latest + 1, 3, 2)
    assert keys_of(archive) == ["a", "b", "c"] and refused(archive) == ["r1", "r2"]
    assert archive.row("b", ["run"]) == {"run": "run"}
    restore(RestoreSettings(archive=archive.url, version=good))
    assert archive.version() == latest + 1  # doing it twice is doing it once
    restore(RestoreSettings(archive=archive.url, version=latest))
    assert keys_of(archive) == ["b", "c", "d"] and refused(archive) == ["r1", "r2", "r3"]
    restore(RestoreSettings(archive=archive.url, version=0))
    assert keys_of(archive) == [] and refused(archive) == []
    add(archive, [original("a")], run="after")
    assert keys_of(archive) == ["a"]


def test_a_restore_that_cannot_be_says_why_and_touches_nothing(local: Archive) -> None:
    base = add(local, [original("a"), original("b")]).add
    assert base is not None
    replace(local, base, "a")
    (Path(local.images.url) / base.path).unlink()
    for version, says in ((9, "no version 9: the latest is 2"), (1, "a vacuum has removed 1 of its files")):
        with pytest.raises(StorageError, match=says):
            restore(RestoreSettings(archive=local.url, version=version))
    with Lease(local.root, "night", "sync"), pytest.raises(LeaseHeld, match="sync night"):
        restore(RestoreSettings(archive=local.url, version=0))
    assert (local.version(), keys_of(local)) == (2, ["a", "b"])


def test_a_job_whose_base_was_rolled_back_gives_way(archive: Archive) -> None:
    add(archive, [original("a")], run="one")
    base = add(archive, [original("b"), original("c")], run="two").add
    assert base is not None
    running = archive.committer("running")
    fresh = write_shard(archive.images, [originals(["b"])], base=base.path)
    restore(RestoreSettings(archive=archive.url, version=1))
    with pytest.raises(CommitConflict, match="run this job again"):
        running.commit([Receipt(0, fresh, remove=base.path)])
    assert keys_of(archive) == ["a"]


# ---- vacuum


def test_a_vacuum_removes_old_orphans_and_replaced_shards_and_nothing_that_is_needed(local: Archive) -> None:
    base = add(local, [original("a"), original("b")]).add
    assert base is not None
    orphan = write_shard(local.images, [originals(["never committed"])])
    lately = write_shard(local.images, [originals(["about to be committed"])])
    assert orphan is not None and lately is not None
    (Path(local.images.url) / f"{TEMPORARY}half-written").write_bytes(b"x")
    age(local, 10 * DAY, orphan.path, f"{TEMPORARY}half-written")
    new = replace(local, base, "b")
    would = vacuum(VacuumSettings(archive=local.url, hours=24, dry_run=True))
    assert would == VacuumResult(1, 0, orphan.size, 0, 1, ())
    assert (Path(local.images.url) / orphan.path).exists()
    assert vacuum(VacuumSettings(archive=local.url, hours=24)) == would
    left = {path.name for path in Path(local.images.url).glob("*") if path.is_file()}
    assert left == {base.path, lately.path, new.path}  # `base` still serves version 1
    restore(RestoreSettings(archive=local.url, version=1))
    assert keys_of(local) == ["a", "b"]


def test_a_vacuum_spares_what_a_running_job_has_not_committed_however_long_that_takes(local: Archive) -> None:
    with Heartbeat(local.root, "20260101T000000-cafe") as presence:
        presence._started = time.time() - 20 * DAY  # it waits for machines since then
        presence._say()
        waiting = write_shard(local.images, [originals(["a"])])
        orphan = write_shard(local.images, [originals(["b"])])
        assert waiting is not None and orphan is not None
        age(local, 19 * DAY, waiting.path)
        age(local, 30 * DAY, orphan.path)
        result = vacuum(VacuumSettings(archive=local.url, hours=1))
        assert (result.shards, result.spared_for, result.plans) == (1, ("20260101T000000-cafe",), 0)
        local.committer("r").commit([Receipt(0, waiting)])
    assert keys_of(local) == ["a"] and list_runs(local.root) == []


def test_a_commit_of_a_shard_that_a_vacuum_took_is_refused(local: Archive) -> None:
    shard = write_shard(local.images, [originals(["a"])])
    assert shard is not None
    late = Shard(shard.path, shard.size, shard.modified_ms - 40 * DAY * 1000, 1, "a", "a", shard.stats)
    age(local, 40 * DAY, shard.path)
    committer = local.committer("sleeper")
    assert vacuum(VacuumSettings(archive=local.url)).shards == 1
    with pytest.raises(CommitConflict, match="vacuum removed them"):
        committer.commit([Receipt(0, late)])
    assert keys_of(local) == []


def test_plans_of_dead_runs_go_when_they_are_old(local: Archive) -> None:
    def leave(run: str, seen: float | None) -> None:
        local.root.put(f"plans/{run}/00000.parquet", b"plan")
        if seen is not None:
            word = {"started": seen - DAY, "seen": seen}
            local.root.put(f"plans/{run}/alive.json", json.dumps(word).encode())

    now = time.time()
    leave("20260101T000000-dead", now - 9 * DAY)
    leave("20260101T000000-mute", None)  # killed before it said a word; its name tells its age
    leave("20990101T000000-young", None)
    leave("20260101T000000-works", now - 60)
    leave("20260101T000000-silent", now - DAY)
    result = vacuum(VacuumSettings(archive=local.url))
    assert (result.plans, result.spared_for) == (2, ("20260101T000000-works",))
    left = {run.run.rpartition("-")[2] for run in list_runs(local.root)}
    assert left == {"young", "works", "silent"}


WRITER = """
import os, signal, sys
from pipeline.storage.open import open_store
with open_store(sys.argv[1]).open_output("part-killed.parquet") as file:
    file.write(bytes(40 << 20))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_has_begun_goes_once_it_is_old(archive: Archive) -> None:
    killed = subprocess.run([sys.executable, "-c", WRITER, archive.images.url], check=False)
    assert killed.returncode == -signal.SIGKILL
    (begun,) = archive.root.unfinished()
    assert begun.key.startswith("images/") and abs(begun.started - time.time()) < 600
    assert vacuum(VacuumSettings(archive=archive.url, hours=1)).unfinished == 0  # perhaps its writer lives
    later = {"archive": archive.url, "hours": 0.0}
    assert vacuum(VacuumSettings.model_construct(**later, dry_run=True)).unfinished == 1
    assert list(archive.root.unfinished()) == [begun]
    assert vacuum(VacuumSettings.model_construct(**later, dry_run=False)).unfinished == 1
    assert list(archive.root.unfinished()) == []
    archive.root.discard(begun)  # gone is fine


def test_a_writer_that_fails_leaves_nothing_behind(archive: Archive) -> None:
    with pytest.raises(ZeroDivisionError), archive.images.open_output("part-failed.parquet") as file:
        file.write(bytes(40 << 20))
        raise ZeroDivisionError
    assert list(archive.root.unfinished()) == [] and not archive.images.exists("part-failed.parquet")


# ---- compaction


def test_small_shards_become_few_and_every_row_stays_as_it_is(archive: Archive) -> None:
    for i in range(6):
        keys = [f"{j:03d}-{i:02d}" for j in range(0, 40, 3)]
        refusal = Rejection(f"bad-{i:02d}", "e", "read", "x")
        table = originals(keys, 1000, run=f"run{i}")
        receipt = Receipt(0, write_shard(archive.images, [table]), rejections=(refusal,))
        archive.committer(f"run{i}").commit([receipt])
    before = {row["key"]: row for batch in archive.scan(IMAGES.names) for row in batch.to_pylist()}
    version = archive.version()
    result = compact(CompactSettings(archive=archive.url, shard_mib=1))
    assert (result.shards_before, result.shards_after, result.gave_way) == (6, 1, 0)
    assert (result.rejections_before, result.rejections_after) == (6, 1)
    assert {row["key"]: row for batch in archive.scan(IMAGES.names) for row in batch.to_pylist()} == before
    assert keys_of(archive) == sorted(before) and refused(archive) == [f"bad-{i:02d}" for i in range(6)]
    assert history(HistorySettings(archive=archive.url))[0].job == "compact"
    again = compact(CompactSettings(archive=archive.url, shard_mib=1))
    assert (again.shards_before, again.shards_after, again.bytes_written) == (1, 1, 0)
    restore(RestoreSettings(archive=archive.url, version=version))
    assert len(archive.shards()) == 6 and sorted(before) == keys_of(archive)


def test_neighbours_are_joined_up_to_the_size_and_large_shards_are_left_alone() -> None:
    def shard(name: str, size: int) -> Shard:
        return Shard(name, size, 0, 1, name, name, "")

    sizes = [30, 30, 30, 50, 30, 90, 20, 10]
    groups = list(small_neighbours([shard(f"{i}", size) for i, size in enumerate(sizes)], 100))
    assert [[s.path for s in group] for group in groups] == [["0", "1", "2"], ["4", "6", "7"]]
    many = list(small_neighbours([shard(f"{i:03d}", 1) for i in range(70)], 100))
    assert [len(group) for group in many] == [32, 32, 6]


def test_a_compaction_gives_way_to_an_encode_that_changes_its_shards(
    local: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    bases = [shard for i in range(4) if (shard := add(local, [original(f"{i}a"), original(f"{i}b")], run=f"{i}").add)]
    begun, changed = threading.Event(), threading.Event()
    check = Lease.check

    def wait(lease: Lease) -> None:
        begun.set()
        changed.wait(60)
        check(lease)

    monkeypatch.setattr(Lease, "check", wait)
    results = []
    thread = threading.Thread(target=lambda: results.append(compact(CompactSettings(archive=local.url))))
    thread.start()
    assert begun.wait(60)  # the joined shard is written, its commit not yet tried
    replace(local, bases[2], "2b", run="encode")
    changed.set()
    thread.join()
    assert (results[0].gave_way, results[0].shards_after) == (1, 4)
    assert keys_of(local) == [f"{i}{c}" for i in range(4) for c in "ab"]
    assert local.row("2b", ["run"]) == {"run": "encode"}
