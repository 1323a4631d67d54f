"""A small archive with one of everything, to be damaged; and what can be read from it."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from model import checkpoint
from model.codec import Codec
from pipeline.archive.archive import Archive
from pipeline.archive.log.delta_table import open_table
from pipeline.archive.receipt import Receipt, Rejection
from pipeline.archive.schema import IMAGES, REJECTIONS
from pipeline.archive.shards.row_hash import table_of
from pipeline.archive.shards.shard_reader import read_rows
from pipeline.archive.shards.shard_writer import write_shard
from pipeline.maintain.history import HistorySettings, history
from pipeline.maintain.settings import CompactSettings
from pipeline.maintain.status import StatusSettings, status
from pipeline.runs.lease import Lease, holder_of
from pipeline.runs.record import RunRecord
from tests.pipeline.making import add, compressed, image_file, original, transcoded

RUN = "20260105T020000-5ac0ffee"


def make(folder: Path, model: Path, codec: Codec) -> Archive:
    """Compressed images with metadata, a transcode and originals, in three shards; rejections, records, a lease.

    The log has a checkpoint and commits before and after it, one of which replaces a shard.
    """
    archive = Archive.create(str(folder / "archive"))
    archive.put_model(codec.fingerprint, model)
    with (
        Lease(archive.root, RUN, "sync"),
        RunRecord(archive.root, RUN, "sync", CompactSettings(archive=archive.url)) as record,
    ):
        sources = [image_file("PNG", seed=i, size=(40, 30)) for i in range(4)]
        metadata = {"icc": b"an ICC profile " * 20, "exif": b"Exif\0\0" + bytes(range(200)), "xmp": b"<x:xmpmeta/>" * 9}
        rows = [compressed(codec, f"{'ab'[i % 2]}/{i}.png", source, 20 + i) for i, source in enumerate(sources)]
        rejections = [Rejection(f"bad/{i}.jpg", f"etag {i}", "read", "cut short") for i in range(3)]
        first = add(archive, [row | metadata for row in rows], "one", rejections).add
        add(archive, [transcoded("j/kept.jpg", image_file("JPEG", size=(48, 32))), original("o/kept.png")], "two")
        archive.table().create_checkpoint()
        assert first is not None
        replaced = write_shard(archive.images, [table_of([rows[0] | {"etag": "second"}])], base=first.path)
        archive.committer("three").commit([Receipt(0, replaced, remove=first.path, rows=1)])
        last = [Rejection("bad/9.jpg", "etag", "fetch", "too large")]
        add(archive, [original(f"z/{i}", bytes([i]) * 50) for i in range(5)], "four", last)
        record.done({"rows": 11})
    return archive


def view(url: str) -> dict[str, Any]:
    """Everything that the readers of this package give, by name; an error is given as its text."""
    archive = Archive(url)

    def rows() -> Any:
        return [row for batch in archive.scan(IMAGES.names) for row in batch.to_pylist()]

    def rejected() -> Any:
        table = open_table(archive.rejections)
        paths = sorted(_paths(table))
        return [row for path in paths for row in read_rows(archive.rejections, path, REJECTIONS.names)]

    def models() -> Any:
        found = {}
        for fingerprint in archive.models():
            folder = Path(url) / "models" / fingerprint
            notes = json.loads((folder / "config.json").read_text()).get("notes")
            found[fingerprint] = (checkpoint.load(folder).fingerprint, notes)
        return found

    def lease() -> Any:
        return asdict(holder_of(open_table(archive.root.child("leases"))))

    parts: dict[str, Callable[[], Any]] = {
        "version": archive.version,
        "shards": archive.shards,
        "rows": rows,
        "each row": lambda: [archive.row(row["key"]) for row in rows()],
        "index": lambda: list(archive.rows_by_key()),
        "rejections": lambda: (rejected(), list(archive.rejections_by_key())),
        "history": lambda: history(HistorySettings(archive=url, versions=100)),
        "status": lambda: status(StatusSettings(archive=url, versions=100, runs=True)).to_dict(),
        "commits": lambda: [archive.table().transaction_version(run) for run in ("one", "two", "three", "four")],
        "models": models,
        "lease": lease,
    }
    return {name: _value(part) for name, part in parts.items()}


def _paths(table: DeltaTable) -> list[str]:
    """Paths of a table's files."""
    return [str(path) for path in pa.table(table.get_add_actions(flatten=True))["path"].to_pylist()]


def _value(part: Callable[[], Any]) -> Any:
    try:
        return repr(part())
    except Exception as e:
        return f"{type(e).__name__}: {e}"
