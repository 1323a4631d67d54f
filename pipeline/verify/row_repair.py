"""Repair of single rows: a shard whose file the replica does not have is written anew, with the replica's rows.

This is the case when one of the two was compacted. A row of the replica is accepted in place of a
damaged one of the same key if its hash holds and is the damaged row's: either as recorded there, or
as computed from the damaged row (then only the record of the hash was damaged).

Where a shard is so damaged that its rows cannot be told apart, all rows of the replica with keys in
its range that are in no other shard are taken, and accepted if the log's statistics of the shard
(number of rows, and the range of seven columns) are exactly theirs.
"""

from typing import Any

import pyarrow as pa

from model.core.boundary import Fault, attempt
from pipeline.archive.archive import Archive
from pipeline.archive.log.log_check import LoggedFile
from pipeline.archive.receipt import Receipt
from pipeline.archive.schema import IMAGES, ROW_SHA256
from pipeline.archive.shards.row_hash import changed_rows, row_hashes
from pipeline.archive.shards.shard_facts import ShardFacts
from pipeline.archive.shards.shard_file import ShardFile, open_shard
from pipeline.archive.shards.shard_reader import read_columns
from pipeline.archive.shards.shard_writer import write_shard


def repair_rows(archive: Archive, replica: Archive, file: LoggedFile, run: str) -> list[str]:
    """Replace a damaged shard by one with the replica's rows in place of the damaged ones.

    Args:
        archive: to mend.
        replica: to take rows from.
        file: the shard, as the archive's log describes it.
        run: name of the commit's run.

    Returns:
        What was mended, in words; empty when nothing was.

    Raises:
        MaepressError: when a store fails, or another job changed the shard meanwhile.
    """
    committer = archive.committer(run, "repair")
    found = _read(archive, file)
    if found is None or (file.stats.get("numRecords") or 0) != sum(map(len, found)):
        rows, taken = _all_rows(archive, replica, file), file.shard.rows
    else:
        rows, taken = _some_rows(found, replica)
    if rows is None or not taken:
        return []
    shard = write_shard(archive.images, [rows])
    receipt = Receipt(0, add=shard, remove=file.shard.path, rows=rows.num_rows)
    committer.commit([receipt], rearranges=True)
    return [f"images/{file.shard.path}: {taken:,} of {rows.num_rows:,} rows taken from the replica, as a new shard"]


def _read(archive: Archive, file: LoggedFile) -> "list[pa.Table] | None":
    """The row groups of a shard, whether its rows are damaged or not; None when some cannot be read at all."""

    def groups(shard: ShardFile) -> list[pa.Table]:
        return [shard.read_row_group(index, IMAGES.names) for index in range(shard.num_row_groups)]

    def read() -> list[pa.Table]:
        with open_shard(archive.images, file.shard.path) as shard:
            return groups(shard.unchecked())

    found = attempt(read)
    return None if isinstance(found, Fault) else found


def _some_rows(groups: list[pa.Table], replica: Archive) -> tuple["pa.Table | None", int]:
    """The rows of a shard with the damaged ones replaced, and their number; None when one has no replacement."""
    parts: list[pa.Table] = []
    taken = 0
    for group in groups:
        for batch in group.to_batches():
            for index, changed in enumerate(changed_rows(batch)):
                row = batch.slice(index, 1)
                if not changed:
                    parts.append(pa.Table.from_batches([row]))
                    continue
                replacement = _replacement(row, replica)
                if replacement is None:
                    return None, 0
                parts.append(replacement)
                taken += 1
    return pa.concat_tables(parts), taken


def _replacement(damaged: pa.RecordBatch, replica: Archive) -> "pa.Table | None":
    key = attempt(lambda: damaged.column("key")[0].as_py())
    found = attempt(lambda: replica.row(key)) if isinstance(key, str) else None
    if not isinstance(found, dict):
        return None
    row = pa.Table.from_pylist([found], IMAGES)
    computed = attempt(lambda: row_hashes(damaged)[0])
    recorded = attempt(lambda: damaged.column(ROW_SHA256)[0].as_py())
    return row if changed_rows(row) == [False] and found[ROW_SHA256] in (computed, recorded) else None


def _all_rows(archive: Archive, replica: Archive, file: LoggedFile) -> "pa.Table | None":
    """The replica's rows in a shard's range that are in no other shard; None when they are not the shard's rows."""
    first, last = file.shard.first_key, file.shard.last_key
    elsewhere: set[Any] = set()
    for shard in archive.shards():
        if shard.path != file.shard.path and shard.first_key <= last and first <= shard.last_key:
            elsewhere |= set(read_columns(archive.images, shard.path, ["key"])["key"].to_pylist())
    parts = [IMAGES.empty_table()]
    for shard in replica.shards():
        if shard.first_key <= last and first <= shard.last_key:
            with open_shard(replica.images, shard.path) as opened:
                for index in range(opened.num_row_groups):
                    group = opened.read_row_group(index, IMAGES.names)
                    keys: list[Any] = group["key"].to_pylist()
                    wanted = [first <= key <= last and key not in elsewhere for key in keys]
                    parts.append(group.filter(pa.array(wanted, pa.bool_())))
    rows = pa.concat_tables(parts).sort_by("key")
    facts = ShardFacts()
    facts.add(rows)
    if rows.num_rows == 0 or facts.problem_with(file.stats, exactly=True) is not None or any(changed_rows(rows)):
        return None
    return rows
