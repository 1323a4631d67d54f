"""Optimistic commits to a Delta table, repeated when another writer was faster.

Delta lets exactly one writer create each version ("put if absent" of its log file). Everything that
this package commits (shards, rejections, leases, restored versions) depends on the version
before it, so after a lost race the writer must read and decide again. `commit_with_retry` is that
loop; its caller supplies the reading and the decision.

An answer can be lost although the version was written. A writer that must not write twice marks its
commits with a `Transaction` and asks `is_committed` first.
"""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from deltalake import DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError

from model.core.errors import MaepressError
from pipeline.storage.base import StorageError
from pipeline.storage.error_text import one_line

T = TypeVar("T")

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 2.0


def commit_with_retry(
    open_latest: Callable[[], DeltaTable],
    commit: Callable[[DeltaTable], T],
    *,
    attempts: int,
    busy: MaepressError,
    failed: str,
) -> T:
    """Call `commit` with the table's latest version until no other writer is faster.

    Waits between attempts are random, up to a limit that doubles from 0.1 to 2 seconds.

    Args:
        open_latest: opens the table at its latest version; its errors are not retried here.
        commit: reads the table and either writes the version after it, or returns without writing
            when there is nothing to do. It must not let deltalake retry inside
            (`max_commit_retries=0`): that would skip other writers' commits without reading them.
        attempts: calls of `commit` at most.
        busy: raised when other writers were faster each time.
        failed: beginning of the message when the store failed at the last attempt ("the commit to
            URL failed").

    Returns:
        The result of `commit`.

    Raises:
        StorageError: when the store failed at the last attempt.
        MaepressError: `busy`; and what `commit` raises of this class, at once.
    """
    for attempt in range(1, attempts + 1):
        table = open_latest()
        try:
            return commit(table)
        except CommitFailedError as e:
            if attempt == attempts:
                raise busy from e
        except (DeltaError, OSError) as e:  # the version may be there all the same: the next attempt reads it
            if attempt == attempts:
                raise StorageError(f"{failed}: {one_line(e)}") from e
        time.sleep(random.uniform(0.0, min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (attempt - 1))))
    raise AssertionError("unreachable")


def is_committed(table: DeltaTable, transaction: Transaction) -> bool:
    """Whether the table has this transaction, or a later one of the same writer."""
    return (table.transaction_version(transaction.app_id) or 0) >= transaction.version
