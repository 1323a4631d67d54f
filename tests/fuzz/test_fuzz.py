"""A short run of the fuzzer, and tests of the fuzzer itself. Each finding becomes a test of the part at fault."""

import sys

import pytest

from tests.fuzz.child import payload_of
from tests.fuzz.driver import fuzz

CASES = 2000


def test_corrupted_payloads_have_expected_outcomes() -> None:
    report = fuzz(1, 0, CASES)
    assert report.failures == {}
    assert sum(report.outcomes.values()) == CASES
    # The fuzzer is useful only if cases get past the checksum, and to the networks.
    assert report.outcomes["decoded"] > CASES // 20
    assert report.outcomes["DamagedPayload"] > CASES // 2


def test_a_case_is_the_same_every_time() -> None:
    assert [payload_of(3, n) for n in range(40)] == [payload_of(3, n) for n in range(40)]


BAD_CHILD = """
import ctypes, sys, time
from tests.fuzz import child

def outcome(payload, *, by_pillow):
    number = cases.pop(0)
    if number == 1: ctypes.string_at(0)
    if number == 3: raise ValueError("two\\nlines")
    if number == 4: bytearray(1 << 40)
    if number == 5:
        while True: pass
    return "decoded"

child.outcome, child.first_ones, child.SECONDS = outcome, lambda: [], 0.2
child.payload_of = lambda seed, number: b""
cases = list(range(*map(int, sys.argv[2:])))
child.main(*map(int, sys.argv[1:]))
"""


def test_crashes_errors_hangs_and_excessive_memory_are_reported() -> None:
    report = fuzz(0, 0, 7, child=(sys.executable, "-c", BAD_CHILD))
    assert report.failures == {
        1: "failure crash: SIGSEGV",
        3: "failure ValueError: two lines",
        4: "failure MemoryError: ",
        5: "failure hang: more than its processor time",
    }
    assert report.outcomes == {"decoded": 2, "Pillow: decoded": 1, "failure": 4}


def test_a_child_that_cannot_start_is_not_a_finding() -> None:
    with pytest.raises(RuntimeError, match="status 3 before case 5"):
        fuzz(0, 5, 7, child=(sys.executable, "-c", "raise SystemExit(3)"))
