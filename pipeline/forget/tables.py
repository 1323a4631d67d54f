"""Removing keys from the archive's tables: their rows, their versions, and every file that is no longer needed.

Rows leave in ordinary commits, so that the archive can be read at each moment. The history goes afterwards: a
checkpoint of the present version is written, and all older versions of the log are deleted, because they name first and
last keys of shards. Then every file goes that the present version does not use: shards of older versions, and shards
that killed runs never committed.
"""

from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, Transaction
from deltalake.exceptions import DeltaError

from pipeline.archive.ledgers.erasures import BarredKeys
from pipeline.archive.log.commit_seal import FilesDigest, log_file
from pipeline.archive.log.commits import Committer, transact
from pipeline.archive.log.delta_table import files_of, open_table
from pipeline.archive.log.optimistic_commit import commit_with_retry, is_committed
from pipeline.archive.receipt import Receipt
from pipeline.archive.schema import LOG
from pipeline.archive.shards.merge_reader import merged_tables
from pipeline.archive.shards.payload_references import named_by, shared_payloads
from pipeline.archive.shards.shard_reader import read_columns
from pipeline.archive.shards.shard_writer import Shard, write_shard, write_sorted
from pipeline.archive.shards.sorted_tables import texts
from pipeline.storage.base import StorageError, Store
from pipeline.storage.error_text import one_line

_ATTEMPTS = 5
_COMMIT_SHARDS = 16
_PARQUET = ".parquet"


def keys_in(store: Store) -> Iterator[list[str]]:
    """The keys of every Parquet file of a table, also of older versions and of no version, file by file.

    Files that cannot be read are left out: they are no part of the present version, or its readers report them.
    """
    if not store.root_exists():
        return
    for entry in store.entries():
        if entry.key.endswith(_PARQUET) and not entry.key.startswith(LOG):
            try:
                yield texts(read_columns(store, entry.key, ["key"])["key"])
            except StorageError:
                continue


def remove_images(
    images: Store, committer: Committer, barred: BarredKeys, check: Callable[[], None]
) -> tuple[int, int]:
    """Write the shards that hold barred keys anew without them.

    Args:
        images: root of the table.
        committer: of this run.
        barred: keys to remove.
        check: called before each commit; raises when the lease is lost.

    Returns:
        The numbers of removed rows and of shards.

    Raises:
        StorageError: when a shard cannot be read.
    """
    waiting: list[Receipt] = []
    rows = shards = 0
    for shard in files_of(open_table(images)):
        drop = [key for key in texts(read_columns(images, shard.path, ["key"])["key"]) if key in barred]
        if drop:
            new = write_shard(images, [], base=shard.path, drop=drop)
            waiting.append(Receipt(0, add=new, remove=shard.path, retired=len(drop)))
            rows, shards = rows + len(drop), shards + 1
        if len(waiting) == _COMMIT_SHARDS:
            check()
            committer.commit(waiting)
            waiting = []
    if waiting:
        check()
        committer.commit(waiting)
    return rows, shards


def remove_rows(
    store: Store, schema: pa.Schema, sort_columns: int, barred: BarredKeys, run: str, check: Callable[[], None]
) -> int:
    """Write a small table anew, as one file, without barred keys. Returns the number of removed rows.

    Args:
        store: root of the table.
        schema: of the table.
        sort_columns: number of leading columns by which its rows are sorted.
        barred: keys to remove.
        run: name of this run.
        check: called before the commit; raises when the lease is lost.

    Raises:
        StorageError: when the table cannot be read or written.
    """
    mark, facts = Transaction(run, 1), {"run": run, "job": "forget"}

    def attempt(table: DeltaTable) -> int:
        old = files_of(table)
        found = [sum(key in barred for key in texts(read_columns(store, s.path, ["key"])["key"])) for s in old]
        if not sum(found) or is_committed(table, mark):
            return 0
        parts = merged_tables(store, old, schema.names, sort_columns=sort_columns)
        kept = (part.select(schema.names).filter(pa.array(~barred.mask(part["key"].to_pylist()))) for part in parts)
        new = write_sorted(store, (part for part in kept if part.num_rows), schema, 0)
        check()
        transact(store, table, schema, [new] if new else [], old, mark, facts, FilesDigest(old))
        return sum(found)

    return commit_with_retry(
        lambda: open_table(store),
        attempt,
        attempts=_ATTEMPTS,
        busy=StorageError(f"others commit to {store.url} all the time: stop them, then run this job again"),
        failed=f"the commit to {store.url} failed",
    )


def cut_history(store: Store) -> int:
    """Delete all versions of a table's log but the present one. Returns the number of deleted files.

    Raises:
        StorageError: when the checkpoint cannot be written, or does not hold the table's files.
    """
    table = open_table(store)
    version = table.version()
    log = [entry.key for entry in store.child(LOG.rstrip("/")).entries()]
    keep = {log_file(version).removeprefix(LOG), f"{version:020d}.checkpoint{_PARQUET}", "_last_checkpoint"}
    if set(log) <= keep:
        return 0
    try:
        table.create_checkpoint()
    except (DeltaError, OSError) as e:
        raise StorageError(f"no checkpoint of {store.url} can be written: {one_line(e)}") from e
    _require_checkpoint(store, version, files_of(table))
    gone = [name for name in log if name not in keep]
    for name in gone:
        store.delete(f"{LOG}{name}")
    return len(gone)


def _require_checkpoint(store: Store, version: int, files: list[Shard]) -> None:
    """Check that a checkpoint holds the table's files, before the log that it replaces is deleted."""
    name = f"{LOG}{version:020d}.checkpoint{_PARQUET}"
    with store.open_input(name) as file:
        rows = pq.ParquetFile(file).read(["add.path"])["add"].to_pylist()
    if {row["path"] for row in rows if row and row.get("path")} != {shard.path for shard in files}:
        raise StorageError(f"the checkpoint {store.url}/{name} does not hold the table's files: nothing was deleted")


def remove_unneeded(store: Store) -> int:
    """Delete every file of a table that its present version does not use. Returns their number.

    A payload that rows share goes with the last row that names it.

    Raises:
        StorageError: when a file of the present version cannot be read.
    """
    needed = {shard.path for shard in files_of(open_table(store))}
    if shared_payloads(store):
        needed |= named_by(store, list(needed))
    gone = [entry.key for entry in store.entries() if not entry.key.startswith(LOG) and entry.key not in needed]
    for key in gone:
        store.delete(key)
    return len(gone)
