"""The folder `origin/` of a replica: logs and records of its primary, byte for byte.

A replica is an archive with a log of its own. To mend the log of the primary after damage, its
bytes are needed as they were; so each replication keeps them here, with a list of their digests:

    origin/images/_delta_log/00000000000000000007.json      also those of rejections and releases, runs/
    origin/digests.json                                     {"images/_delta_log/0...7.json": SHA-256, ...}

The folder follows the primary exactly: what the primary removes from its log is removed here as
well. A primary whose log has problems is never followed.
"""

import hashlib
import json
from collections.abc import Iterator

from pipeline.storage.base import Fetched, Outage, StorageError, Store

FOLDER = "origin"
DIGESTS = "digests.json"
LOGS = ("images/_delta_log", "rejections/_delta_log", "releases/_delta_log")
RUNS = "runs"
_AT_ONCE = 64


def follow(primary: Store, replica: Store) -> int:
    """Bring `origin/` up to date. Returns the number of files written or removed.

    The list of digests is written last: what it does not name, or names otherwise, does not count.

    Args:
        primary: root of the archive, whose logs were found sound just now.
        replica: root of the replica.

    Raises:
        StorageError: when a file cannot be read or written.
    """
    known, there = digests(replica), replica.child(FOLDER)
    wanted: dict[str, str] = {}
    changed = 0
    for folder in (*LOGS, RUNS):
        for got in _all(primary, [f"{folder}/{name}" for name in _names(primary.child(folder))]):
            wanted[got.key] = hashlib.sha256(got.data).hexdigest()
            if known.get(got.key) != wanted[got.key]:
                there.put(got.key, got.data)
                changed += 1
    # Also what a run left that died before it could remove it: it is named by no list any more.
    gone = set(_names(there)) - wanted.keys() - {DIGESTS}
    if changed or wanted != known or not known:
        there.put(DIGESTS, json.dumps(wanted, indent=0, sort_keys=True).encode())
    for name in gone:
        there.delete(name)
    return changed + len(gone)


def digests(replica: Store) -> dict[str, str]:
    """SHA-256 of the files of `origin/`, by name; empty where there is no list that can be read."""
    if not replica.exists(f"{FOLDER}/{DIGESTS}"):
        return {}
    try:
        found = json.loads(replica.get(f"{FOLDER}/{DIGESTS}"))
    except (ValueError, RecursionError):
        return {}
    return {str(name): str(digest) for name, digest in found.items()} if isinstance(found, dict) else {}


def intact(replica: Store, name: str, known: dict[str, str]) -> bytes | None:
    """A file of the primary as it was when it was copied; None where the replica has none, or a damaged one.

    Args:
        replica: its root.
        name: of the file, as in `known`.
        known: `digests` of the replica.
    """
    digest = known.get(name)
    if digest is None:
        return None
    (got,) = replica.child(FOLDER).fetch([name])
    return got.data if isinstance(got, Fetched) and hashlib.sha256(got.data).hexdigest() == digest else None


def _names(folder: Store) -> list[str]:
    return [entry.key for entry in folder.entries()] if folder.root_exists() else []


def _all(store: Store, names: list[str]) -> Iterator[Fetched]:
    for start in range(0, len(names), _AT_ONCE):
        for got in store.fetch(names[start : start + _AT_ONCE]):
            if not isinstance(got, Fetched):
                if got.transient:
                    raise Outage(f"{store.url}/{got.key} cannot be read: {got.reason}")
                raise StorageError(f"{store.url}/{got.key} cannot be read: {got.reason}")
            yield got
