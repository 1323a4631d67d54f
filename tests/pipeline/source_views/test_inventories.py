"""Buckets listed by S3 Inventory: objects on a real server, inventories as Amazon documents and writes them."""

import csv
import gzip
import hashlib
import io
import json
import pickle
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.core.errors import MaepressError
from pipeline.archive.archive import Archive
from pipeline.encode.run import EncodeSettings, encode
from pipeline.planning.planner import EncodePlan, PlanOptions, make_plan
from pipeline.release.run import ReleaseSettings, release
from pipeline.sources.open import EmptySource, open_source
from pipeline.storage.base import Entry, Fetched, StorageError, Store
from pipeline.storage.open import open_store
from pipeline.verify.run import VerifySettings, verify
from tests.pipeline.making import add, image_file, original

NAMES = ("Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "LastModifiedDate", "ETag", "StorageClass")
_COLUMNS: dict[str, pa.DataType] = {
    "bucket": pa.string(),
    "key": pa.string(),
    "version_id": pa.string(),
    "is_latest": pa.bool_(),
    "is_delete_marker": pa.bool_(),
    "size": pa.int64(),
    "last_modified_date": pa.timestamp("ms", "UTC"),
    "e_tag": pa.string(),
    "storage_class": pa.string(),
}
KIND = pa.schema([pa.field(name, kind, name not in ("bucket", "key")) for name, kind in _COLUMNS.items()])
SCHEMA = (
    "message s3.inventory {  required binary bucket (STRING);  required binary key (STRING);  optional binary "
    "version_id (STRING);  optional boolean is_latest;  optional boolean is_delete_marker;  optional int64 size;  "
    "optional int64 last_modified_date (TIMESTAMP(MILLIS,true));  optional binary e_tag (STRING);  optional binary "
    "storage_class (STRING);}"
)
Row = tuple[Any, ...]


def row(bucket: str, key: str, size: int | None, etag: str, *, latest: bool = True, marker: bool = False) -> Row:
    when = datetime(2026, 11, 27, 12, tzinfo=UTC)
    return (bucket, key, "v1", latest, marker, size, when, etag, "STANDARD")


def csv_file(rows: Sequence[Row]) -> bytes:
    """Every value in quotes, keys with percent codes and spaces as plus signs, nothing for nulls."""
    text = io.StringIO()
    out = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    for bucket, key, version, latest, marker, size, when, etag, kind in rows:
        flags = (str(latest).lower(), str(marker).lower())
        date = f"{when:%Y-%m-%dT%H:%M:%S}.000Z"
        out.writerow(
            [bucket, quote_plus(key, safe="/"), version, *flags, "" if size is None else size, date, etag, kind]
        )
    return gzip.compress(text.getvalue().encode())


def parquet_file(rows: Sequence[Row]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table([list(column) for column in zip(*rows, strict=True)], schema=KIND), file)
    return file.getvalue()


def write_inventory(
    place: Store,
    parts: Sequence[Sequence[Row]],
    form: str = "CSV",
    night: str = "2026-11-28T01-00Z",
    created: datetime | None = None,
    change: Callable[[dict[str, Any]], object] = lambda facts: None,
    complete: bool = True,
) -> None:
    """Files, then the manifest, then its checksum, in the order in which S3 writes them."""
    files = []
    for number, rows in enumerate(parts):
        data = csv_file(rows) if form == "CSV" else parquet_file(rows)
        name = f"data/{night}-{number}.{'csv.gz' if form == 'CSV' else 'parquet'}"
        place.put(name, data)
        md5 = hashlib.md5(data).hexdigest()
        files.append({"key": f"lists/photos/nightly/{name}", "size": len(data), "MD5checksum": md5})
    begun = created or datetime(2026, 11, 28, 1, tzinfo=UTC)
    facts: dict[str, Any] = {
        "sourceBucket": "maepress",
        "destinationBucket": "arn:aws:s3:::lists",
        "version": "2016-11-30",
        "creationTimestamp": str(int(begun.timestamp() * 1000)),
        "fileFormat": form,
        "fileSchema": ", ".join(NAMES) if form == "CSV" else SCHEMA,
        "files": files,
    }
    change(facts)
    data = json.dumps(facts).encode()
    place.put(f"{night}/manifest.json", data)
    if complete:
        place.put(f"{night}/manifest.checksum", hashlib.md5(data).hexdigest().encode())


def prefix_of(place: str) -> tuple[str, str]:
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    return bucket, prefix


def rows_of(place: str, entries: Sequence[Entry]) -> list[Row]:
    bucket, prefix = prefix_of(place)
    return [row(bucket, f"{prefix}/{entry.key}", entry.size, entry.etag) for entry in entries]


@pytest.mark.parametrize("form", ["CSV", "Parquet"])
def test_an_inventory_gives_the_listing_of_the_bucket_itself(bucket: str, form: str) -> None:
    inner, lists = open_store(f"{bucket}/photos"), open_store(f"{bucket}/lists/nightly")
    keys = ["a b+c%20.jpg", "dir/ü é.jpg", "dir/z.jpg", "m&n=1.jpg"]
    for key in keys:
        inner.put(key, key.encode())
    entries = list(inner.entries())
    mine = rows_of(inner.url, entries)
    name, prefix = prefix_of(inner.url)
    other = [
        row(name, f"{prefix}/old.jpg", 3, "e", latest=False),
        row(name, f"{prefix}/gone.jpg", None, "", marker=True),
        row(name, f"{prefix}/folder/", 0, "d41d8cd98f00b204e9800998ecf8427e"),
        row(name, f"{prefix}-other/x.jpg", 5, "e"),
        row(name, f"{prefix}/dir/.maepress-0123456789abcdef", 0, "d41d8cd98f00b204e9800998ecf8427e"),
    ]
    write_inventory(lists, [mine[2:] + other, mine[:2][::-1]], form)
    source = open_source(f"{inner.url}#inventory={lists.url}")
    assert list(source.entries()) == entries and [e.key for e in entries] == sorted(keys)
    got = source.fetch(keys)
    assert [one.data for one in got if isinstance(one, Fetched)] == [key.encode() for key in keys]
    again = pickle.loads(pickle.dumps(source))
    assert again.url == source.url and list(again.entries()) == entries
    with_sidecars = open_source(f"{source.url}&sidecars")
    assert source.listed_at() == with_sidecars.listed_at() == datetime(2026, 11, 28, 1, tzinfo=UTC)


def test_the_latest_complete_inventory_counts_or_the_one_that_is_named(bucket: str) -> None:
    photos, lists = open_store(f"{bucket}/photos"), open_store(f"{bucket}/lists")
    photos.put("first", b"1")
    for night, key in (("2026-11-27T01-00Z", "first"), ("2026-11-28T01-00Z", "second")):
        write_inventory(lists, [rows_of(photos.url, [Entry(key, 1, "e")])], night=night)
    write_inventory(lists, [], night="2026-11-29T01-00Z", complete=False)

    def keys(inventory: str) -> list[str]:
        return [e.key for e in open_source(f"{photos.url}#inventory={inventory}").entries()]

    assert keys(lists.url) == ["second"]
    assert keys(f"{lists.url}/2026-11-27T01-00Z/manifest.json") == ["first"]
    with pytest.raises(EmptySource):
        keys(f"{lists.url}/2026-11-29T01-00Z/manifest.json")
    with pytest.raises(EmptySource):
        open_source(f"{bucket}/mistyped#inventory={lists.url}")


def test_a_hostile_or_damaged_inventory_is_one_line_and_plans_nothing(bucket: str) -> None:
    photos = open_store(f"{bucket}/photos")
    photos.put("a.jpg", b"1")
    good = rows_of(photos.url, [Entry("a.jpg", 1, "e")])
    name, prefix = prefix_of(photos.url)

    def first(key: str, value: object) -> Callable[[dict[str, Any]], object]:
        return lambda facts: facts["files"][0].update({key: value})

    def also(**values: object) -> Callable[[dict[str, Any]], object]:
        return lambda facts: facts.update(values)

    cases: list[tuple[Sequence[Row], Callable[[dict[str, Any]], object], str]] = [
        (good, also(sourceBucket="another"), "is the inventory of the bucket 'another', not of 'maepress'"),
        (good, also(fileFormat="ORC"), "reads no ORC"),
        (good, also(fileFormat="JSON"), "'JSON' is neither CSV nor Parquet"),
        (good, also(fileSchema="Bucket, Key"), "has no Size and no ETag"),
        (good, also(creationTimestamp="soon"), "does not say when"),
        (good, also(files="many"), "names no files"),
        (good, lambda facts: facts["files"].append(facts["files"][0]), "names a file twice"),
        (good, first("key", "../../secret.csv.gz"), "in no folder `data`"),
        (good, first("key", "x/data/.."), "in no folder `data`"),
        (good, first("key", "data/missing.csv.gz"), "cannot be read: the object does not exist"),
        (good, first("size", 1 << 60), "an impossible size"),
        (good, first("size", 7), "its manifest says 7"),
        (good, first("MD5checksum", "0" * 32), "its MD5 is not that of its manifest"),
        (good, first("MD5checksum", None), "without an MD5 checksum"),
        ([row("another", f"{prefix}/a", 1, "e")], also(), "objects of another bucket"),
        ([row(name, f"{prefix}/a", None, "e")], also(), "an object without a size"),
        ([row(name, f"{prefix}/a", "x", "e")], also(), "is damaged"),  # type: ignore[arg-type]
    ]
    for number, (rows, change, expected) in enumerate(cases):
        lists = open_store(f"{bucket}/lists/{number}")
        write_inventory(lists, [good, rows] if rows is not good else [rows], change=change)
        with pytest.raises(StorageError, match=expected) as caught:
            make_plan(open_source(f"{photos.url}#inventory={lists.url}"), None, None, PlanOptions(1 << 20))
        assert "\n" not in str(caught.value)
    lists = open_store(f"{bucket}/lists/more")
    write_inventory(lists, [good])
    lists.put("2026-11-28T01-00Z/manifest.checksum", b"0" * 32)
    for address, expected in {
        f"{photos.url}#inventory={lists.url}": "not what its manifest.checksum says",
        f"{photos.url}#inventory={bucket}/none": "has no complete S3 Inventory",
        f"{photos.url}#inventory": "names no inventory",
        f"photos#inventory={lists.url}": "lists a bucket of S3",
    }.items():
        with pytest.raises(StorageError, match=expected):
            open_source(address)
    lists.put("2026-11-28T01-00Z/manifest.json", b"[" * 100_000)
    lists.delete("2026-11-28T01-00Z/manifest.checksum")
    with pytest.raises(StorageError, match="no manifest of an S3 Inventory"):
        open_source(f"{photos.url}#inventory={lists.url}/2026-11-28T01-00Z/manifest.json")


def test_rows_that_are_newer_than_an_inventory_stay_as_they_are(bucket: str) -> None:
    photos, lists = open_store(f"{bucket}/photos"), open_store(f"{bucket}/lists")
    photos.put("new", b"1")
    archive, now = Archive.create(f"{bucket}/archive"), datetime.now(UTC)
    hours = {"changed-before": 5, "gone-before": 5, "changed-since": 1, "gone-since": 1, "same": 1}
    add(archive, [original(k, etag="row", encoded_at=now - timedelta(hours=n)) for k, n in sorted(hours.items())])
    listed = [Entry(key, 6, "row" if key == "same" else "other") for key in hours if "gone" not in key]

    def plan(age: int) -> EncodePlan:
        created = now - timedelta(hours=age)
        write_inventory(lists, [rows_of(photos.url, [*listed, Entry("new", 1, "e")])], created=created)
        source = open_source(f"{photos.url}#inventory={lists.url}")
        return make_plan(source, archive, None, PlanOptions(1 << 20, retire_share=1.0))

    found = plan(age=3)
    assert (found.new, found.changed, found.gone, found.retire, found.unchanged, found.newer) == (1, 1, 1, 1, 2, 2)
    found = plan(age=0)
    assert (found.new, found.changed, found.gone, found.retire, found.unchanged, found.newer) == (1, 2, 2, 2, 1, 0)


def test_a_bucket_is_encoded_by_its_inventory_and_verified_by_its_listing(bucket: str, tiny_model_folder: Any) -> None:
    photos, lists = open_store(f"{bucket}/photos"), open_store(f"{bucket}/lists")
    for seed in range(2):
        photos.put(f"{seed}.png", image_file("PNG", seed=seed))
    entries = list(photos.entries())
    write_inventory(lists, [rows_of(photos.url, [*entries, Entry("deleted.png", 9, "e")])], "Parquet")
    job = {"archive": f"{bucket}/archive", "model": str(tiny_model_folder), "executor": "local"}
    by_inventory = EncodeSettings.model_validate(job | {"source": f"{photos.url}#inventory={lists.url}"})
    first = encode(by_inventory, quiet=True)
    assert (first.latents + first.originals, first.rejections) == (2, {"the object does not exist": 1})
    by_listing = encode(EncodeSettings.model_validate(job | {"source": photos.url}), quiet=True)
    assert (by_listing.unchanged, by_listing.latents) == (2, 0)
    check = VerifySettings(archive=job["archive"], source=by_inventory.source, sample="0", executor="local")
    report = verify(check, quiet=True)
    assert (report.source_objects, report.absent, report.outdated, report.rejected) == (3, 0, 0, 1)
    with pytest.raises(MaepressError, match=f"give the bucket itself, {photos.url}"):
        release(ReleaseSettings(source=by_inventory.source, archive=job["archive"]), quiet=True)
