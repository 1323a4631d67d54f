"""Compact: join small shards.

Nightly additions leave a small shard each. A thousand of them make planning and reading slow (a thousand footers), so
neighbours are joined, a few at a time: their rows are copied as they are, a row group of each in memory, and one
transaction puts the new shard in the place of the old ones. Readers see either; nothing is pressed again.

A job that changed one of the shards meanwhile was right: that group is left for another time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from deltalake import Transaction
from deltalake.exceptions import CommitFailedError

from pipeline.archive.archive import Archive
from pipeline.archive.commits import CommitConflict, transact
from pipeline.archive.delta_table import files_of, open_table
from pipeline.archive.lease import Lease
from pipeline.archive.merge_reader import merged_tables
from pipeline.archive.receipt import Receipt
from pipeline.archive.run_id import new_run
from pipeline.archive.schema import REJECTIONS
from pipeline.archive.shards import Shard, merge_shards, write_sorted
from pipeline.maintain.settings import CompactSettings

__all__ = ["CompactResult", "CompactSettings", "compact"]

_MOST_AT_ONCE = 32
"""Shards that become one: what bounds the memory, with a row group of each."""


@dataclass(frozen=True, slots=True)
class CompactResult:
    """What a compaction did.

    Attributes:
        shards_before: of the images table.
        shards_after: of the images table.
        bytes_written: of new shards.
        gave_way: groups of shards that another job changed meanwhile and that were left as they are.
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
    """Join small shards of both tables. Until a vacuum, the old ones still serve older versions.

    Raises:
        MaepressError: in one line, when there is no archive, or a sync, a restore or another compaction is at work.
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
    """Groups of shards to join: next to each other among the small ones, together about a shard of the target size.

    Args:
        shards: in order of first key.
        target: bytes; a shard of less than half of that is small.
    """
    group: list[Shard] = []
    for shard in (shard for shard in shards if shard.size < target / 2):
        if group and (sum(s.size for s in group) + shard.size > target or len(group) == _MOST_AT_ONCE):
            if len(group) > 1:
                yield group
            group = []
        group.append(shard)
    if len(group) > 1:
        yield group


def _compact_rejections(archive: Archive, run: str) -> tuple[int, int]:
    """All files of the rejections table as one; files before and after."""
    store = archive.rejections
    table = open_table(store)
    old = files_of(table)
    if len(old) < 2:
        return len(old), len(old)
    rows = (part.select(REJECTIONS.names) for part in merged_tables(store, old, REJECTIONS.names, sort_columns=2))
    new = write_sorted(store, rows, REJECTIONS, 0)
    mark, facts = Transaction(run, 1), {"run": run, "job": "compact"}
    removes = [shard.path for shard in old]
    try:
        transact(table, REJECTIONS, [new] if new else [], removes, mark, facts, rearranges=True)
    except CommitFailedError:  # a job has added to them meanwhile: another time
        return len(old), len(files_of(open_table(store)))
    return len(old), 1
