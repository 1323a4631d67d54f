"""Compact: few large shards in place of many small ones, with every row unchanged."""

import threading

import pytest

from pipeline.archive.archive import Archive
from pipeline.archive.receipt import Receipt, Rejection
from pipeline.archive.schema import IMAGES
from pipeline.archive.shards.shard_writer import Shard, write_shard
from pipeline.maintain.compact import CompactSettings, compact, small_neighbours
from pipeline.maintain.history import HistorySettings, history
from pipeline.maintain.restore import RestoreSettings, restore
from pipeline.runs.lease import Lease
from tests.pipeline.maintain.helpers import keys_of, rejected, replace
from tests.pipeline.making import add, original, originals


def test_small_shards_become_few_and_every_row_stays_as_it_is(archive: Archive) -> None:
    for i in range(6):
        keys = [f"{j:03d}-{i:02d}" for j in range(0, 40, 3)]
        rejection = Rejection(f"bad-{i:02d}", "e", "read", "x")
        table = originals(keys, 1000, run=f"run{i}")
        receipt = Receipt(0, write_shard(archive.images, [table]), rejections=(rejection,))
        archive.committer(f"run{i}").commit([receipt])
    before = {row["key"]: row for batch in archive.scan(IMAGES.names) for row in batch.to_pylist()}
    version = archive.version()
    result = compact(CompactSettings(archive=archive.url, shard_mib=1))
    assert (result.shards_before, result.shards_after, result.gave_way) == (6, 1, 0)
    assert (result.rejections_before, result.rejections_after) == (6, 1)
    assert {row["key"]: row for batch in archive.scan(IMAGES.names) for row in batch.to_pylist()} == before
    assert keys_of(archive) == sorted(before) and rejected(archive) == [f"bad-{i:02d}" for i in range(6)]
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
