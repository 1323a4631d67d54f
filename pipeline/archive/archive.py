"""The archive: Delta tables, the models of their images, and the plans of running jobs.

    archive = Archive.create(url)                     # or Archive.open(url) for one that must exist
    committer = archive.committer(run)                # before planning: remembers the version that the plan is based on
    for row in archive.rows_by_key(): ...             # IndexRow, in key order
    shard = write_shard(archive.images, tables)       # on any worker
    committer.commit([Receipt(unit, shard, ...)])     # on the driver

An `Archive` holds only its stores and can be pickled to workers.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from model.core.model_files import CONFIG
from pipeline.archive.ledgers.erasures import Erasures
from pipeline.archive.ledgers.releases import Releases
from pipeline.archive.log.commits import Committer
from pipeline.archive.log.delta_table import create_table, files_of, open_table
from pipeline.archive.log.table_format import check_columns
from pipeline.archive.model_name import name_in
from pipeline.archive.model_store import cached_model, checked_fingerprint, is_fingerprint, publish_model
from pipeline.archive.schema import IMAGES, REJECTION_COLUMNS, REJECTIONS, ROW_COLUMNS
from pipeline.archive.shards.merge_reader import merged, merged_tables
from pipeline.archive.shards.shard_reader import find_row, scan_shard
from pipeline.archive.shards.shard_writer import Shard
from pipeline.storage.base import StorageError, Store
from pipeline.storage.open import open_store, open_target

TABLES = ("s3", "gs", "gcs", "az", "abfs", "abfss")
"""Schemes of buckets that deltalake writes tables to, with a put that never replaces an object."""


class ArchiveMissing(StorageError):
    """There is no archive at the URL."""


class IndexRow(NamedTuple):
    """The columns of a row that planning needs.

    Attributes:
        key: the source's key.
        etag: of the source's bytes.
        status: one of `pipeline.archive.schema`.
        model: fingerprint; None unless latent.
        quality: 0..63.75; None unless latent.
        shard: path of the row's Parquet file, relative to `images/`.
    """

    key: str
    etag: str
    status: str
    model: str | None
    quality: int | None
    shard: str


class RejectionRow(NamedTuple):
    """One row of the rejections table, which has one per key and rejected etag; see `Rejection`."""

    key: str
    etag: str
    stage: str
    reason: str


class Archive:
    """An archive at a URL.

    Attributes:
        url: as given.
        root: the store of the whole archive.
        images: the store of `images/`, the root of a Delta table; shards' paths are relative to it.
        rejections: the store of `rejections/`, the root of another one.
        releases: the ledger of originals that were deleted because the archive holds their images.
        erasures: receipts of erasures, and the keys that they bar.
    """

    def __init__(self, url: str) -> None:
        """Nothing is contacted yet: use `open` or `create` for that.

        Args:
            url: of the archive.
        """
        self.root: Store = open_store(url, links=False)
        _check_scheme(self.root)
        self.url = self.root.url
        self.images = self.root.child("images")
        self.rejections = self.root.child("rejections")
        self.releases = Releases(self.root)
        self.erasures = Erasures(self.root)

    @classmethod
    def open(cls, url: str) -> "Archive":
        """The existing archive at a URL.

        Raises:
            ArchiveMissing: when there is none.
            StorageError: when the URL cannot be read, or its table of images is not one of this
                version of maepress. The rejections are not looked at: without them, images can
                still be read.
        """
        archive = cls(url)
        archive.root.check_readable()
        check_columns(archive.table(), IMAGES, archive.images.url)
        return archive

    @classmethod
    def create(cls, url: str) -> "Archive":
        """The archive at a URL, created when there is none.

        Two jobs may call this at the same time.

        Raises:
            StorageError: when the URL cannot be written, or the tables that are there are not those
                of this version of maepress.
        """
        archive = cls(url)
        open_target(url)
        create_table(archive.images, IMAGES)
        create_table(archive.rejections, REJECTIONS)
        check_columns(open_table(archive.images), IMAGES, archive.images.url)
        check_columns(open_table(archive.rejections), REJECTIONS, archive.rejections.url)
        return archive

    def table(self, version: int | None = None) -> DeltaTable:
        """The images table, now or at an older version: for queries, history and `restore`.

        Raises:
            ArchiveMissing: when there is none.
            StorageError: when it cannot be read, or has no such version.
        """
        try:
            return open_table(self.images, version)
        except TableNotFoundError:
            raise ArchiveMissing(
                f"there is no archive at {self.url}: `maepress encode SOURCE {self.url}` makes one"
            ) from None

    def version(self) -> int:
        """The current version of the images table; every commit adds 1."""
        return self.table().version()

    def shards(self, version: int | None = None) -> list[Shard]:
        """The files of the images table (now, or at an older version), in order of first key."""
        return files_of(self.table(version))

    def rows_by_key(self, version: int | None = None) -> Iterator[IndexRow]:
        """Every row's index columns in byte order of the key, streamed.

        Memory grows with the number of shards that overlap, not with the number of rows.
        """
        for row, shard in merged(self.images, self.shards(version), IndexRow._fields[:-1]):
            yield IndexRow._make((*row, shard))

    def rejections_by_key(self) -> Iterator[RejectionRow]:
        """Every rejection in byte order of (key, etag), streamed."""
        for row, _ in merged(
            self.rejections, files_of(open_table(self.rejections)), RejectionRow._fields, sort_columns=2
        ):
            yield RejectionRow(*row)

    def tables_by_key(self, shards: Sequence[Shard], columns: Sequence[str] = ()) -> Iterator[pa.Table]:
        """Some shards as sorted tables with the columns ROW_COLUMNS, `columns`, SHARD."""
        return merged_tables(self.images, shards, (*ROW_COLUMNS, *columns))

    def rejection_tables(self) -> Iterator[pa.Table]:
        """The rejections as sorted tables with the columns REJECTION_COLUMNS, SHARD."""
        files = files_of(open_table(self.rejections))
        return merged_tables(self.rejections, files, REJECTION_COLUMNS, sort_columns=2)

    def row(
        self, key: str, columns: Sequence[str] | None = None, shards: Sequence[Shard] | None = None
    ) -> dict[str, Any] | None:
        """One row, found through file and row-group statistics.

        The number of reads is small and does not depend on the size of the archive.

        Args:
            key: the source's key.
            columns: to read; None for all.
            shards: to search, for callers that keep the list; None for the table's present shards.

        Returns:
            Values by column, or None when the archive has no such key.
        """
        for shard in self.shards() if shards is None else shards:
            if shard.first_key <= key <= shard.last_key:
                found = find_row(self.images, shard, key, columns)
                if found is not None:
                    return found
        return None

    def scan(self, columns: Sequence[str], version: int | None = None) -> Iterator[pa.RecordBatch]:
        """Chosen columns of every row, shard by shard in order of first key."""
        for shard in self.shards(version):
            yield from scan_shard(self.images, shard.path, columns)

    def committer(self, run: str, job: str = "encode") -> Committer:
        """A committer of receipts for a run.

        Create it before planning: it refuses to add keys that another job has added since.
        """
        return Committer(self.images, self.rejections, run, job)

    def put_model(self, fingerprint: str, folder: str | Path) -> None:
        """Copy a model's files to `models/FINGERPRINT/`, unless they are there.

        Call it before the first commit of a row that needs the model.
        """
        publish_model(folder, self.root.child(f"models/{checked_fingerprint(fingerprint)}"))

    def get_model(self, fingerprint: str) -> Path:
        """A local folder with a model of this archive, fetched once per machine.

        Raises:
            StorageError: when the archive lacks it, or `fingerprint` is none.
        """
        return cached_model(self.root.child(f"models/{checked_fingerprint(fingerprint)}"), fingerprint)

    def model_name(self, fingerprint: str) -> str:
        """What a model of this archive is called; empty if it has no name, or is not there."""
        return name_in(self.root.child(f"models/{fingerprint}")) if is_fingerprint(fingerprint) else ""

    def models(self) -> list[str]:
        """Fingerprints of the models inside the archive."""
        store = self.root.child("models")
        if not store.root_exists():
            return []
        names = (entry.key.removesuffix(f"/{CONFIG}") for entry in store.entries())
        return sorted(filter(is_fingerprint, names))


def _check_scheme(root: Store) -> None:
    scheme, mark, _ = root.absolute_url.partition("://")
    if mark and scheme not in TABLES:
        raise StorageError(
            f"{root.url}: an archive cannot be at {scheme}://, where two writers could not exclude each other: give a "
            "folder, s3://, gs:// or abfs://"
        )
