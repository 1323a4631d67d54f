"""Runs `tests.fuzz.child` over many cases, and restarts it after each case that ended it."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

CHILD = (sys.executable, "-m", "tests.fuzz.child")
NAMES = {signal.SIGPROF: "failure hang: more than its processor time", signal.SIGALRM: "failure hang: it waits"}


@dataclass(slots=True)
class Report:
    """Counts of outcomes, failures by number of the case, and duration in seconds."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, number: int, outcome: str) -> None:
        """Add one case."""
        failed = "failure" in outcome
        self.outcomes["failure" if failed else outcome] += 1
        if failed:
            self.failures[number] = outcome


def fuzz(
    seed: int,
    first: int,
    end: int,
    *,
    child: Sequence[str] = CHILD,
    progress: Callable[[Report], None] = lambda _: None,
) -> Report:
    """Run the cases first..end - 1 of a seed.

    Args:
        seed: of the whole run.
        first: number of the first case.
        end: number after the last.
        child: command of the decoding process, to which seed, first and end are appended.
        progress: called with the report after every case.

    Raises:
        RuntimeError: when the child ends before its first case.
    """
    report, began = Report(), time.monotonic()
    while first < end:
        before = first
        with subprocess.Popen(
            [*child, str(seed), str(first), str(end)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                number, outcome = line.rstrip("\n").split(" ", 1)
                report.add(int(number), outcome)
                first = int(number) + 1
                progress(report)
        if process.returncode >= 0 and (process.returncode or first == before):
            raise RuntimeError(f"the child ended with status {process.returncode} before case {first}")
        if process.returncode < 0:
            killed = signal.Signals(-process.returncode)
            report.add(first, NAMES.get(killed, f"failure crash: {killed.name}"))
            first += 1
            progress(report)
    report.seconds = time.monotonic() - began
    return report
