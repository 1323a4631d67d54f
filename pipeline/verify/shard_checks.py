"""The checks of one shard as a file: its bytes, its place in the log, and the hash of each row."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa

from model.core.boundary import Fault, attempt, reason_of
from pipeline.archive.log.log_check import LoggedFile
from pipeline.archive.shards.row_hash import changed_rows
from pipeline.archive.shards.shard_facts import FILE_SHA256, ShardFacts
from pipeline.archive.shards.shard_file import ShardFile
from pipeline.archive.shards.shard_writer import is_own_path
from pipeline.storage.base import StorageError, Store

ROW_CHANGED = "its row is not the one that was written (row_sha256 differs): it is damaged, or another tool changed it"

_HELD_BYTES = 128 << 20
"""Size up to which a shard is read once and held in memory; a larger one is read twice."""
_BLOCK = 4 << 20


@dataclass(frozen=True, slots=True)
class ShardProblem:
    """A problem of a shard as a whole, in one line."""

    problem: str


@dataclass(frozen=True, slots=True)
class CheckedRows:
    """Rows of a shard whose bytes could be read.

    Attributes:
        rows: at most a row group.
        changed: for each row whether its hash differs.
    """

    rows: pa.RecordBatch
    changed: list[bool]


def check_shard(store: Store, file: LoggedFile, schema: pa.Schema) -> Iterator[ShardProblem | CheckedRows]:
    """Read a whole shard, and compare it with the log and each row with its hash.

    Args:
        store: the table's root.
        file: the shard, as the log describes it.
        schema: of the table.

    Yields:
        The shard's rows, also where the file is damaged but they can still be read, and problems.
        Whatever a damaged Parquet file makes its parser raise becomes a problem.
    """
    try:
        with store.open_input(file.shard.path) as opened:
            yield from _check(opened, store, file, schema)
    except Exception as e:
        yield ShardProblem(reason_of(e))


def _check(opened: BinaryIO, store: Store, file: LoggedFile, schema: pa.Schema) -> Iterator[ShardProblem | CheckedRows]:
    size, digest, source = _read(opened)
    facts = ShardFacts()
    shard = ShardFile(source, f"{store.url}/{file.shard.path}", store)
    changed = False
    for index in range(shard.num_row_groups):
        group = _row_group(shard, index, schema)
        if isinstance(group, str):
            yield ShardProblem(group)
            return
        facts.add(group)
        for batch in group.to_batches():
            flags = changed_rows(batch)
            changed |= any(flags)
            yield CheckedRows(batch, flags)
    problem = _problem_with_facts(facts, file, size, digest)
    if problem is not None and not (changed and "SHA-256" in problem):  # the changed rows say more
        yield ShardProblem(problem)


def _row_group(shard: ShardFile, index: int, schema: pa.Schema) -> pa.Table | str:
    """A row group, or why it cannot be read.

    If a page's checksum is wrong, or a payload that rows share is, the rows are read all the same, so
    that their hashes tell which of them are damaged.
    """
    try:
        return shard.read_row_group(index, schema.names)
    except StorageError as e:
        again = attempt(lambda: shard.unchecked().read_row_group(index, schema.names))
        return e.message if isinstance(again, Fault) else again


def _read(opened: BinaryIO) -> tuple[int, str, BinaryIO]:
    """Size and SHA-256 of a file, and the file for further reading."""
    size = opened.seek(0, io.SEEK_END)
    opened.seek(0)
    if size <= _HELD_BYTES:
        data = opened.read()
        return len(data), hashlib.sha256(data).hexdigest(), io.BytesIO(data)
    digest = hashlib.sha256()
    while block := opened.read(_BLOCK):
        digest.update(block)
    opened.seek(0)
    return size, digest.hexdigest(), opened


def _problem_with_facts(facts: ShardFacts, file: LoggedFile, size: int, digest: str) -> str | None:
    """What is wrong with the file as the log describes it; most telling first."""
    if (problem := facts.problem_with(file.stats, exactly=is_own_path(file.shard.path))) is not None:
        return problem
    if size != file.shard.size:
        return f"it has {size} bytes, the log says {file.shard.size}"
    if file.stats.get(FILE_SHA256, digest) != digest:
        return "its bytes are not those that were written: the SHA-256 differs from the log's"
    if is_own_path(file.shard.path) and FILE_SHA256 not in file.stats:
        return "the log lacks its SHA-256"
    return None
