"""Archives that earlier versions wrote are read as they are, and get the columns that they lack before a commit."""

import shutil
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.archive.archive import Archive
from pipeline.archive.log.added_columns import JOB, add_missing_columns
from pipeline.archive.log.delta_table import create_table
from pipeline.archive.schema import ADDED, IMAGES, REJECTIONS
from pipeline.maintain.compact import compact
from pipeline.maintain.history import history
from pipeline.maintain.replicate import replicate
from pipeline.maintain.restore import restore
from pipeline.maintain.settings import CompactSettings, HistorySettings, ReplicateSettings, RestoreSettings
from pipeline.verify.run import verify
from pipeline.verify.settings import VerifySettings
from tests.pipeline.making import add, original

OLD = pa.schema([field for field in IMAGES if field.name not in ADDED])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """An archive as an earlier version wrote it: version 2, shards without the columns."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("shards.shard_writer", "log.commits", "shards.row_hash", "shards.shard_file"):
            patch.setattr(f"pipeline.archive.{module}.IMAGES", OLD)
        patch.setattr("pipeline.archive.shards.row_hash.table_of.__defaults__", (OLD,))
        archive = Archive(str(tmp_path_factory.mktemp("old") / "archive"))
        create_table(archive.images, OLD)
        create_table(archive.rejections, REJECTIONS)
        for key in "ab":
            add(archive, [original(key, key.encode() * 5)], run=f"old {key}")
    return archive


@pytest.fixture
def archive(made: Archive, tmp_path: Path) -> Archive:
    shutil.copytree(made.url, tmp_path / "archive")
    return Archive.open(str(tmp_path / "archive"))


def sound(archive: Archive) -> None:
    result = verify(VerifySettings(archive=archive.url, executor="local"), quiet=True)
    assert result.problems == ()


def test_it_is_read_as_it_is(archive: Archive) -> None:
    path = Path(archive.images.absolute_url) / archive.shards()[0].path
    assert not set(pq.read_schema(path).names) & ADDED
    assert {row[name] for batch in archive.scan(IMAGES.names) for row in batch.to_pylist() for name in ADDED} == {None}
    assert archive.row("a", ["phash", "key"]) == {"phash": None, "key": "a"}
    sound(archive)
    assert archive.version() == 2


def test_the_next_commit_adds_the_columns_once(archive: Archive) -> None:
    add(archive, [original("c", phash=-5)], run="new")
    add(archive, [original("d")], run="newer")
    assert [entry.job for entry in history(HistorySettings(archive=archive.url))][:3] == ["encode", "encode", JOB]
    found = duckdb.read_parquet([f"{archive.images.absolute_url}/{s.path}" for s in archive.shards()])
    assert found.shape[0] == 4
    rows = archive.table().to_pyarrow_dataset().to_table(columns=["key", "phash"]).to_pylist()
    assert {row["key"]: row["phash"] for row in rows} == {"a": None, "b": None, "c": -5, "d": None}
    sound(archive)


def test_two_jobs_may_add_them_at_once(archive: Archive) -> None:
    add_missing_columns(archive.images, IMAGES, "one")
    add_missing_columns(archive.images, IMAGES, "other")
    assert archive.version() == 3


def test_compaction_replica_and_restore_go_on(archive: Archive, tmp_path: Path) -> None:
    copy = str(tmp_path / "copy")
    assert replicate(ReplicateSettings(archive=archive.url, dest=copy)).ok
    assert compact(CompactSettings(archive=archive.url)).shards_after == 1
    add(archive, [original("c", phash=7)], run="new")
    assert replicate(ReplicateSettings(archive=archive.url, dest=copy)).ok
    assert Archive.open(copy).row("c", ["phash"]) == {"phash": 7}
    sound(Archive.open(copy))
    restore(RestoreSettings(archive=archive.url, version=2))
    sound(archive)
    add(archive, [original("d", phash=8)], run="newest")
    assert archive.row("d", ["phash"]) == {"phash": 8} and archive.row("c") is None
    sound(archive)
