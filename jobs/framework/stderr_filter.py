"""Drops one message of Ray's core, which every actor pool of Ray Data causes, from standard error.

Ray's C++ code logs as an error that an actor cannot restart once the arguments of its constructor are lost with their
node (Ray issue 53727). All actors of Ray Data are made so. Here the arguments live with the driver, and without the
driver the job ends anyway. Python's logging does not see the message, and setting the core's log level prints another.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.framework.signals import interrupted

UNWANTED = b"ray/issues/53727"


@contextmanager
def without_unwanted_lines() -> Iterator[None]:
    """Drop unwanted lines that native code writes to standard error during a `with` block; pass all others.

    Python's own `sys.stderr` bypasses the filter, so that progress bars still see a terminal.
    """
    terminal = os.dup(2)
    source, sink = os.pipe()
    os.dup2(sink, 2)
    os.close(sink)
    before = sys.stderr
    sys.stderr = os.fdopen(os.dup(terminal), "w", buffering=1, encoding=before.encoding, errors=before.errors)
    # A daemon, never joined: processes that Ray starts inherit the pipe and may keep it open after the block.
    threading.Thread(target=_filter, args=(source, terminal), daemon=True).start()
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        sys.stderr = before


def _filter(source: int, terminal: int) -> None:
    """Copy lines until every writer has closed its end."""
    with os.fdopen(source, "rb") as lines:
        for line in lines:
            if UNWANTED not in line and not interrupted():  # then it tells how what was interrupted ended
                os.write(terminal, line)
