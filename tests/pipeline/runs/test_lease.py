"""One run at a time: a lease is taken by one, renewed, given back, and ends by itself when its holder dies."""

import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from deltalake import CommitProperties

from pipeline.archive.log.delta_table import open_table
from pipeline.runs.heartbeat import this_process
from pipeline.runs.lease import _SCHEMA, SECONDS, Holder, Lease, LeaseHeld, holder_of
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


def test_a_run_that_woke_after_another_had_come_and_gone_does_not_go_on(root: Store) -> None:
    clock = ManualClock()
    slow = Lease(root, "slow", "sync", clock=clock)
    slow._write(SECONDS)
    clock.advance(SECONDS + 1)
    slow.check()  # nobody came: it is taken again
    clock.advance(SECONDS + 1)
    with Lease(root, "heir", "release", clock=clock):
        pass
    with pytest.raises(LeaseHeld, match=r"release heir on .* took the lease of .* over.*run this job again"):
        slow.check()


def test_a_lease_is_renewed_as_long_as_its_run_works(root: Store) -> None:
    clock = ManualClock()

    def end() -> float:
        return holder_of(open_table(root.child("leases"))).until

    with Lease(root, "long", "sync", clock=clock) as lease:
        first = end()
        assert first == clock.time() + SECONDS
        for _ in range(3):  # by its thread, at half its length
            before = end()
            wait_for(lambda: clock.waiting)  # a renewal is seen before its thread waits for the next one
            clock.advance(SECONDS / 2)
            wait_for(lambda before=before: end() > before)  # type: ignore[misc]
        assert clock.time() > first
        with pytest.raises(LeaseHeld, match="long"), Lease(root, "other", "sync", clock=clock):
            pass
        lease.check()


def test_nobody_holds_a_lease_that_was_never_taken(root: Store) -> None:
    Lease(root, "x", "sync")._open()
    assert holder_of(open_table(root.child("leases"))) == Holder()


def written(root: Store, holder: Holder) -> None:
    """Write a lease as its holder would."""
    entry = {"holder": holder.run, "job": holder.job, "host": holder.host, "process": holder.process}
    properties = CommitProperties(custom_metadata=entry | {"until": str(holder.until)})
    Lease(root, "x", "sync")._open().create_write_transaction([], "append", _SCHEMA, commit_properties=properties)


def killed_process() -> str:
    """The name of a process of this machine that has ended."""
    with subprocess.Popen(["sleep", "60"]) as process:
        name = f"{process.pid} {Path(f'/proc/{process.pid}/stat').read_text().rpartition(')')[2].split()[19]}"
        process.kill()
    return name


def test_the_lease_of_a_process_of_this_machine_that_is_gone_is_free_at_once(root: Store) -> None:
    until = time.time() + SECONDS
    written(root, Holder("dead", "sync", socket.gethostname(), killed_process(), until))
    with Lease(root, "heir", "sync") as lease:
        lease.check()
    written(root, Holder("alive", "sync", socket.gethostname(), this_process(), until))
    with pytest.raises(LeaseHeld, match="sync alive"), Lease(root, "heir", "sync"):
        pass
    written(root, Holder("elsewhere", "sync", "another-machine", "1 1", until))
    with pytest.raises(LeaseHeld, match="sync elsewhere on another-machine"), Lease(root, "heir", "sync"):
        pass


@pytest.mark.parametrize("until", ["4102444800.0", "inf", "nan", "no time"])
def test_a_lease_that_ends_later_than_any_clock_means_is_taken_unless_it_is_renewed(root: Store, until: str) -> None:
    def taken(clock: ManualClock) -> list[str]:
        """What becomes of a run that wants the lease while its clock advances as often as it waits for it."""
        found: list[str] = []

        def want() -> None:
            try:
                with Lease(root, "heir", "sync", clock=clock):
                    found.append("taken")
            except LeaseHeld as e:
                found.append(str(e))

        thread = threading.Thread(target=want)
        thread.start()
        while thread.is_alive():
            if clock.waiting:  # requests take as long as they take on this machine, which is no time of the lease
                clock.advance(1.0)
            thread.join(0.01)
        return found

    holder = Holder("ahead", "sync", "another-machine", "1 1", until)  # type: ignore[arg-type]  # written as it is
    written(root, holder)
    clock = ManualClock()
    start = clock.time()
    assert taken(clock) == ["taken"]
    assert SECONDS / 4 < clock.time() - start < SECONDS
    written(root, holder)
    renewing = ManualClock()
    renew = renewing.wait
    renewing.wait = lambda event, seconds: written(root, holder) or renew(event, 0.0)  # type: ignore[method-assign,func-returns-value]
    (message,) = taken(renewing)
    assert "ahead on another-machine is at work" in message and "run this job again" in message


def test_the_message_shows_the_date_on_which_a_lease_ends(root: Store) -> None:
    clock = ManualClock()
    dead = Lease(root, "dead", "sync", clock=clock)
    dead._write(SECONDS)
    with (
        pytest.raises(LeaseHeld, match=r"its lease ends at 1970-01-12 13:56:40 UTC"),
        Lease(root, "2", "sync", clock=clock),
    ):
        pass
