"""A Delta table at a store's root: opening it with our errors, and the facts of its files."""

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from pipeline.archive.shards import Shard
from pipeline.storage.base import StorageError, Store
from pipeline.storage.open import storage_options
from pipeline.storage.retry import retried

_ATTEMPTS = 4


def open_table(store: Store, version: int | None = None) -> DeltaTable:
    """The table, as it is now or as it was.

    Raises:
        TableNotFoundError: when there is none.
        StorageError: when it cannot be read, or has no such version.
    """
    url = store.absolute_url
    options = storage_options(url)
    try:
        # The Rust side tries most requests again by itself, but not those whose answer breaks off in the middle of a
        # listing or of an error: these come out as OSError.
        return retried(lambda: DeltaTable(url, version=version, storage_options=options), OSError, _ATTEMPTS)
    except TableNotFoundError:
        raise
    except (DeltaError, OSError) as e:
        at = "" if version is None else f" at version {version}"
        raise StorageError(f"the table {store.url} cannot be read{at}: {one_line(e)}") from e


def create_table(store: Store, schema: pa.Schema, configuration: Mapping[str, str] | None = None) -> None:
    """An empty table, unless there is one. Two that do this at once both succeed.

    Args:
        store: the table's root.
        schema: its columns.
        configuration: table properties (`delta.logRetentionDuration` ...).

    Raises:
        StorageError: when it cannot be written.
    """
    url = store.absolute_url
    try:
        # No retries: one would make the table a second time on top of the other's.
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
            open_table(store)  # the other one was faster
        except TableNotFoundError:
            raise StorageError(f"the table {store.url} cannot be made: {one_line(e)}") from e


def files_of(table: DeltaTable) -> list[Shard]:
    """The table's files in order of their first key.

    `stats` is an empty string: the log's JSON is not kept, and what is needed of it stands in the other fields.
    """
    actions = pa.table(table.get_add_actions(flatten=True))
    if actions.num_rows == 0:
        return []
    names = ("path", "size_bytes", "modification_time", "num_records", "min.key", "max.key")
    columns: list[list[Any]] = [actions[name].to_pylist() for name in names]
    # A file that another tool wrote without statistics may hold any key.
    files = [
        Shard(path, size, modified, rows, first or "", "\U0010ffff" if last is None else last, "")
        for path, size, modified, rows, first, last in zip(*columns, strict=True)
    ]
    return sorted(files, key=lambda shard: (shard.first_key, shard.path))


def one_line(error: BaseException) -> str:
    """What an error says at first and at last. Rust writes a cause a line, indented and in colours."""
    lines = [re.sub(r"\x1b\[[0-9;]*m|↳", "", line).strip() for line in str(error).strip().splitlines()]
    told = [line for line in lines if line]
    if not told:
        return type(error).__name__
    return told[0][:300] if len(told) == 1 else f"{told[0]}: {told[-1]}"[:300]
