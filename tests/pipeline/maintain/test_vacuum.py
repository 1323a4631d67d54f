"""Vacuum: removes what is no longer needed, and nothing else."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.cli import main
from pipeline.archive.archive import Archive
from pipeline.archive.log import commits
from pipeline.archive.log.commits import CommitConflict
from pipeline.archive.receipt import Receipt
from pipeline.archive.shards.shard_writer import Shard, write_shard
from pipeline.maintain.restore import RestoreSettings, restore
from pipeline.maintain.vacuum import VacuumResult, VacuumSettings, vacuum
from pipeline.runs.heartbeat import Heartbeat, list_runs
from pipeline.storage.listing.temporary_names import TEMPORARY
from pipeline.storage.local.store import LocalStore
from tests.pipeline.maintain.helpers import age, keys_of, replace
from tests.pipeline.making import add, original, originals

DAY = 24 * 3600
HALF_WRITTEN = f"{TEMPORARY}0123456789abcdef"


def test_a_vacuum_removes_old_orphans_and_replaced_shards_and_nothing_that_is_needed(local: Archive) -> None:
    base = add(local, [original("a"), original("b")]).add
    assert base is not None
    orphan = write_shard(local.images, [originals(["never committed"])])
    lately = write_shard(local.images, [originals(["about to be committed"])])
    assert orphan is not None and lately is not None
    (Path(local.images.url) / HALF_WRITTEN).write_bytes(b"x")
    age(local, 10 * DAY, orphan.path, HALF_WRITTEN)
    new = replace(local, base, "b")
    would = vacuum(VacuumSettings(archive=local.url, hours=24, dry_run=True))
    assert would == VacuumResult(1, 0, orphan.size, 0, 1, (), waiting=1, waiting_bytes=base.size, next_in_hours=24)
    assert (Path(local.images.url) / orphan.path).exists()
    assert vacuum(VacuumSettings(archive=local.url, hours=24)) == would
    left = {path.name for path in Path(local.images.url).glob("*") if path.is_file()}
    assert left == {base.path, lately.path, new.path}  # `base` still serves version 1
    restore(RestoreSettings(archive=local.url, version=1))
    assert keys_of(local) == ["a", "b"]


def test_a_version_that_is_restored_while_a_vacuum_lists_files_keeps_them(
    local: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = add(local, [original("a"), original("b")]).add
    assert base is not None
    monkeypatch.setattr(commits, "time", SimpleNamespace(time_ns=lambda: time.time_ns() - 3 * DAY * 10**9))
    replace(local, base, drop=("a",))
    listing = LocalStore.entries

    def entries(store: LocalStore, *arguments: Any) -> Any:
        monkeypatch.setattr(LocalStore, "entries", listing)
        restore(RestoreSettings(archive=local.url, version=1))
        return listing(store, *arguments)

    monkeypatch.setattr(LocalStore, "entries", entries)
    assert vacuum(VacuumSettings(archive=local.url, hours=24)).shards == 0 and keys_of(local) == ["a", "b"]


def test_a_vacuum_spares_what_a_running_job_has_not_committed_however_long_that_takes(local: Archive) -> None:
    with Heartbeat(local.root, "20260101T000000-cafe") as heartbeat:
        heartbeat._facts["started"] = time.time() - 20 * DAY  # it waits for machines since then
        heartbeat._beat()
        waiting = write_shard(local.images, [originals(["a"])])
        orphan = write_shard(local.images, [originals(["b"])])
        assert waiting is not None and orphan is not None
        age(local, 19 * DAY, waiting.path)
        age(local, 30 * DAY, orphan.path)
        result = vacuum(VacuumSettings(archive=local.url, hours=1))
        assert (result.shards, result.spared_for, result.plans) == (1, ("20260101T000000-cafe",), 0)
        local.committer("r").commit([Receipt(0, waiting)])
    assert keys_of(local) == ["a"] and list_runs(local.root) == []


def test_a_vacuum_says_when_the_next_replaced_files_will_be_old_enough(
    local: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (add(local, [original(key)], run=key).add for key in "ab")
    assert first is not None and second is not None
    assert vacuum(VacuumSettings(archive=local.url)).next_in_hours is None
    replace(local, first, "a", run="then")
    backdate(local, 30 * 3600 + 60)
    replace(local, second, "b", run="now")
    found = vacuum(VacuumSettings(archive=local.url, hours=72))
    assert (found.shards, found.waiting, found.waiting_bytes) == (0, 2, first.size + second.size)
    assert found.next_in_hours == 42  # an hour more at most than the 41 hours and 59 minutes that are left
    assert main(["vacuum", local.url, "--hours", "72"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "2 replaced files (" in said and "the first can go at 20" in said
    found = vacuum(VacuumSettings(archive=local.url, hours=24))
    assert (found.shards, found.waiting, found.next_in_hours) == (1, 1, 24)
    found = vacuum(VacuumSettings(archive=local.url, hours=24))
    assert (found.shards, found.waiting) == (0, 1), "what is gone does not wait"


def backdate(archive: Archive, seconds: float) -> None:
    """Let the images table's commits so far have happened earlier, by their own account."""

    def earlier(action: dict[str, Any]) -> dict[str, Any]:
        if "remove" in action:
            action["remove"]["deletionTimestamp"] -= int(seconds * 1000)
        return action

    for path in (Path(archive.images.url) / "_delta_log").glob("*.json"):
        actions = [json.dumps(earlier(json.loads(line))) for line in path.read_text().splitlines()]
        path.write_text("\n".join(actions) + "\n")
    age(archive, seconds)


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


