"""Files of a folder that have several keys, as links or folders that are mounted twice lead to them.

Who deletes such a file under one key takes it from the others. A hard link is none of them: each of its names can go
by itself.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pipeline.storage.listing.ordered_walk import Page, walk
from pipeline.storage.local_names import path_of

_Id = tuple[int, int]
"""Device and inode of a folder."""


class LinkedFiles:
    """What one walk over a folder, links included, found. Memory holds its folders and its links to files."""

    def __init__(self, root: Path, pages: Callable[[str], Iterable[Page]]) -> None:
        """Walk over the folder; what cannot be listed is left out.

        Args:
            root: the folder.
            pages: lists one folder below it, as for `walk`.
        """
        self._root = root
        self._prefixes: dict[_Id, tuple[str, ...]] = {}  # at most two of each folder
        self._links: dict[tuple[_Id, str], str] = {}  # keys of links, by the file that they lead to
        for _ in walk(lambda prefix: self._noted(prefix, pages(prefix)), unlisted=lambda *_: None):
            pass

    def other_key(self, key: str) -> str | None:
        """Another key of the same file, None where there is none."""
        path = self._root / path_of(key)
        if (folder := _id_of(path.parent)) is None:
            return None
        above = key[: key.rfind("/") + 1]
        others = (prefix + key[len(above) :] for prefix in self._prefixes.get(folder, ()) if prefix != above)
        return next(others, None) or self._links.get((folder, path.name))

    def _noted(self, prefix: str, pages: Iterable[Page]) -> Iterator[Page]:
        folder = _id_of(self._root / path_of(prefix))
        known = self._prefixes.get(folder, ()) if folder else ()
        if folder and len(known) < 2:
            self._prefixes[folder] = (*known, prefix)
        for page in pages:
            for entry in page.files:
                path = self._root / path_of(entry.key)
                if path.is_symlink():
                    real = Path(os.path.realpath(path))
                    if there := _id_of(real.parent):
                        self._links[there, real.name] = entry.key
            yield page


def _id_of(folder: Path) -> _Id | None:
    with contextlib.suppress(OSError):
        facts = folder.stat()
        return facts.st_dev, facts.st_ino
    return None
