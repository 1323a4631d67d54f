"""One run at a time: a lease is taken by one, renewed, given back, and ends by itself when its holder dies."""

import threading

import pytest

from pipeline.archive.delta_table import open_table
from pipeline.runs.lease import SECONDS, Holder, Lease, LeaseHeld, holder_of
from pipeline.storage.base import Store
from pipeline.storage.open import open_target
from tests.waiting import ManualClock, wait_for


@pytest.fixture
def root(place: str) -> Store:
    return open_target(place)


def test_a_second_run_gives_way_and_is_told_to_whom(root: Store) -> None:
    with Lease(root, "run-1", "sync"):
        with pytest.raises(LeaseHeld, match=r"sync run-1 on \S+ is at work on .*let it end"), Lease(root, "2", "sync"):
            pass
        assert holder_of(open_table(root.child("leases"))).run == "run-1"


def test_a_lease_that_was_given_back_is_free_at_once(root: Store) -> None:
    for run in ("run-1", "run-2"):
        with Lease(root, run, "sync") as lease:
            lease.check()
    assert holder_of(open_table(root.child("leases"))).until == 0.0


def test_of_many_that_want_it_at_once_exactly_one_gets_it(root: Store) -> None:
    begin, end = threading.Barrier(5), threading.Event()
    got: list[str] = []
    refused: list[str] = []

    def want(run: str) -> None:
        begin.wait()
        try:
            with Lease(root, run, "sync"):
                got.append(run)
                end.wait(60)
        except LeaseHeld:
            refused.append(run)
        if len(refused) == 4:
            end.set()

    threads = [threading.Thread(target=want, args=(f"run-{i}",)) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 4)


def test_a_dead_runs_lease_ends_by_itself_and_the_dead_one_notices_when_it_wakes(root: Store) -> None:
    clock = ManualClock()
    dead = Lease(root, "dead", "sync", clock=clock)
    dead._write(SECONDS)  # taken; its thread never runs, as after kill -9
    clock.advance(SECONDS - 1)
    with pytest.raises(LeaseHeld, match="sync dead"), Lease(root, "heir", "sync", clock=clock):
        pass
    clock.advance(2)
    with Lease(root, "heir", "sync", clock=clock), pytest.raises(LeaseHeld, match="heir"):
        dead.check()


def test_a_lease_is_renewed_as_long_as_its_run_works(root: Store) -> None:
    clock = ManualClock()

    def end() -> float:
        return holder_of(open_table(root.child("leases"))).until

    with Lease(root, "long", "sync", clock=clock) as lease:
        first = end()
        assert first == clock.time() + SECONDS
        for _ in range(3):  # by its thread, at half its length
            before = end()
            clock.advance(SECONDS / 2)
            wait_for(lambda before=before: end() > before)  # type: ignore[misc]
        assert clock.time() > first
        with pytest.raises(LeaseHeld, match="long"), Lease(root, "other", "sync", clock=clock):
            pass
        lease.check()


def test_nobody_holds_a_lease_that_was_never_taken(root: Store) -> None:
    Lease(root, "x", "sync")._open()
    assert holder_of(open_table(root.child("leases"))) == Holder()
