"""The Parquet files of the present version of a table: of a folder, a Delta table, an Iceberg table."""

import os
import re
from typing import Any
from urllib.parse import unquote, urlsplit

from model.core.extras import require
from pipeline.storage.base import Entry, StorageError, Store
from pipeline.storage.error_text import one_line, panics_as_errors
from pipeline.storage.listing.key_globs import KeyGlobs
from pipeline.storage.open import storage_options

_DELTA_FEATURES = {"timestampNtz", "v2Checkpoint", "vacuumProtocolCheck", "typeWidening"}
"""Features of Delta that change nothing about which rows of its files count."""
_METADATA = re.compile(r"metadata/(?:v?(\d+)(?:-[^/]*)?)\.metadata\.json")


def files_of(store: Store, globs: KeyGlobs) -> list[Entry]:
    """The files, sorted by key.

    Args:
        store: the table's folder.
        globs: which Parquet files of a plain folder are the table.

    Raises:
        StorageError: for a table that cannot be read, has rows that are deleted within its files, or
            files that lie elsewhere.
    """
    listed = list(store.entries())
    if any(entry.key.startswith("_delta_log/") for entry in listed):
        return _among(listed, _delta(store), store)
    metadata = [(int(found[1]), entry.key) for entry in listed if (found := _METADATA.fullmatch(entry.key))]
    if metadata:
        return _among(listed, _iceberg(store, max(metadata)[1]), store)
    return [entry for entry in listed if globs.chooses(entry.key)]


def is_table(store: Store) -> bool:
    """Whether a folder is a Delta or Iceberg table, whose files are not all of its present version."""
    return any(_has(store, name, ending) for name, ending in (("_delta_log", ".json"), ("metadata", ".metadata.json")))


def _has(store: Store, folder: str, ending: str) -> bool:
    below = store.child(folder)
    return below.root_exists() and any(entry.key.endswith(ending) for entry in below.entries())


def _among(listed: list[Entry], paths: list[str], store: Store) -> list[Entry]:
    known = {entry.key: entry for entry in listed}
    for path in paths:
        if path not in known:
            raise StorageError(f"{store.url}: the table's file {path!r} is not in its folder: it cannot be read")
    return [known[path] for path in sorted(paths)]


def _delta(store: Store) -> list[str]:
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    try:
        with panics_as_errors(f"the Delta table {store.url}"):
            table = DeltaTable(store.absolute_url, storage_options=storage_options(store.absolute_url))
            features = set(table.protocol().reader_features or ()) - _DELTA_FEATURES
            paths = [unquote(str(path)) for path in table.get_add_actions(flatten=True).column("path").to_pylist()]
    except (DeltaError, OSError, ValueError) as e:
        raise StorageError(f"{store.url}: the Delta table cannot be read: {one_line(e)}") from None
    if features:
        raise StorageError(
            f"{store.url}: the Delta table uses {', '.join(sorted(features))}, with which its files hold rows that do "
            "not count, or columns of other names: write it anew without"
        )
    return paths


def _iceberg(store: Store, metadata: str) -> list[str]:
    require("iceberg", "an Iceberg table as a source")
    from pyiceberg.table import StaticTable

    root = store.absolute_url
    try:
        table: Any = StaticTable.from_metadata(f"{root}/{metadata}", _iceberg_properties(root))
        tasks = list(table.scan().plan_files())
    except Exception as e:  # pyiceberg's own errors, and those of its file systems, have no base in common
        raise StorageError(f"{store.url}: the Iceberg table cannot be read: {one_line(e)}") from None
    if any(task.delete_files for task in tasks):
        raise StorageError(
            f"{store.url}: rows of the Iceberg table are deleted by delete files: rewrite its data files first"
        )
    prefix = _path(root) + "/"
    found = [_path(str(task.file.file_path)) for task in tasks]
    outside = next((path for path in found if not path.startswith(prefix)), None)
    if outside is not None:
        raise StorageError(f"{store.url}: the Iceberg table's file {outside!r} lies outside of its folder")
    return [path[len(prefix) :] for path in found]


def _path(url: str) -> str:
    """A URL as bucket and path, whatever its scheme."""
    parts = urlsplit(url, allow_fragments=False)
    return f"{parts.netloc}{parts.path}".rstrip("/")


def _iceberg_properties(root: str) -> dict[str, str]:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not (root.startswith("s3://") and endpoint):
        return {}
    names = {"s3.access-key-id": "AWS_ACCESS_KEY_ID", "s3.secret-access-key": "AWS_SECRET_ACCESS_KEY"}
    given = {name: os.environ[variable] for name, variable in names.items() if variable in os.environ}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return {"s3.endpoint": endpoint, "s3.region": region} | given
