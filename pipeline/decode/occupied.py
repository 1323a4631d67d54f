"""What a decode must not do to files that are there already: checks before anything is written.

Each single write is exclusive, so nothing is lost without these checks. They tell within seconds
what would otherwise come out image by image, after an hour perhaps.
"""

import fnmatch
import hashlib
from collections.abc import Iterator
from itertools import islice
from typing import Any

from pipeline.archive.archive import Archive
from pipeline.archive.schema import COMPRESSED, PIXELS
from pipeline.archive.selection import Selection
from pipeline.archive.shards.merge_reader import merged
from pipeline.runs.sources import recorded_sources
from pipeline.storage.base import Entry
from pipeline.storage.open import Fetched, StorageError, Store
from pipeline.storage.places import is_within

LOOKED_AT = 10_000
"""Files of the destination that are compared before the first image is decoded, in key order."""
FETCHED = 16
"""Files among them whose bytes are read."""
_COLUMNS = ("key", "status", "source_format", "source_bytes", "source_sha256")


def require_outside_sources(archive: Archive, dest: Store) -> None:
    """Check that a destination lies in no folder that the archive's last runs encoded.

    The next encode would take the restored images for new ones. The source itself is allowed: it
    may have to be restored.

    Raises:
        StorageError: when it does.
    """
    for source in recorded_sources(archive.root):
        if is_within(dest, source) and not is_within(source, dest):
            raise StorageError(
                f"the destination {dest.url} lies inside the archive's source {source.url}, where the next encode "
                "would take the restored images for new ones: give another place"
            )


def require_free(archive: Archive, selection: Selection, dest: Store, keys: str, own_format: frozenset[str]) -> None:
    """Check that a destination does not hold other files under the keys of an archive.

    Looks at the first `LOOKED_AT` files only, and only at what is known without decoding: a kept
    source has the size that its row says, and a compressed image is never its source.

    Args:
        archive: that is decoded.
        selection: the rows that are decoded.
        dest: where they go.
        keys: the glob of these rows.
        own_format: source formats whose compressed images are written under their own keys.

    Raises:
        StorageError: when files would have to be overwritten.
    """
    entries = list(islice(dest.entries(), LOOKED_AT)) if dest.root_exists() else []
    if not entries:
        return
    shards = [shard for shard in selection.shards if shard.first_key <= entries[-1].key]
    others: list[str] = []
    fetched = 0
    for entry, row in _pairs(entries, (row for row, _ in merged(archive.images, shards, _COLUMNS, unreadable=set()))):
        if not fnmatch.fnmatchcase(entry.key, keys):
            continue
        _, status, source_format, source_bytes, sha256 = row
        if status not in (*COMPRESSED, PIXELS):
            if entry.size != source_bytes:
                others.append(entry.key)
        elif (status == PIXELS or source_format in own_format) and entry.size == source_bytes and fetched < FETCHED:
            fetched += 1
            (got,) = dest.fetch([entry.key])
            if isinstance(got, Fetched) and hashlib.sha256(got.data).hexdigest() == sha256:
                others.append(entry.key)
    if others:
        names = ", ".join(others[:3]) + (" ..." if len(others) > 3 else "")
        raise StorageError(
            f"{dest.url} holds other files under keys of the archive, the sources perhaps ({names}): give another "
            "destination, or --overwrite to replace them"
        )


def _pairs(entries: list[Entry], rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Entry, tuple[Any, ...]]]:
    """The files and rows of equal keys, from two streams in key order."""
    at = 0
    for row in rows:
        if not isinstance(row[0], str):  # of a damaged shard; reported when its rows are read
            continue
        while at < len(entries) and entries[at].key < row[0]:
            at += 1
        if at == len(entries):
            return
        if entries[at].key == row[0]:
            yield entries[at], row