@pytest.mark.parametrize("way", ["link", "log"])
def test_a_vacuum_removes_nothing_outside_the_archive(way: str, local: Archive, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "photo.parquet").write_bytes(b"photo")
    (victim / HALF_WRITTEN).write_bytes(b"photo")
    images = Path(local.images.absolute_url)
    add(local, [original("a")])
    if way == "link":
        for folder in (images, Path(local.url), Path(local.rejections.absolute_url)):
            (folder / "more").symlink_to(victim)
            (folder / "photo.parquet").symlink_to(victim / "photo.parquet")
    else:
        log = images / "_delta_log"
        for i, path in enumerate(
            ("../../victim/photo.parquet", f"file://{victim}/photo.parquet", f"{victim}/photo.parquet")
        ):
            gone = {"path": path, "deletionTimestamp": 1, "dataChange": True, "size": 5, "partitionValues": {}}
            (log / f"{2 + i:020}.json").write_text(json.dumps({"remove": gone}))
    orphan = write_shard(local.images, [originals(["never committed"])])
    assert orphan is not None
    now: dict[str, Any] = {"archive": local.url, "hours": 0.0, "dry_run": False}
    result = vacuum(VacuumSettings.model_construct(**now))
    assert (result.shards, (images / orphan.path).exists()) == (1, False)
    assert sorted(path.name for path in victim.iterdir()) == [HALF_WRITTEN, "photo.parquet"]
    assert keys_of(local) == ["a"]


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
    later: dict[str, Any] = {"archive": archive.url, "hours": 0.0}
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


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"{", b"null", b"[]", b"7", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"started": {}, "seen": 1}'),
        *(b'{"started": NaN, "seen": NaN}', b'{"started": 1e999, "seen": 1e999}', b'{"started": -1e300, "seen": 1}'),
        *(b'{"seen": 1}', b'{"started": "x", "seen": "y"}', b'{"started": ' + b"9" * 5000 + b', "seen": 1}'),
    ],
    ids=range(15),
)
def test_a_heartbeat_of_nonsense_counts_as_none(local: Archive, text: bytes) -> None:
    local.root.put("plans/20200101T000000-abcdef/alive.json", text)
    local.root.put("plans/unknown/alive.json", text)
    (old, unknown) = list_runs(local.root)
    assert (old.started, old.seen, unknown.seen) == (0.0, 0.0, 0.0)
    result = vacuum(VacuumSettings(archive=local.url, hours=1, dry_run=True))
    assert result.spared_for == ()
