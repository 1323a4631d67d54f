"""Selecting rows by a glob, and finding new file names that collide with other keys."""

import fnmatch
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.archive.archive import Archive
from pipeline.archive.key_choice import literal_prefix
from pipeline.archive.shards.merge_reader import merged
from pipeline.archive.shards.shard_writer import Shard


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows that match a glob.

    Attributes:
        shards: files with matching rows, in order of first key; unreadable files are included, so
            that reading them reports the reason.
        objects: number of matching rows.
        payload_bytes: of these rows.
        taken: keys that are another matching key plus a suffix: `a.jpg` may not become `a.jpg.png`
            if that is a key.
        folders: the same of folders: where files lie in folders, it may not if `a.jpg.png/b` is a
            key, either.
    """

    shards: tuple[Shard, ...]
    objects: int
    payload_bytes: int
    taken: frozenset[str]
    folders: frozenset[str]


def select(archive: Archive, keys: str, suffixes: Sequence[str]) -> Selection:
    """Read the archive's keys once, in order, without payloads.

    Args:
        archive: to read.
        keys: a glob for `fnmatch.fnmatchcase`.
        suffixes: that may be appended to a key.
    """
    prefix = literal_prefix(keys)
    shards = [s for s in archive.shards() if s.last_key >= prefix and s.first_key <= prefix + "\U0010ffff"]
    used: set[str] = set()
    unreadable: set[str] = set()
    objects = size = 0
    taken: set[str] = set()
    folders: set[str] = set()
    pending: deque[str] = deque()  # earlier keys that are prefixes of the current one
    rows = merged(archive.images, shards, ("key", "payload_bytes"), unreadable=unreadable)
    for (key, payload_bytes), path in rows:
        if not fnmatch.fnmatchcase(key, keys):
            continue
        used.add(path)
        objects += 1
        size += payload_bytes
        while pending and not key.startswith(pending[-1]):
            pending.pop()
        for name in (earlier + suffix for earlier in pending for suffix in suffixes):
            if key == name:
                taken.add(name)
            elif key.startswith(f"{name}/"):
                folders.add(name)
        pending.append(key)
    chosen = tuple(s for s in shards if s.path in used | unreadable)
    return Selection(chosen, objects, size, frozenset(taken), frozenset(folders))
