"""Tables that other tools wrote to are read and extended, and those that cannot be read are refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from model.core.errors import MaepressError
from pipeline.archive.archive import Archive
from pipeline.archive.log.commit_seal import log_file
from pipeline.archive.log.delta_table import create_table
from pipeline.archive.receipt import Receipt
from pipeline.archive.schema import ADDED, IMAGES, REJECTIONS, ROW_SHA256
from pipeline.archive.shards import shard_file
from pipeline.archive.shards.row_hash import row_hashes
from pipeline.archive.shards.shard_file import open_shard
from pipeline.archive.shards.shard_writer import merge_shards, write_shard
from pipeline.archive.shards.sorted_tables import side_by_side
from pipeline.decode.run import DecodeSettings, decode
from pipeline.storage.base import StorageError
from tests.pipeline.making import add, original, originals

KEYS = [f"{letter}{i}" for letter in "abc" for i in range(3)]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Three shards whose keys interleave."""
    made = Archive.create(str(tmp_path / "archive"))
    for i in range(3):
        add(made, [original(f"{letter}{i}") for letter in "abc"], run=f"run {i}")
    return made


def table(archive: Archive) -> DeltaTable:
    return DeltaTable(archive.images.absolute_url)


def optimize(archive: Archive) -> None:
    table(archive).optimize.compact()


def z_order(archive: Archive) -> None:
    table(archive).optimize.z_order(["source_bytes"])


def update(archive: Archive) -> None:
    table(archive).update(predicate="key = 'a1'", updates={"psnr": "33.0"})


def delete(archive: Archive) -> None:
    table(archive).delete("key = 'b1'")


def merge(archive: Archive) -> None:
    (table(archive).merge(originals(["b2"]), "t.key = s.key", "s", "t").when_matched_update_all().execute())


def rewrite_in_reverse(archive: Archive) -> None:
    rows = pa.table(table(archive).to_pyarrow_table())
    write_deltalake(archive.images.absolute_url, rows.take(list(range(rows.num_rows))[::-1]), mode="overwrite")


TOOLS = [optimize, z_order, update, delete, merge, rewrite_in_reverse]


@pytest.mark.parametrize("tool", TOOLS)
def test_every_reader_reads_what_another_tool_wrote(archive: Archive, tool: Callable[[Archive], None]) -> None:
    tool(archive)
    keys = [key for key in KEYS if not (tool is delete and key == "b1")]
    assert [row.key for row in archive.rows_by_key()] == keys
    assert sorted(row["key"] for batch in archive.scan(IMAGES.names) for row in batch.to_pylist()) == keys
    assert all(batch.schema.field("payload").type == pa.binary() for batch in archive.scan(["payload"]))
    found = [archive.row(key) for key in keys]
    assert [row["key"] for row in found if row] == keys and archive.row("b9") is None


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.timeout(60)
def test_a_shard_of_another_tool_is_changed_and_joined_in_key_order(
    archive: Archive, tool: Callable[[Archive], None]
) -> None:
    """An unsorted base once made the writer spin without end."""
    tool(archive)
    shard_of = {row.key: row.shard for row in archive.rows_by_key()}
    base = shard_of["a1"]
    old = {row["key"]: row for batch in archive.scan(IMAGES.names) for row in batch.to_pylist()}
    shard = write_shard(archive.images, [originals(["a1", "new"])], base=base, drop=["c1"])
    assert shard is not None
    archive.committer("second").commit([Receipt(0, shard, remove=base)])
    joined = merge_shards(archive.images, [each.path for each in archive.shards()])
    with open_shard(archive.images, joined.path) as file:
        rows = file.read(IMAGES.names).to_pylist()
    keys = [row["key"] for row in rows]
    dropped = {"c1"} if shard_of["c1"] == base else set()
    assert keys == sorted({*old, "new"} - dropped)
    assert all(row == old[row["key"]] for row in rows if row["key"] not in ("a1", "new"))


def test_row_hashes_are_copied_and_not_made_anew(archive: Archive) -> None:
    update(archive)
    base = next(shard for shard in archive.shards() if shard.first_key == "a1")
    shard = write_shard(archive.images, [originals(["new"])], base=base.path)
    assert shard is not None
    with open_shard(archive.images, shard.path) as file:
        rows = file.read(IMAGES.names)
    differ = [
        key
        for key, said, found in zip(
            rows["key"].to_pylist(), rows[ROW_SHA256].to_pylist(), row_hashes(rows), strict=True
        )
        if said != found
    ]
    assert differ == ["a1"]


