"""One listing of a source: what a job takes of it, what it leaves out, and what could not be listed."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from pipeline.storage.base import Entry, StorageError, Store
from pipeline.storage.listing.key_globs import EVERYTHING, KeyGlobs


class SourceListing:
    """Lists a source once, and counts.

    listing = SourceListing(source, settings.globs())
    for entry in listing: ...
    listing.excluded, listing.unlisted                  # known at the end

    Attributes:
        source: the store that is listed.
        taken: objects that were passed on.
        excluded: objects that the globs left out.
        unlisted: folders that could not be listed, with the reasons.
    """

    def __init__(self, source: Store, globs: KeyGlobs = EVERYTHING) -> None:
        """Nothing is listed yet."""
        self.source, self._globs = source, globs
        self._prefixes: list[str] = []
        self.taken = self.excluded = 0
        self.unlisted: dict[str, str] = {}

    def __iter__(self) -> Iterator[Entry]:
        """The chosen objects in key order.

        Raises:
            StorageError: at the end, when there are objects and the globs choose none.
        """
        entries = self.source.entries(self._not_listed)
        if self._globs.everything:
            for entry in entries:
                self.taken += 1
                yield entry
            return
        for entry in entries:
            if self._globs.chooses(entry.key):
                self.taken += 1
                yield entry
            else:
                self.excluded += 1
        if self.excluded and not self.taken:
            raise StorageError(
                f"of the {self.excluded:,} objects in {self.source.url} none is left by --include and --exclude"
            )

    def hides(self, key: str) -> bool:
        """Whether a key may exist in the source although it was not passed on: left out, or in such a folder."""
        if not self._globs.chooses(key):
            return True
        return self._is_below(key)

    def _is_below(self, key: str) -> bool:
        """Whether a key begins with one of the prefixes: no other than the last one before it can be that."""
        at = bisect_right(self._prefixes, key)
        return any(key.startswith(prefix) for prefix in self._prefixes[max(0, at - 1) : at])

    def _not_listed(self, prefix: str, reason: str) -> None:
        if prefix in self.unlisted:
            return
        self.unlisted[prefix] = reason
        if self._is_below(prefix):
            return
        at = bisect_left(self._prefixes, prefix)  # what lies below a prefix would hide it from `_is_below`
        while at < len(self._prefixes) and self._prefixes[at].startswith(prefix):
            del self._prefixes[at]
        self._prefixes.insert(at, prefix)
