"""Columns that a later version of maepress added to a table: older archives get them before their next commit.

Readers take a column of `ADDED` that a table or a file lacks as null, so old archives need no conversion, and are never
changed by reading them. A writer first adds the columns to the table's schema, in a commit of its own without files,
so that other tools see them in the files that follow.
"""

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema

from pipeline.archive.log.commit_seal import FilesDigest, sealed
from pipeline.archive.log.delta_table import files_of, open_table
from pipeline.archive.log.optimistic_commit import commit_with_retry
from pipeline.archive.schema import ADDED
from pipeline.storage.base import StorageError, Store

JOB = "columns"
"""The job of these commits in the log."""
_ATTEMPTS = 20


def add_missing_columns(store: Store, schema: pa.Schema, run: str) -> None:
    """Add those of the columns ADDED to a table's schema that it lacks; two jobs may do this at once.

    Args:
        store: the table's root.
        schema: of the table.
        run: name of the run, for the log.

    Raises:
        StorageError: when the table cannot be read or written.
    """

    def attempt(table: DeltaTable) -> None:
        there = {field.name for field in table.schema().fields}
        missing = [field for field in schema if field.name in ADDED and field.name not in there]
        if missing:
            record = sealed({"run": run, "job": JOB}, FilesDigest(files_of(table)), table, store)
            once = CommitProperties(custom_metadata=record, max_commit_retries=0)
            table.alter.add_columns(Schema.from_arrow(pa.schema(missing)).fields, commit_properties=once)

    commit_with_retry(
        lambda: open_table(store),
        attempt,
        attempts=_ATTEMPTS,
        busy=StorageError(f"{store.url} is so busy with other writers that no commit got through: run this job again"),
        failed=f"the columns of {store.url} cannot be added",
    )
