"""Which rows a decode takes, and which of their new names are taken."""

import fnmatch
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.archive.archive import Archive
from pipeline.archive.merge_reader import merged
from pipeline.archive.shards import Shard


@dataclass(frozen=True, slots=True)
class Selection:
    """What matches a glob.

    Attributes:
        shards: files with matching rows (or that cannot be read, so that reading them says why), in order of first key.
        objects: matching rows.
        payload_bytes: of these.
        taken: keys that are another matching key plus a suffix: `a.jpg` may not become `a.jpg.png` where that is a
            key itself.
    """

    shards: tuple[Shard, ...]
    objects: int
    payload_bytes: int
    taken: frozenset[str]


def select(archive: Archive, keys: str, suffixes: Sequence[str]) -> Selection:
    """Go once through the archive's keys, in order, without reading payloads.

    Args:
        archive: to look through.
        keys: a glob for `fnmatch.fnmatchcase`.
        suffixes: what may be appended to a key.
    """
    prefix = literal_prefix(keys)
    shards = [s for s in archive.shards() if s.last_key >= prefix and s.first_key <= prefix + "\U0010ffff"]
    used: set[str] = set()
    unreadable: set[str] = set()
    objects = size = 0
    taken: set[str] = set()
    pending: deque[str] = deque()  # earlier keys that later ones may begin with
    rows = merged(archive.images, shards, ("key", "payload_bytes"), unreadable=unreadable)
    for (key, payload_bytes), path in rows:
        if not fnmatch.fnmatchcase(key, keys):
            continue
        used.add(path)
        objects += 1
        size += payload_bytes
        while pending and not key.startswith(pending[-1]):
            pending.pop()
        if any(key == earlier + suffix for earlier in pending for suffix in suffixes):
            taken.add(key)
        pending.append(key)
    return Selection(tuple(s for s in shards if s.path in used | unreadable), objects, size, frozenset(taken))


def literal_prefix(glob: str) -> str:
    """What every key that matches the glob begins with."""
    special = [glob.index(c) for c in "*?[" if c in glob]
    return glob[: min(special)] if special else glob
