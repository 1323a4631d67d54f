"""Kinds of tampering with an archive, each a function that does it to a folder.

Those of `ROWS` go through deltalake, as another tool would: afterwards the log, the file and its
checksums agree with each other, and only the row's hash tells. Those of `FILES` change files.
"""

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

from pipeline.archive.archive import Archive
from pipeline.archive.log.commit_seal import log_file
from pipeline.archive.schema import IMAGES, LATENT, ROW_SHA256
from pipeline.archive.shards.shard_file import open_shard

Row = dict[str, Any]


def rows_of(archive: Archive) -> list[Row]:
    """All rows, in key order."""
    rows = [row for batch in archive.scan(IMAGES.names) for row in batch.to_pylist()]
    return sorted(rows, key=lambda row: str(row["key"]))


def rewrite(archive: Archive, change: Callable[[list[Row]], None]) -> None:
    """What a data frame job does: read all rows, change some, write all."""
    rows = rows_of(archive)
    change(rows)
    table = pa.Table.from_pylist(rows, IMAGES)
    write_deltalake(archive.images.absolute_url, table, mode="overwrite")


def with_another_value(row: Row, column: str) -> None:
    """Change one value of a row to another one of its type."""
    value = row[column]
    if value is None:
        kind = IMAGES.field(column).type
        row[column] = b"new" if pa.types.is_binary(kind) else "new" if pa.types.is_string(kind) else 1.5
    elif isinstance(value, str):
        row[column] = value[:-1] + ("0" if value[-1:] != "0" else "1")
    elif isinstance(value, bytes):
        row[column] = value[:-1] + bytes([value[-1] ^ 1])
    elif isinstance(value, int | float):
        row[column] = value + 1
    else:
        row[column] = value + timedelta(microseconds=1)


def swap_payloads(rows: list[Row]) -> None:
    """Give two keys each other's payload, with all columns that describe it."""
    one, two = [row for row in rows if row["status"] == LATENT][:2]
    for name in ("payload", "payload_bytes", "quality", "psnr", "ssimulacra2"):
        one[name], two[name] = two[name], one[name]


def _replace_icc(rows: list[Row]) -> None:
    next(row for row in rows if row["icc"])["icc"] = b"another profile"


def _drop_exif(rows: list[Row]) -> None:
    next(row for row in rows if row["exif"])["exif"] = None


def _rename(rows: list[Row]) -> None:
    rows[0]["key"] = "a/another name.png"


def _swap_keys(rows: list[Row]) -> None:
    rows[0]["key"], rows[1]["key"] = rows[1]["key"], rows[0]["key"]


ROWS: dict[str, Callable[[list[Row]], None]] = {
    "payloads of two keys are swapped": swap_payloads,
    "keys of two rows are swapped": _swap_keys,
    "an ICC profile is replaced": _replace_icc,
    "EXIF is dropped": _drop_exif,
    "a key is renamed": _rename,
}


def edit_shard(archive: Archive, change: Callable[[pa.Table], pa.Table]) -> None:
    """Rewrite the first shard in place, under its name; the log still describes the old file."""
    shard = archive.shards()[0]
    with open_shard(archive.images, shard.path) as file:
        table = file.read(IMAGES.names)
    pq.write_table(change(table), Path(archive.images.absolute_url) / shard.path)


def edit_log(archive: Archive, version: int, old: str, new: str, table: str = "images") -> None:
    """Replace a word in a version's log file."""
    path = Path(archive.url) / table / log_file(version)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def _model(archive: Archive) -> Path:
    (folder,) = (Path(archive.url) / "models").iterdir()
    return folder


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _edit_notes(archive: Archive) -> None:
    config = _model(archive) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"notes": {"images": "others"}}))


def _another_model(archive: Archive) -> None:
    """Put an intact model with another fingerprint in the place of the archive's."""
    from model.core.model_files import BASE

    for name in ("model.safetensors", "config.json"):
        shutil.copy(BASE / name, _model(archive) / name)


