"""A fake S3 listing in Amazon's order: whole keys in byte order.

If a request has a delimiter, keys with the same sub-folder are grouped.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from pipeline.storage.base import Entry
from pipeline.storage.listing.ordered_walk import Page
from pipeline.storage.s3.flat_listing import Request


class SortedServer:
    """Serves listing requests from a list of keys.

    Attributes:
        pages: number of pages served.
    """

    def __init__(self, keys: Iterable[str], page_keys: int = 1000) -> None:
        """Args: keys: in any order. page_keys: largest number of keys and folders per page."""
        self._keys, self._page_keys = sorted(keys), page_keys
        self.pages = 0

    def page(self, wanted: Request) -> tuple[Page, str | None]:
        """A page, and the token of the next one or None."""
        self.pages += 1
        keys, prefix = self._keys, wanted.prefix
        at = max(bisect_left(keys, prefix), bisect_right(keys, wanted.after)) if not wanted.token else int(wanted.token)
        files: list[Entry] = []
        folders: list[str] = []
        while at < len(keys) and keys[at].startswith(prefix) and len(files) + len(folders) < self._page_keys:
            name, slash, _ = keys[at][len(prefix) :].partition("/")
            if slash and wanted.delimiter:
                folders.append(f"{prefix}{name}/")
                at = bisect_left(keys, f"{prefix}{name}0", at)  # "0" comes after "/"
            else:
                files.append(Entry(keys[at], 1, "e"))
                at += 1
        more = at < len(keys) and keys[at].startswith(prefix)
        return Page(files, folders), str(at) if more else None
