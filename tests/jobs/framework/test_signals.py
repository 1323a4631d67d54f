"""SIGINT, SIGTERM and SIGHUP in a small job: one line, status 128 + number, and no process left within 5 seconds."""

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jobs.framework.children import MOST_SECONDS, descendants
from jobs.framework.signals import GRACE_SECONDS, interruptible, postponed
from tests.interrupting import LEFT_SECONDS, Ended, interrupted, line

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
# A grandchild whose parent ends first, in a session of its own, which ignores polite signals: a worker of Ray's.
# The work says that it is ready from where the signal should meet it: a signal that came a step before that would test
# something else.
JOB = """
import signal, subprocess, sys, time
from jobs.framework import signals
from jobs.framework.signals import interruptible, postponed
signals.GRACE_SECONDS = TIME
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
START = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]); time.sleep(60)"

def say(text):
    print(text, file=sys.stderr, flush=True)

def job():
    subprocess.Popen([sys.executable, "-c", START], start_new_session=True)
    time.sleep(0.3)
WORK
sys.exit(interruptible(job, last=True))
"""


def run(work: str, number: int, folder: Path, *, again: float | None = None, grace: float = GRACE_SECONDS) -> Ended:
    """A job that starts processes and then does some work, which gets a signal (`again` later another)."""
    script = JOB.replace("WORK", "\n".join(f"    {row}" for row in work.strip().splitlines()))
    script = script.replace("TIME", str(grace))
    ended = interrupted([sys.executable, "-c", script], number, lambda said: "ready" in said, folder, again=again)
    assert ended.seconds < LEFT_SECONDS and ended.left == [], ended
    return ended


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_job_in_one_line_and_leaves_no_process(number: int, tmp_path: Path) -> None:
    ended = run("say('ready')\ntime.sleep(60)", number, tmp_path)
    assert (ended.status, ended.said) == (128 + number, line(number))
    assert ended.seconds < GRACE_SECONDS, "nothing had to be waited for"


