"""One picture on one thread and on two, on a quiet machine and on one whose cores are busy.

    python -m bench.busy

Busy means that a program without end (`yes`) runs for each core. In each turn one thread and two take part one after
the other; the table has the medians. Threads that wait by spinning lose on a busy machine.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from model.codec import Codec  # before torch: it has the waiting threads sleep
from model.core.errors import MaepressError
from model.core.picture import Picture

import torch  # isort: skip

from bench.data import kodak
from bench.speed import QUALITY

THREADS = (1, 2)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench.busy", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--turns", type=int, default=15)
    turns = parser.parse_args(argv).turns
    try:
        (file,) = kodak(1)
    except MaepressError as e:
        print(f"bench.busy: {e}", file=sys.stderr)
        return 2
    codec = Codec.load("base")
    pictures = [Picture(np.asarray(Image.open(file).convert("RGB")))]
    pixels = pictures[0].pixels.size / 3
    payloads = codec.compress(pictures, QUALITY)
    work: dict[str, Callable[[], object]] = {
        "encode": lambda: codec.compress(pictures, QUALITY),
        "decode": lambda: codec.decompress(payloads),
    }
    table = Table(title=f"one picture of {pixels / 1e6:.1f} MP, {os.cpu_count()} cores")
    for name in ("machine", "work", *(f"{n} thread{'s' * (n > 1)}, MP/s" for n in THREADS), "processor time, 2 to 1"):
        table.add_column(name, justify="right")
    for machine in ("quiet", "busy"):
        with ExitStack() as others:
            for _ in range((os.cpu_count() or 1) if machine == "busy" else 0):
                others.callback(others.enter_context(subprocess.Popen(["yes"], stdout=subprocess.DEVNULL)).kill)
            for name, call in work.items():
                wall, processor = seconds(call, turns)
                table.add_row(
                    machine, name, *(f"{pixels / 1e6 / s:.2f}" for s in wall), f"{processor[1] / processor[0]:.2f}"
                )
    Console().print(table)
    return 0


def seconds(work: Callable[[], object], turns: int) -> tuple[list[float], list[float]]:
    """Median wall-clock and processor time of `work` with each of `THREADS`."""
    found = np.empty((turns + 1, len(THREADS), 2))
    for turn in found:  # the first one compiles
        for number, threads in enumerate(THREADS):
            torch.set_num_threads(threads)
            wall, processor = time.perf_counter(), time.process_time()
            work()
            turn[number] = time.perf_counter() - wall, time.process_time() - processor
    wall, processor = np.median(found[1:], axis=0).T.tolist()
    return wall, processor


if __name__ == "__main__":
    raise SystemExit(main())
