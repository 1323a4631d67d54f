"""Files of a trunk's folder: names, locks, states, and writing that leaves no half-written file."""

import fcntl
import time
from pathlib import Path
from typing import TextIO

from safetensors.torch import load_file, save_file

from model.core.errors import MaepressError
from pipeline.train.checkpoint import COUNTERS, STATE

SETTINGS, HISTORY, MODEL, MEETING = "trunk.json", "validation.jsonl", "model", "meeting"
STATES = "state-*"
KEPT = 2
"""Number of states to keep."""
TAKEOVER_SECONDS = 30.0
"""Time that a new run waits for the processes of a killed run to end."""


def hold(path: Path) -> TextIO:
    """Lock a file until it is closed or this process ends, however it ends.

    Raises:
        MaepressError: when another process does not unlock it in time.
    """
    file, deadline = path.open("w"), time.monotonic() + TAKEOVER_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise MaepressError(f"{path.parent} is being trained by another run: stop that run first") from None
            time.sleep(0.2)


def newest(out: Path) -> Path | None:
    """The newest state in a folder, or None."""
    states = sorted(out.glob(STATES))
    return states[-1] if states else None


def export(out: Path, file: Path) -> None:
    """Write weights and average of the newest state, float32, with the counters as metadata.

    Raises:
        MaepressError: when there is no state.
    """
    state = newest(out)
    if state is None:
        raise MaepressError(f"{out} holds no state to export")
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".partial")
    save_file(load_file(state / STATE), partial, {"counters": (state / COUNTERS).read_text()})
    partial.replace(file)
    print(f"{state.name} -> {file}")


def replace(path: Path, data: bytes) -> None:
    """Write a file by renaming, so that readers never see a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    partial.replace(path)