def test_an_unsorted_shard_that_is_too_large_is_refused(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(archive.images.absolute_url) / archive.shards()[0].path
    rows = pq.read_table(path)
    with pq.ParquetWriter(path, rows.schema) as writer:
        for i in (2, 1, 0):
            writer.write_table(rows.slice(i, 1))
    fresh = originals(["new"])
    sorted_again = write_shard(archive.images, [fresh], base=path.name)
    assert sorted_again is not None and sorted_again.rows == 4
    monkeypatch.setattr(shard_file, "MOST_SORTED_BYTES", 10)
    with pytest.raises(StorageError, match=r"not in key order, and with .* too large to be sorted"):
        write_shard(archive.images, [fresh], base=path.name)


@pytest.mark.timeout(20)
def test_merging_what_is_not_sorted_ends_in_an_error_and_not_in_a_loop() -> None:
    unsorted = pa.table({"key": ["c", "d", "a"]})
    with pytest.raises(MaepressError, match="not in key order"):
        list(side_by_side(iter([unsorted]), iter([unsorted]), nothing=unsorted.slice(0, 0)))


def append_to_log(archive: Archive, *actions: dict[str, object]) -> None:
    path = Path(archive.images.absolute_url) / log_file(archive.version() + 1)
    path.write_text("\n".join(map(json.dumps, actions)) + "\n")


def test_deletion_vectors_are_refused_in_one_line(archive: Archive) -> None:
    features = ["deletionVectors"]
    append_to_log(
        archive,
        {
            "protocol": {
                "minReaderVersion": 3,
                "minWriterVersion": 7,
                "readerFeatures": features,
                "writerFeatures": [*features, "appendOnly", "invariants"],
            }
        },
    )
    for opened in (Archive.open, Archive.create):
        with pytest.raises(StorageError, match=r"uses deletionVectors of Delta, which maepress does not support"):
            opened(archive.url)


@pytest.mark.parametrize(
    ("feature", "reads"), [("rowTracking", False), ("v2Checkpoint", True), ("clustering", False), ("of 2031", True)]
)
def test_every_other_feature_is_refused_in_one_line(archive: Archive, feature: str, reads: bool) -> None:
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "writerFeatures": [feature, "appendOnly", "invariants"]}
    append_to_log(archive, {"protocol": protocol | {"readerFeatures": [feature] if reads else []}})
    with pytest.raises(StorageError, match=feature) as refused:
        Archive.open(archive.url)
    assert "\n" not in str(refused.value)


def test_column_mapping_is_refused_in_one_line(archive: Archive) -> None:
    log = (Path(archive.images.absolute_url) / log_file(0)).read_text().splitlines()
    (meta,) = (json.loads(line)["metaData"] for line in log if "metaData" in json.loads(line))
    schema = json.loads(meta["schemaString"])
    for number, field in enumerate(schema["fields"], 1):
        names = {"delta.columnMapping.id": number, "delta.columnMapping.physicalName": field["name"]}
        field |= {"metadata": names, "name": field["name"].replace("run", "job_run")}
    changed = {
        "schemaString": json.dumps(schema),
        "configuration": {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "30"},
    }
    append_to_log(archive, {"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}}, {"metaData": meta | changed})
    with pytest.raises(StorageError, match=r"uses columnMapping of Delta"):
        Archive.open(archive.url)


@pytest.mark.parametrize("column", [name for name in IMAGES.names if name != "key" and name not in ADDED])
def test_an_archive_without_a_column_is_refused_in_one_line(tmp_path: Path, column: str) -> None:
    """Such as one that an earlier checkout wrote."""
    made = Archive(str(tmp_path))
    create_table(made.images, pa.schema([field for field in IMAGES if field.name != column]))
    create_table(made.rejections, REJECTIONS)
    for opened in (Archive.open, Archive.create):
        with pytest.raises(StorageError, match=rf"has no column {column}: another version of maepress wrote it"):
            opened(made.url)


def test_a_shard_without_a_column_is_named(archive: Archive) -> None:
    path = Path(archive.images.absolute_url) / archive.shards()[0].path
    pq.write_table(pq.read_table(path).drop_columns(["etag"]), path)
    with pytest.raises(StorageError, match=rf"{path.name} has no column etag"):
        list(archive.rows_by_key())


def test_a_flipped_bit_in_a_payload_is_an_error_of_every_reader(tmp_path: Path) -> None:
    """Originals have no checksum of their own."""
    archive = Archive.create(str(tmp_path / "archive"))
    add(archive, [original("a", b"the bytes of a source" * 50)])
    path = Path(archive.images.absolute_url) / archive.shards()[0].path
    data = path.read_bytes()
    at = data.index(b"the bytes of a source")
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    for read in (lambda: archive.row("a"), lambda: list(archive.scan(["payload"]))):
        with pytest.raises(StorageError, match=r"cannot be read: .*checksum"):
            read()
    with pytest.raises(StorageError, match="checksum"):
        write_shard(archive.images, [originals(["b"])], base=path.name)


def test_a_damaged_row_does_not_take_its_neighbours_with_it(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    add(archive, [original("a", b"the bytes of a source" * 50), original("b", b"other bytes" * 50)])
    path = Path(archive.images.absolute_url) / archive.shards()[0].path
    data = path.read_bytes()
    at = data.index(b"the bytes of a source")
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    row = archive.row("b", ["payload"])
    assert row is not None and row["payload"] == b"other bytes" * 50
    with pytest.raises(StorageError, match="checksum"):
        archive.row("a")
    done = decode(DecodeSettings(archive=archive.url, dest=str(tmp_path / "back"), executor="local"), quiet=True)
    assert (done.written, [failure.key for failure in done.failures]) == (1, ["a"])
    assert (tmp_path / "back" / "b").read_bytes() == b"other bytes" * 50
