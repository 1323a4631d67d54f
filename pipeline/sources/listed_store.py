"""The base of sources whose listing lies in files: lists of addresses, inventories of buckets."""

from abc import abstractmethod
from collections.abc import Iterator

import pyarrow as pa

from pipeline.sources.external_sort import in_key_order
from pipeline.sources.read_only import ReadOnlyStore
from pipeline.storage.base import Entry, NotListed, StorageError


class ListedStore(ReadOnlyStore):
    """A store whose objects are named in files, in any order; a subclass reads one kind of them."""

    @abstractmethod
    def _tables(self) -> Iterator[pa.Table]:
        """The listing in any order, as tables of `external_sort.ENTRIES`.

        Raises:
            StorageError: when it cannot be read to its end: an object that it lacks would count as gone.
        """

    def child(self, name: str) -> "ListedStore":
        """See Store: its keys are those of the listing."""
        raise StorageError(f"{self.url}: {self.what} has no folder {name!r}")

    def entries(self, unlisted: NotListed | None = None) -> Iterator[Entry]:
        """See Store. A file of the listing that cannot be read ends it: what it names is not known."""
        del unlisted
        return in_key_order(self._tables())

    def is_empty(self) -> bool:
        """See Store: sorting everything to see one entry would take minutes."""
        return not any(table.num_rows for table in self._tables())
