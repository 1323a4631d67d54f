"""Listing a server that sorts whole keys, several stretches of them at once and with few requests.

Flat pages cost the fewest requests, a thousand keys each, but follow each other. So a listing is cut at folders:

    a folder of one page         nothing to cut
    its sub-folders fill pages   each is listed by itself, and cut in its turn
    its sub-folders are small    their names are listed, a thousand a page, and runs of them are read as one range:
                                 a/ ... d/ | e/ ... h/ | ...     flat pages of what lies from e/ to h/
    it has no sub-folders        page after page; nothing tells where to cut

To a walk (`pipeline.storage.ordered_walk`) a range is a folder that is named after its first one.
"""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import NamedTuple

from pipeline.storage.base import Entry
from pipeline.storage.ordered_walk import Page, check_order

RANGE_PAGES = 4
"""Pages of a range, about; as many as are read ahead of one."""

_LARGE = 3
"""Sub-folders of which less than so many fill a page are large."""

_LAST, _AFTER_SLASH = "\U0010ffff", "0"
"""No character is above the one; the other comes after "/"."""


class Request(NamedTuple):
    """A page that is asked for.

    Attributes:
        prefix: of its keys.
        delimiter: "/" for a folder's own level, "" for everything below.
        after: keys up to this one are left out; not beside `token`.
        token: where the page before said that the listing goes on.
    """

    prefix: str
    delimiter: str = ""
    after: str = ""
    token: str | None = None


class _Range(str):
    """The name of a run's first folder, and where the run is: a folder to everybody but the one who made it."""

    prefix: str
    after: str
    end: str

    @classmethod
    def of(cls, folders: list[str], prefix: str, before: str) -> "_Range":
        """Folders that follow each other below `prefix`, and the greatest key before them, or nearly."""
        made = cls(folders[0])
        made.prefix = prefix
        made.after = before
        made.end = folders[-1][:-1] + _AFTER_SLASH
        return made


class FlatListing:
    """Lists a folder or a range: the `pages` of a walk.

    Ranges are right only where the server keeps the order that it promised, so every page is checked for that.
    """

    def __init__(self, page: Callable[[Request], tuple[Page, str | None]], url: str) -> None:
        """Args: page: a page, and the token of the next one. url: the store's, for messages."""
        self._ask, self._url = page, url

    def __call__(self, name: str) -> Iterator[Page]:
        """The pages of a folder, or of a range that an earlier page named.

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
            ranges, before = _cut(level, name, before, run)
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


def _cut(level: Page, prefix: str, before: str, run: int) -> tuple[list[str], str]:
    """Ranges of at most `run` folders that follow each other without a file between them.

    Args:
        level: a page of a folder's own level.
        prefix: the folder.
        before: the greatest key before this page, or nearly.
        run: folders of a range.

    Returns:
        The ranges, and `before` of the next page.
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
    """The sub-folder of `prefix` that a key lies in; empty for none."""
    name, slash, _ = key[len(prefix) :].partition("/")
    return name if slash else ""
