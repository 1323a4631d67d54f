"""Pruning a replica: what its primary no longer has goes, so that what was erased there is erased here.

Removed are files of tables, and payloads that rows share, that the primary's folders do not hold and
the replica's current version does not need, and the replica's own log before its latest version: its
entries name the first and last keys of shards. Records of checks of the replica that name keys go as
well.
"""

from pipeline.archive.archive import Archive
from pipeline.archive.log.commit_seal import log_file
from pipeline.archive.log.delta_table import files_of, open_table
from pipeline.archive.schema import LOG
from pipeline.archive.shards.payload_references import named_by, shared_payloads
from pipeline.runs.checks import FOLDER as CHECKS
from pipeline.runs.checks import files_with_keys
from pipeline.storage.base import Store


def prune(primary: Archive, replica: Archive) -> int:
    """Remove from a replica that was just brought up to date what its primary no longer has.

    The replica's older versions cannot be restored afterwards.

    Returns:
        The number of files removed.
    """
    removed = 0
    pairs = [(primary.images, replica.images), (primary.rejections, replica.rejections)]
    if replica.releases.table() is not None:
        pairs.append((primary.releases.store, replica.releases.store))
    for ours, theirs in pairs:
        needed = {shard.path for shard in files_of(open_table(theirs))}
        if shared_payloads(theirs):
            needed |= named_by(theirs, list(needed))
        kept = {entry.key for entry in ours.entries()} | needed
        removed += _remove(theirs, {entry.key for entry in theirs.entries() if not entry.key.startswith(LOG)} - kept)
        removed += _forget_versions(theirs)
    return removed + _remove(replica.root, {f"{CHECKS}/{name}" for name in files_with_keys(replica.root)})


def discard_unfinished(replica: Archive) -> int:
    """Remove what killed jobs left half-written in a replica, which may hold erased rows. Returns the number.

    Raises:
        StorageError: when it may not be listed.
    """
    found = [one for one in replica.root.unfinished() if not one.key.startswith(("plans/", "leases/"))]
    for one in found:
        replica.root.discard(one)
    return len(found)


def _forget_versions(store: Store) -> int:
    """Leave nothing of a table's log but its latest version."""
    table = open_table(store)
    version: int = table.version()
    if version == 0:
        return 0
    table.create_checkpoint()
    latest = log_file(version)
    stem = latest.removesuffix(".json")
    names = {entry.key for entry in store.entries() if entry.key.startswith(LOG)}
    old = {name for name in names if name < stem and name[len(LOG) :][:1].isdigit()}
    return _remove(store, old)


def _remove(store: Store, keys: set[str]) -> int:
    for key in sorted(keys):
        store.delete(key)
    return len(keys)
