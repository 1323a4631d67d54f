"""A Delta table at a store's root: opening it, creating it, listing its files."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from pipeline.archive.log.table_format import check_protocol
from pipeline.archive.shards.shard_writer import Shard
from pipeline.storage.base import StorageError, Store
from pipeline.storage.error_text import one_line, panics_as_errors
from pipeline.storage.keys import problem_with
from pipeline.storage.open import storage_options
from pipeline.storage.retry import retried

_ATTEMPTS = 4


def open_table(store: Store, version: int | None = None) -> DeltaTable:
    """The table, now or at an older version.

    Raises:
        TableNotFoundError: when there is none.
        StorageError: when it cannot be read, has no such version, or uses features of Delta that
            maepress does not support.
    """
    table = _open(store, version)
    check_protocol(table, store.url)
    return table


def _open(store: Store, version: int | None) -> DeltaTable:
    if version is not None and version < 0:
        raise StorageError(f"the table {store.url} has no version {version}: the first is 0")
    url = store.absolute_url
    options = storage_options(url)
    store.check_plain(f"_delta_log/{name}" for name in store.names_in("_delta_log"))
    try:
        # deltalake retries most requests by itself, but not one whose answer ends in the middle of
        # a listing or of an error: that is raised as OSError.
        with panics_as_errors(f"the table {store.url}"):
            return retried(lambda: DeltaTable(url, version=version, storage_options=options), OSError, _ATTEMPTS)
    except TableNotFoundError:
        if version is None:
            raise
        raise StorageError(f"the table {store.url} has no version {version} any more") from None
    except (DeltaError, OSError) as e:
        at = "" if version is None else f" at version {version}"
        raise StorageError(f"the table {store.url} cannot be read{at}: {one_line(e)}") from e


def create_table(store: Store, schema: pa.Schema, configuration: Mapping[str, str] | None = None) -> None:
    """Create an empty table, unless there is one. Two jobs that do this at once both succeed.

    Args:
        store: the table's root.
        schema: its columns.
        configuration: table properties (`delta.logRetentionDuration` ...).

    Raises:
        StorageError: when it cannot be written.
    """
    url = store.absolute_url
    store.check_plain(["_delta_log"])
    try:
        # No retries: one would create the table again on top of another job's.
        once = CommitProperties(max_commit_retries=0)
        options = storage_options(url)
        retried(
            lambda: DeltaTable.create(
                url,
                schema,
                mode="ignore",
                configuration=dict(configuration or {}),
                storage_options=options,
                commit_properties=once,
            ),
            OSError,
            _ATTEMPTS,
        )
    except (DeltaError, OSError) as e:
        try:
            open_table(store)  # another job was faster
        except TableNotFoundError:
            raise StorageError(f"the table {store.url} cannot be created: {one_line(e)}") from e


def arrow_table(found: Any) -> pa.Table:
    """What deltalake returns, a batch or a reader of batches of its own, as a table, without copying.

    `pyarrow.table` would first ask pandas whether it is one of its frames, and import pandas for
    that: a quarter of what `maepress status` took.
    """
    if hasattr(found, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(found).read_all()
    return pa.Table.from_batches([pa.RecordBatch._import_from_c_capsule(*found.__arrow_c_array__())])


def added(table: DeltaTable) -> pa.Table:
    """What the log says of each of the table's files, in no order: `path`, `size_bytes`, `min.key` and so on.

    Raises:
        StorageError: when the log is damaged.
    """
    with panics_as_errors(f"the table {table.table_uri}"):
        return arrow_table(table.get_add_actions(flatten=True))


def files_of(table: DeltaTable) -> list[Shard]:
    """The table's files in order of their first key.

    The field `stats` is an empty string, because nothing needs it here.

    Raises:
        StorageError: when the log names a file outside the table.
    """
    actions = added(table)
    if actions.num_rows == 0:
        return []
    names = ("path", "size_bytes", "modification_time", "num_records", "min.key", "max.key")
    columns: list[list[Any]] = [actions[name].to_pylist() for name in names]
    for path in columns[0]:
        if problem := outside(path):
            raise StorageError(f"the log of {table.table_uri} names the file {path[:80]!r}: {problem}")
    # A file without statistics, written by another tool, may contain any key.
    files = [
        Shard(path, size, modified, rows, first or "", "\U0010ffff" if last is None else last, "")
        for path, size, modified, rows, first, last in zip(*columns, strict=True)
    ]
    return sorted(files, key=lambda shard: (shard.first_key, shard.path))


def queryable(store: Store, table: DeltaTable, files: Iterable[Shard]) -> DeltaTable:
    """The table, for a query engine that opens its files by itself.

    Raises:
        StorageError: when one of the files is not a regular file inside the table.
    """
    store.check_plain(shard.path for shard in files)
    return table


def outside(path: str) -> str | None:
    """Why a path of a log is not inside its table, as the end of a sentence; None if it is.

    Delta allows absolute paths and URLs; here, they would read and remove anything.
    """
    return problem_with(path) or problem_with(unquote(path))
