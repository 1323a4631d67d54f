"""Making receipts visible: one atomic transaction of the images table for each batch of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from model.errors import MaepressError
from pipeline.shards import Receipt


class CommitConflict(MaepressError):
    """Another job changed the same keys; nothing of this commit is visible. Running the job again plans anew and continues."""


@dataclass(frozen=True, slots=True)
class Commit:
    """Attributes: version: of the images table afterwards. skipped: whether this number had been committed already (a replay)."""

    version: int
    skipped: bool


class Committer:
    """Commits the receipts of one run, numbered 1, 2, 3 ... One a run, on the driver."""

    def commit(self, receipts: Sequence[Receipt], number: int | None = None) -> Commit:
        """Make receipts' shards visible and the shards that they replace invisible, in one transaction; then append their rejections.

        Args:
            receipts: at least one.
            number: the commit's number within the run, the next one when None. A number that the table has already is a replay and is skipped.

        Raises:
            CommitConflict: when another job committed some of the same keys or replaced the same shard.
            StorageError: when the store fails after retries; committing again with the same number is safe.
        """
        raise NotImplementedError
