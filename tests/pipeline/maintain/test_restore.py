"""Restore: back to an older version, rows and rejections alike, and never a row lost."""

from pathlib import Path

import pytest

from pipeline.archive.archive import Archive
from pipeline.archive.log.commits import CommitConflict
from pipeline.archive.receipt import Receipt, Rejection
from pipeline.archive.shards.shard_writer import write_shard
from pipeline.maintain.restore import RestoreSettings, restore
from pipeline.runs.lease import Lease, LeaseHeld
from pipeline.storage.base import StorageError
from tests.pipeline.maintain.helpers import keys_of, rejected, replace
from tests.pipeline.making import add, original, originals


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
    assert keys_of(archive) == ["a", "b", "c"] and rejected(archive) == ["r1", "r2"]
    assert archive.row("b", ["run"]) == {"run": "run"}
    restore(RestoreSettings(archive=archive.url, version=good))
    assert archive.version() == latest + 1  # doing it twice is doing it once
    restore(RestoreSettings(archive=archive.url, version=latest))
    assert keys_of(archive) == ["b", "c", "d"] and rejected(archive) == ["r1", "r2", "r3"]
    restore(RestoreSettings(archive=archive.url, version=0))
    assert keys_of(archive) == [] and rejected(archive) == []
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