def _older_shard(archive: Archive) -> None:
    """Put a replaced shard, whole and with all its hashes, in the place of the one that replaced it."""
    images = Path(archive.images.absolute_url)
    present = {shard.path for shard in archive.shards()}
    (old,) = (path for path in images.glob("part-*.parquet") if path.name not in present)
    new = next(shard for shard in archive.shards() if shard.first_key == "a/0.png")
    shutil.copy(old, images / new.path)


def _edit_checkpoint(archive: Archive) -> None:
    """Remove a shard from the checkpoint, as if it had never been there; the old log files are gone."""
    log = Path(archive.images.absolute_url) / "_delta_log"
    DeltaTable(archive.images.absolute_url).create_checkpoint()
    (path,) = (path for path in log.glob("*.checkpoint.parquet") if int(path.name[:20]) == archive.version())
    table = pq.read_table(path)
    gone = next(i for i, add in enumerate(table["add"].to_pylist()) if add)
    pq.write_table(pa.concat_tables([table.slice(0, gone), table.slice(gone + 1)]), path)


def _misnumber_a_commit(archive: Archive) -> None:
    """Let the checkpoint say that a run has committed more than it has."""
    (path,) = _images(archive).glob("_delta_log/*.checkpoint.parquet")
    table = pq.read_table(path)
    txns = [txn and txn | {"version": txn["version"] + 8} for txn in table["txn"].to_pylist()]
    at = table.column_names.index("txn")
    pq.write_table(table.set_column(at, table.field(at), pa.array(txns, table["txn"].type)), path)


def _edit_rejection(archive: Archive) -> None:
    table = DeltaTable(archive.rejections.absolute_url)
    table.update(predicate="key = 'bad/0.jpg'", updates={"reason": "'is fine'"})


def _edit_record(archive: Archive) -> None:
    (path,) = (Path(archive.url) / "runs").glob("*.json")
    path.write_text(path.read_text().replace('"rows": 11', '"rows": 12'))


def _without_last_rows(table: pa.Table) -> pa.Table:
    return table.slice(0, table.num_rows - 1)


def _first_row_twice(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table.slice(0, 1), table])


def _lower_width(archive: Archive) -> None:
    version = archive.version()
    edit_log(archive, version, '\\"maxValues\\": {\\"key\\": \\"z/4\\"', '\\"maxValues\\": {\\"key\\": \\"z/1\\"')


def _images(archive: Archive) -> Path:
    return Path(archive.images.absolute_url)


FILES: dict[str, Callable[[Archive], None]] = {
    "the model is truncated": lambda archive: _truncate(_model(archive) / "model.safetensors"),
    "the model is deleted": lambda archive: shutil.rmtree(_model(archive)),
    "the model is replaced": _another_model,
    "the notes of the model are changed": _edit_notes,
    "rows are missing from a shard": lambda archive: edit_shard(archive, _without_last_rows),
    "a row is twice in a shard": lambda archive: edit_shard(archive, _first_row_twice),
    "a shard is written again": lambda archive: edit_shard(archive, lambda table: table),
    "a shard is deleted": lambda archive: (_images(archive) / archive.shards()[0].path).unlink(),
    "a shard is truncated": lambda archive: _truncate(_images(archive) / archive.shards()[0].path),
    "a shard is an older one": _older_shard,
    "the last commit is deleted": lambda archive: (_images(archive) / log_file(archive.version())).unlink(),
    "a shard is left out of the log": lambda archive: edit_log(archive, archive.version(), '{"add":', '{"aed":'),
    "the log's statistics hide keys": _lower_width,
    "an old commit is edited": lambda archive: edit_log(archive, 1, '"run":"one"', '"run":"two"'),
    "the last commit is edited": lambda archive: edit_log(archive, archive.version(), '"rows":5', '"rows":6'),
    "the checkpoint lacks a shard": _edit_checkpoint,
    "the checkpoint misnumbers a commit": _misnumber_a_commit,
    "a rejection is changed": _edit_rejection,
    "the rejections are deleted": lambda archive: shutil.rmtree(archive.rejections.absolute_url),
    "a record of a run is edited": _edit_record,
    "the lease is damaged": lambda archive: edit_log(archive, 1, '"commitInfo"', '"commitInfo', "leases"),
}
assert ROW_SHA256 in IMAGES.names