CLEANING = """
try:
    say("ready")
    time.sleep(60)
finally:
    say("cleaning")
    time.sleep(60)
"""
SWALLOWING = """
say("ready")
while True:
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        pass
"""
TAKEN = "signal.signal(signal.SIGTERM, lambda number, frame: None)\nsay('ready')\ntime.sleep(60)"
REPORTED_OTHERWISE = "try:\n    say('ready')\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    sys.exit(1)"
POSTPONED = "with postponed():\n    say('ready')\n    time.sleep(0.6)\n    say('whole')\ntime.sleep(60)"
IN_A_FINALISER = """
class Held:
    def __del__(self):
        say("ready to be freed")
        time.sleep(60)
Held()
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("work", "says"),
    [
        pytest.param(CLEANING, "cleaning\n", id="its cleaning up hangs"),
        pytest.param(SWALLOWING, "", id="a library goes on after an interrupt"),
        pytest.param(TAKEN, "", id="a library has taken the signal"),
        pytest.param(REPORTED_OTHERWISE, "", id="a library ends the process with another status"),
        pytest.param(POSTPONED, "whole\n", id="it comes while something must not be interrupted"),
        pytest.param(IN_A_FINALISER, "", id="Python passes over what is raised at that moment"),
    ],
)
def test_whatever_becomes_of_the_interrupt_the_job_ends_in_time(work: str, says: str, tmp_path: Path) -> None:
    ended = run(work, signal.SIGTERM, tmp_path, grace=1.0)
    assert (ended.status, ended.said) == (143, says + line(signal.SIGTERM))


def test_cleaning_up_and_killing_together_take_less_than_the_time_allowed() -> None:
    assert GRACE_SECONDS + MOST_SECONDS < LEFT_SECONDS


def test_a_second_signal_ends_the_cleaning_up_at_once(tmp_path: Path) -> None:
    ended = run(CLEANING, signal.SIGINT, tmp_path, again=0.6)
    assert (ended.status, ended.said) == (130, "cleaning\n" + line(signal.SIGINT))
    assert ended.seconds < GRACE_SECONDS


def test_on_a_terminal_the_line_does_not_stand_behind_unfinished_progress() -> None:
    shows = "print('5 %', end='', file=sys.stderr, flush=True)"
    work = f"    try:\n        {shows}\n        time.sleep(60)\n    finally:\n        time.sleep(60)"
    ours, theirs = pty.openpty()
    said = b""
    with subprocess.Popen(
        [sys.executable, "-c", JOB.replace("WORK", work).replace("TIME", "0.5")], stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        while b"5 %" not in said:
            said += os.read(ours, 1 << 10)
        process.send_signal(signal.SIGTERM)
        assert process.wait(LEFT_SECONDS) == 143
    try:
        while data := os.read(ours, 1 << 10):
            said += data
    except OSError:  # all who wrote have ended
        os.close(ours)
    shown = said.decode().replace("\r", "").replace("\x1b[?25h", "")
    assert shown == "5 %\n" + line(signal.SIGTERM)


def test_a_signal_that_comes_twice_at_once_counts_once(tmp_path: Path) -> None:
    work = "try:\n    say('ready')\n    time.sleep(60)\nfinally:\n    time.sleep(0.8)\n    say('clean')"
    ended = run(work, 15, tmp_path, again=0.05)
    assert (ended.status, ended.said) == (143, "clean\n" + line(signal.SIGTERM))


def test_a_signal_while_modules_are_imported_says_the_same_line(tmp_path: Path) -> None:
    (tmp_path / "pydantic.py").write_text("import sys, time\nprint('importing', file=sys.stderr)\ntime.sleep(60)\n")
    words = [sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv.pop()); import maepress.__main__ as m; "]
    words[-1] += "sys.exit(m.main(['status', 'x']))"
    ended = interrupted([*words, tmp_path], signal.SIGINT, lambda said: "importing" in said, tmp_path)
    assert (ended.status, ended.said) == (130, line(signal.SIGINT))


def test_signals_that_were_switched_off_stay_so(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\nfrom jobs.framework.signals import interruptible\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does\n"
        "def job():\n    os.kill(os.getpid(), signal.SIGHUP)\n    return 7\n"
        "sys.exit(interruptible(job, last=True))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 7


def test_a_forked_child_does_not_report_its_signals_to_its_parent(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys, time\nfrom jobs.framework.signals import interruptible\n"
        "def job():\n"
        "    child = os.fork()\n"
        "    if child == 0:\n        time.sleep(60)\n"
        "    time.sleep(0.2)\n    os.kill(child, signal.SIGTERM)\n"
        "    status = os.waitpid(child, 0)[1]\n    time.sleep(0.5)\n"
        "    return 7 if os.waitstatus_to_exitcode(status) == -signal.SIGTERM else 1\n"
        "sys.exit(interruptible(job, last=True))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 7


def test_after_a_job_signals_are_handled_as_before_and_no_thread_or_file_is_left() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    # As sets: what an earlier test of this process has left may end at any time.
    files, threads = set(os.listdir("/proc/self/fd")), set(threading.enumerate())
    for _ in range(5):
        assert interruptible(lambda: interruptible(lambda: 3)) == 3
    assert [signal.getsignal(number) for number in SIGNALS] == before
    deadline = time.monotonic() + 10
    while set(threading.enumerate()) - threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (set(os.listdir("/proc/self/fd")) - files, set(threading.enumerate()) - threads) == (set(), set())


def test_an_interrupt_says_what_follows_from_it(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise KeyboardInterrupt("job 7 continues")

    assert interruptible(fail) == 130
    assert capsys.readouterr().err == "maepress: interrupted; job 7 continues\n"
    with postponed():
        pass  # does nothing where no job runs


def test_descendants_are_found_and_ended() -> None:
    nested = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
    with subprocess.Popen([sys.executable, "-c", nested + "time.sleep(60)"]) as parent:
        try:
            while len(descendants(parent.pid)) < 1:
                time.sleep(0.02)
            assert parent.pid in descendants(os.getpid())
        finally:
            for pid in [*descendants(parent.pid), parent.pid]:
                os.kill(pid, signal.SIGKILL)
        parent.wait()
    assert parent.pid not in descendants(os.getpid())
