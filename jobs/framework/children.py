"""The child processes of this one, and theirs: Ray, its workers, sandboxes, measuring processes."""

import os
import signal
import sys
import time

MOST_SECONDS = 1.0
"""Time that killed processes have for ending."""
_SET_CHILD_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of prctl(2)."""


def adopt_orphans() -> None:
    """Become the parent of descendants whose parent ends, so that they can still be found; does nothing but on Linux.

    Workers of Ray, for example, are children of a process of Ray that may end before them.
    """
    if sys.platform != "linux":
        return
    import ctypes  # takes 10 ms, and few jobs are interrupted

    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_children() -> None:
    """Kill all descendants of this process, and wait until they have ended, at most `MOST_SECONDS`."""
    deadline = time.monotonic() + MOST_SECONDS
    while (found := descendants(os.getpid())) and time.monotonic() < deadline:
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:  # it has ended, or is somebody else's
                continue
        time.sleep(0.02)


def descendants(pid: int) -> list[int]:
    """The children of a process that have not ended, their children, and so on; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    ended = set()
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):  # it has just ended
            continue
        children.setdefault(int(parent), []).append(int(name))
        if state in "ZX":
            ended.add(int(name))
    found, waiting = [], [pid]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            waiting.append(child)
            if child not in ended:
                found.append(child)
    return found
