"""A bucket listed by its S3 Inventory: `s3://photos/2024#inventory=s3://lists/photos/nightly`.

Keys and etags are those of the bucket itself, so an archive may change between both ways of listing.
Objects are read from the bucket.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import BinaryIO

import pyarrow as pa

from pipeline.sources.inventory.files import entries_of
from pipeline.sources.inventory.manifest import Manifest, newest, read_manifest
from pipeline.sources.listed_store import ListedStore
from pipeline.storage.base import Fetched, FetchFailed, Ranges, StorageError
from pipeline.storage.open import open_store
from pipeline.storage.s3.store import S3Store


class InventoryStore(ListedStore):
    """A bucket, or a prefix of one, as it was when its inventory was made."""

    what = "the inventory of a bucket"

    def __init__(self, inner: S3Store, view: str, inventory: str) -> None:
        """Nothing is read yet.

        Args:
            inner: the bucket or prefix.
            view: the part of the address from `#` on.
            inventory: address of the folder of the inventory's configuration, or of a manifest.json.

        Raises:
            StorageError: for an address that is none.
        """
        super().__init__(inner, view)
        self._s3, self._inventory, self._key = inner, inventory, ""
        folder = inventory.rstrip("/")
        if folder.endswith("/manifest.json"):
            folder, night, name = folder.rsplit("/", 2)
            self._key = f"{night}/{name}"
        self._place = open_store(folder)
        self._manifest: Manifest | None = None

    def __reduce__(self) -> tuple[type["InventoryStore"], tuple[S3Store, str, str]]:
        return InventoryStore, (self._s3, self._view, self._inventory)

    def check_readable(self) -> None:
        """See Store."""
        self.inner.check_readable()
        self._current()

    def is_empty(self) -> bool:
        """See Store: of a mistyped prefix the bucket itself says so, in one request."""
        return not self._current().files or self.inner.is_empty()

    def listed_at(self) -> datetime:
        """See Store."""
        return self._current().created

    def fetch(self, keys: Sequence[str], max_bytes: int | None = None) -> list[Fetched | FetchFailed]:
        """See Store."""
        return self.inner.fetch(keys, max_bytes)

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]], etag: str | None = None) -> Ranges | FetchFailed:
        """See Store."""
        return self.inner.read_ranges(key, ranges, etag)

    def open_input(self, key: str) -> BinaryIO:
        """See Store."""
        return self.inner.open_input(key)

    def problem_with_deleting(self) -> str:
        """See Store."""
        return f"an inventory does not know what was written since: give the bucket itself, {self.inner.url}"

    def _tables(self) -> Iterator[pa.Table]:
        """See ListedStore."""
        return entries_of(self._place, self._current(), self._s3.bucket, self._s3.prefix)

    def _current(self) -> Manifest:
        """The manifest; one per store, so that a run sees one night."""
        if self._manifest is None:
            self._place.check_readable()
            key = self._key or newest(self._place)
            self._manifest = read_manifest(self._place, key, self._s3.bucket)
        return self._manifest


def inventory_of(inner: object, view: str, inventory: str) -> InventoryStore:
    """The store of an address.

    Raises:
        StorageError: for a place that is no bucket of S3, or no address of an inventory.
    """
    if not isinstance(inner, S3Store):
        raise StorageError(f"#inventory lists a bucket of S3: write s3://BUCKET{view}")
    if not inventory:
        raise StorageError(
            f"{inner.url}{view} names no inventory: write {inner.url}#inventory=s3://BUCKET/PREFIX/CONFIGURATION"
        )
    return InventoryStore(inner, view, inventory)
