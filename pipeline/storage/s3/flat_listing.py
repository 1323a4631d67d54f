"""Listing a server that sorts whole keys: several ranges of keys at once, with few requests.

Flat pages (without a delimiter) hold a thousand keys each, the fewest requests possible, but each
page must wait for the one before it. So a listing is divided at folders:

    a folder of one page           not divided
    sub-folders that fill pages    each is listed by itself, and divided in the same way
    small sub-folders              their names are listed, a thousand per page, and groups of them are read as ranges:
                                   a/ ... d/ | e/ ... h/ | ...     flat pages of the keys from e/ to h/
    no sub-folders                 page after page, as no key to divide at is known

To a walk (`pipeline.storage.listing.ordered_walk`), a range is a folder with the name of its first folder.
"""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import NamedTuple

from pipeline.storage.base import Entry
from pipeline.storage.listing.ordered_walk import Page, check_order

RANGE_PAGES = 4
"""Approximate number of pages per range: as many as are requested in advance of one folder."""

_LARGE = 3
"""Sub-folders are large when fewer than this many fill a page."""

_LAST, _AFTER_SLASH = "\U0010ffff", "0"
"""The highest character, and the character after "/"."""


class Request(NamedTuple):
    """A request for one page.

    Attributes:
        prefix: of the keys.
        delimiter: "/" for a folder's own level, "" for everything below it.
        after: only keys after this one; not together with `token`.
        token: the continuation token of the page before.
    """

    prefix: str
    delimiter: str = ""
    after: str = ""
    token: str | None = None


class _Range(str):
    """A range of neighbouring folders, as a string with the name of the first one.

    A walk sees only the string, the name of a folder; FlatListing also uses the attributes.
    """

    prefix: str
    after: str
    end: str

    @classmethod
    def of(cls, folders: list[str], prefix: str, before: str) -> "_Range":
        """Neighbouring folders below `prefix`, and a key shortly before the first one."""
        made = cls(folders[0])
        made.prefix = prefix
        made.after = before
        made.end = folders[-1][:-1] + _AFTER_SLASH
        return made


class FlatListing:
    """Lists a folder or a range; use it as the argument `pages` of a walk.

    Ranges are correct only if the server sorts whole keys, so every page's order is checked.
    """

    def __init__(self, page: Callable[[Request], tuple[Page, str | None]], url: str) -> None:
        """No request is made yet.

        Args:
            page: requests a page; returns it and the token of the next one.
            url: of the store, for messages.
        """
        self._ask, self._url = page, url

    def __call__(self, name: str) -> Iterator[Page]:
        """The pages of a folder, or of a range from an earlier page.

        Raises:
            StorageError: at the first key out of order.
        """
        if isinstance(name, _Range):
            yield from self._in_range(name)
            return
        page, more = self._page(Request(name))
        if not more:
            yield page
            return
        nested = [folder for entry in page.files if (folder := _folder_of(entry.key, name))]
        folders = len(set(nested))
        if folders and _LARGE * len(nested) >= folders * len(page.files):
            yield from self._all(Request(name, "/"))
            return
        yield page
        if not nested:
            yield from self._all(Request(name, token=more))
            return
        run = max(1, RANGE_PAGES * len(page.files) * folders // len(nested))
        before = page.files[-1].key
        for level in self._all(Request(name, "/", after=before)):
            ranges, before = _divide(level, name, before, run)
            yield Page(level.files, ranges)

    def _in_range(self, found: _Range) -> Iterator[Page]:
        for page in self._all(Request(found.prefix, after=found.after)):
            yield Page([e for e in page.files if found <= e.key < found.end and _folder_of(e.key, found.prefix)], [])
            if page.files and page.files[-1].key >= found.end:
                return

    def _all(self, request: Request) -> Iterator[Page]:
        more: str | None = None
        last: list[Entry] = []
        while True:
            page, more = self._page(request._replace(after="", token=more) if more else request)
            deque(check_order(last + page.files[:1], self._url), maxlen=0)
            last = page.files[-1:] or last
            yield page
            if not more:
                return

    def _page(self, request: Request) -> tuple[Page, str | None]:
        page, more = self._ask(request)
        deque(check_order(page.files, self._url), maxlen=0)
        return page, more


def _divide(level: Page, prefix: str, before: str, run: int) -> tuple[list[str], str]:
    """Ranges of at most `run` neighbouring folders without a file between them.

    Args:
        level: a page of a folder's own level.
        prefix: of the folder.
        before: the greatest key before this page, or one slightly below it.
        run: folders per range, at most.

    Returns:
        The ranges, and `before` for the next page.
    """
    ranges: list[str] = []
    names = sorted([*((folder, True) for folder in level.folders), *((e.key, False) for e in level.files)])
    for is_folder, members in groupby(names, key=lambda name: name[1]):
        found = [name for name, _ in members]
        for at in range(0, len(found) if is_folder else 0, run):
            ranges.append(_Range.of(found[at : at + run], prefix, before))
            before = found[min(at + run, len(found)) - 1] + _LAST
        if not is_folder:
            before = found[-1]
    return ranges, before


def _folder_of(key: str, prefix: str) -> str:
    """The name of the sub-folder of `prefix` that contains a key; empty if none does."""
    name, slash, _ = key[len(prefix) :].partition("/")
    return name if slash else ""
