"""Refuses tables that maepress would read wrongly: features of Delta that it does not support, other columns.

A Delta table says in its protocol what a reader must understand. Whoever ignores that reads rows
that were deleted (deletion vectors) or columns under their former names (column mapping).
"""

import pyarrow as pa
from deltalake import DeltaTable

from pipeline.archive.schema import ADDED
from pipeline.storage.base import StorageError

_READER_FEATURES = frozenset({"timestampNtz", "vacuumProtocolCheck"})
"""Features that change nothing in how this package reads a table: no column is concerned. The
checkpoints of `v2Checkpoint` are read by deltalake, but not by our check of the log."""
_WRITER_FEATURES = _READER_FEATURES | {
    *("appendOnly", "invariants", "checkConstraints", "changeDataFeed", "generatedColumns"),
    *("inCommitTimestamp", "domainMetadata"),
}
_READER_VERSIONS, _WRITER_VERSIONS = frozenset({1, 2, 3}), frozenset(range(1, 8))
_REMEDY = "undo that with the tool that did it"

_DELTA_TYPES: dict[pa.DataType, str] = {
    pa.string(): "string",
    pa.binary(): "binary",
    pa.int64(): "long",
    pa.int32(): "integer",
    pa.float64(): "double",
    pa.timestamp("us", "UTC"): "timestamp",
}


def check_protocol(table: DeltaTable, url: str) -> None:
    """Check that a table uses no feature that maepress does not support.

    Args:
        table: a Delta table.
        url: for the message.

    Raises:
        StorageError: naming the features.
    """
    protocol = table.protocol()
    features = {*(protocol.reader_features or ())} - _READER_FEATURES
    features |= {*(protocol.writer_features or ())} - _WRITER_FEATURES
    configuration = table.metadata().configuration
    if configuration.get("delta.columnMapping.mode", "none") != "none":
        features.add("columnMapping")
    else:
        features.discard("columnMapping")  # allowed, but not in use
    if configuration.get("delta.appendOnly", "false") == "true":
        features.add("appendOnly")
    if table.metadata().partition_columns:
        features.add("partition columns")
    if features:
        raise StorageError(
            f"the table {url} uses {', '.join(sorted(features))} of Delta, which maepress does not support: {_REMEDY}"
        )
    versions = (protocol.min_reader_version, protocol.min_writer_version)
    if versions[0] not in _READER_VERSIONS or versions[1] not in _WRITER_VERSIONS:
        raise StorageError(f"the table {url} needs version {versions} of Delta's protocol: upgrade maepress")


def check_columns(table: DeltaTable, schema: pa.Schema, url: str) -> None:
    """Check that a table has the columns of a schema; it may have more, and lack those of ADDED.

    Args:
        table: a Delta table.
        schema: IMAGES or REJECTIONS.
        url: for the message.

    Raises:
        StorageError: naming the first column that is missing or of another type.
    """
    found = {field.name: getattr(field.type, "type", "") for field in table.schema().fields}
    for field in schema:
        if field.name not in found and field.name in ADDED:
            continue
        if field.name not in found:
            raise StorageError(
                f"the table {url} has no column {field.name}: another version of maepress wrote it; "
                "encode the source again into a new archive"
            )
        if found[field.name] != _DELTA_TYPES[field.type]:
            raise StorageError(
                f"the column {field.name} of the table {url} is of type {found[field.name] or 'struct'}, not "
                f"{_DELTA_TYPES[field.type]}: undo that with the tool that did it"
            )
