"""Optimistic commits: after a lost race the table is read again; lost answers are noticed."""

import threading
from collections.abc import Callable

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import DeltaError

from model.core.errors import MaepressError
from pipeline.archive.log.delta_table import create_table, open_table
from pipeline.archive.log.optimistic_commit import commit_with_retry, is_committed
from pipeline.storage.base import StorageError, Store
from pipeline.storage.open import open_target

SCHEMA = pa.schema([pa.field("holder", pa.string())])
BUSY = MaepressError("others are faster")


@pytest.fixture
def store(place: str) -> Store:
    made = open_target(place)
    create_table(made, SCHEMA)
    return made


def write(table: DeltaTable, mark: Transaction, count: int = 0) -> None:
    properties = CommitProperties(custom_metadata={"count": str(count)}, max_commit_retries=0, app_transactions=[mark])
    table.create_write_transaction([], "append", SCHEMA, commit_properties=properties)


def count_of(table: DeltaTable) -> int:
    return int(table.history(1)[0].get("count", 0))


def committed(store: Store, commit: Callable[[DeltaTable], object], attempts: int = 3) -> object:
    return commit_with_retry(
        lambda: open_table(store), commit, attempts=attempts, busy=BUSY, failed="the commit failed"
    )


def test_writers_that_race_each_build_on_what_the_other_wrote(store: Store) -> None:
    def add_five(writer: str) -> None:
        for number in range(1, 6):
            mark = Transaction(writer, number)

            def count_up(table: DeltaTable, mark: Transaction = mark) -> None:
                write(table, mark, count_of(table) + 1)

            committed(store, count_up, attempts=30)

    threads = [threading.Thread(target=add_five, args=(f"writer-{i}",)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    table = open_table(store)
    assert (count_of(table), table.version()) == (15, 15), "no write was lost and none was made twice"


def test_after_a_lost_race_the_decision_is_made_again_from_the_winners_version(store: Store) -> None:
    counts = []

    def attempt(table: DeltaTable) -> str:
        counts.append(count_of(table))
        if len(counts) == 1:
            write(open_table(store), Transaction("rival", 1), 7)  # between our reading and our writing
        write(table, Transaction("we", 1), count_of(table) + 1)
        return "ours"

    assert committed(store, attempt) == "ours"
    assert counts == [0, 7] and count_of(open_table(store)) == 8


def test_a_writer_that_is_never_first_gives_up_with_its_callers_error(store: Store) -> None:
    rivals = iter(range(1, 100))

    def attempt(table: DeltaTable) -> None:
        write(open_table(store), Transaction("rival", next(rivals)))
        write(table, Transaction("we", 1))

    with pytest.raises(MaepressError, match="others are faster"):
        committed(store, attempt)
    assert next(rivals) == 4, "three attempts"
    assert not is_committed(open_table(store), Transaction("we", 1))


def test_a_store_that_fails_each_time_is_reported_in_one_line(store: Store) -> None:
    def attempt(table: DeltaTable) -> None:
        raise DeltaError("first line\n  cause\n  last cause")

    with pytest.raises(StorageError, match=r"^the commit failed: first line: last cause$"):
        committed(store, attempt)


def test_an_answer_that_was_lost_does_not_write_the_transaction_twice(store: Store) -> None:
    mark = Transaction("we", 1)

    def attempt(table: DeltaTable) -> str:
        if is_committed(table, mark):
            return "replayed"
        write(table, mark)
        raise OSError("the connection ended before the answer")

    assert committed(store, attempt) == "replayed"
    assert open_table(store).version() == 1
    assert is_committed(open_table(store), mark) and not is_committed(open_table(store), Transaction("we", 2))


def test_an_error_of_the_decision_itself_is_raised_at_once(store: Store) -> None:
    calls = []

    def attempt(table: DeltaTable) -> None:
        calls.append(table)
        raise MaepressError("the same key twice")

    with pytest.raises(MaepressError, match="the same key twice"):
        committed(store, attempt)
    assert len(calls) == 1
