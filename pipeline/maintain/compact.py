"""Compact: join small shards.

Every nightly run leaves a small shard. A thousand of them make planning and reading slow (a
thousand footers to read), so neighbours are joined, a few at a time: rows are copied unchanged,
with one row group per shard in memory, and one transaction replaces the old shards by the new one.
Readers see the one or the other; no image is compressed again.

If another job has changed one of the shards meanwhile, its change stands, and that group is left
for the next time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from deltalake import Transaction
from deltalake.exceptions import CommitFailedError

from pipeline.archive.archive import Archive
from pipeline.archive.log.commit_seal import FilesDigest
from pipeline.archive.log.commits import CommitConflict, transact
from pipeline.archive.log.delta_table import files_of, open_table
from pipeline.archive.receipt import Receipt
from pipeline.archive.schema import REJECTIONS
from pipeline.archive.shards.merge_reader import merged_tables
from pipeline.archive.shards.shard_writer import Shard, merge_shards, write_sorted
from pipeline.maintain.settings import CompactSettings
from pipeline.runs.lease import Lease
from pipeline.runs.name import new_run

__all__ = ["CompactResult", "CompactSettings", "compact"]

_MAX_GROUP = 32
"""Largest number of shards that become one; memory holds a row group of each."""


@dataclass(frozen=True, slots=True)
class CompactResult:
    """The result of a compaction.

    Attributes:
        shards_before: shards of the images table.
        shards_after: shards of the images table.
        bytes_written: bytes of the new shards.
        gave_way: groups of shards that were left alone because another job changed them meanwhile.
        rejections_before: files of the rejections table.
        rejections_after: files of the rejections table.
    """

    shards_before: int
    shards_after: int
    bytes_written: int
    gave_way: int
    rejections_before: int
    rejections_after: int

    def to_dict(self) -> dict[str, object]:
        """The fields."""
        return asdict(self)


def compact(settings: CompactSettings) -> CompactResult:
    """Join small shards of both tables.

    The old ones stay for older versions, until a vacuum removes them.

    Raises:
        MaepressError: in one line, when there is no archive, or while a sync, a restore or another
            compaction runs.
    """
    archive = Archive.open(settings.archive)
    run = new_run()
    target = settings.shard_mib << 20
    with Lease(archive.root, run, "compact") as lease:
        committer = archive.committer(run, "compact")
        before = archive.shards()
        written = gave_way = 0
        for group in small_neighbours(before, target):
            shard = merge_shards(archive.images, [old.path for old in group])
            receipts = [Receipt(0, add=shard, remove=group[0].path), *(Receipt(0, remove=s.path) for s in group[1:])]
            lease.check()
            try:
                committer.commit(receipts, rearranges=True)
            except CommitConflict:
                gave_way += 1
            else:
                written += shard.size
        rejections = _compact_rejections(archive, run)
    return CompactResult(len(before), len(archive.shards()), written, gave_way, *rejections)


def small_neighbours(shards: Sequence[Shard], target: int) -> Iterator[list[Shard]]:
    """Groups of shards to join: neighbours among the small ones, each group up to the target size.

    Args:
        shards: in order of first key.
        target: bytes of a shard; one with less than half of that is small.
    """
    group: list[Shard] = []
    for shard in (shard for shard in shards if shard.size < target / 2):
        if group and (sum(s.size for s in group) + shard.size > target or len(group) == _MAX_GROUP):
            if len(group) > 1:
                yield group
            group = []
        group.append(shard)
    if len(group) > 1:
        yield group


def _compact_rejections(archive: Archive, run: str) -> tuple[int, int]:
    """Join all files of the rejections table. Returns their number before and after."""
    store = archive.rejections
    table = open_table(store)
    old = files_of(table)
    if len(old) < 2:
        return len(old), len(old)
    rows = (part.select(REJECTIONS.names) for part in merged_tables(store, old, REJECTIONS.names, sort_columns=2))
    new = write_sorted(store, rows, REJECTIONS, 0)
    mark, facts = Transaction(run, 1), {"run": run, "job": "compact"}
    try:
        transact(store, table, REJECTIONS, [new] if new else [], old, mark, facts, FilesDigest(old), rearranges=True)
    except CommitFailedError:  # a job has added rejections meanwhile: leave it for the next time
        return len(old), len(files_of(open_table(store)))
    return len(old), 1
