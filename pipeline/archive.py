"""The archive: two Delta tables, the models that pressed them, and the plans of running jobs.

    archive = Archive.create(url)                     # or Archive.open(url) for one that must exist
    committer = archive.committer(run)                # before planning: remembers the version that the plan is made on
    for row in archive.rows_by_key(): ...             # IndexRow, in key order
    shard = write_shard(archive.images, tables)       # on any worker
    committer.commit([Receipt(unit, shard, ...)])     # on the driver

An `Archive` holds only its URL and pickles to workers.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.commits import Committer
from pipeline.shards import Shard
from pipeline.store import StorageError, Store


class ArchiveMissing(StorageError):
    """There is no archive at the URL."""


class IndexRow(NamedTuple):
    """What planning needs of a row. `shard` is the path of its Parquet file relative to `images/`: a unit's `base`."""

    key: str
    etag: str
    status: str
    model: str | None
    quality: int | None
    shard: str


class RejectionRow(NamedTuple):
    """One row of the rejections table; a key has one for each etag that was rejected."""

    key: str
    etag: str
    stage: str
    reason: str


class Archive:
    """An archive at a URL.

    Attributes:
        url: as given.
        root: the store of the whole.
        images: the store of `images/`, root of the Delta table; shards' paths are relative to it.
        rejections: the store of `rejections/`.
    """

    url: str
    root: Store
    images: Store
    rejections: Store

    @classmethod
    def open(cls, url: str) -> "Archive":
        """An archive that exists.

        Raises:
            ArchiveMissing: when there is none.
            StorageError: when the place cannot be read.
        """
        raise NotImplementedError

    @classmethod
    def create(cls, url: str) -> "Archive":
        """The archive at a URL, with two empty tables when there was none. Safe to run twice and at the same time.

        Raises:
            StorageError: when the place cannot be written.
        """
        raise NotImplementedError

    def version(self) -> int:
        """The current version of the images table; every commit adds one."""
        raise NotImplementedError

    def shards(self, version: int | None = None) -> list[Shard]:
        """The files of the images table (now, or at an older version), in order of first key."""
        raise NotImplementedError

    def rows_by_key(self, version: int | None = None) -> Iterator[IndexRow]:
        """Every row's index columns in byte order of the key, streamed: memory grows with the number of shards that overlap, not of rows."""
        raise NotImplementedError

    def rejections_by_key(self) -> Iterator[RejectionRow]:
        """Every rejection in byte order of (key, etag), streamed."""
        raise NotImplementedError

    def row(self, key: str, columns: Sequence[str] | None = None) -> dict[str, Any] | None:
        """One row, found through file and row-group statistics: a few small reads, however large the archive is."""
        raise NotImplementedError

    def scan(self, columns: Sequence[str], version: int | None = None) -> Iterator[pa.RecordBatch]:
        """Chosen columns of every row, shard by shard in order of first key (not sorted across shards)."""
        raise NotImplementedError

    def committer(self, run: str) -> Committer:
        """What commits receipts for a run. Make it before planning: it refuses to add keys that another job added since."""
        raise NotImplementedError

    def put_model(self, fingerprint: str, folder: str | Path) -> None:
        """Copy a model's files to `models/FINGERPRINT/`, once; call it before the first commit of a row that needs it."""
        raise NotImplementedError

    def get_model(self, fingerprint: str) -> Path:
        """A local folder with a model of this archive, fetched once a machine (cached by fingerprint).

        Raises:
            StorageError: when the archive lacks it.
        """
        raise NotImplementedError

    def models(self) -> list[str]:
        """Fingerprints of the models inside the archive."""
        raise NotImplementedError
