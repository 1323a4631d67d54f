"""What a person waits for in small jobs: each command, on Ray and in its own process, in turns.

    python -m bench.small_jobs [--images 10] [--runs 3]

Prints the median seconds of each command, and their ratio. The images are the first of Kodak's.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.data import kodak
from model.core.errors import MaepressError

EXECUTORS = ("ray", "local")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.small_jobs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args(argv)
    try:
        files = kodak(options.images)
    except MaepressError as e:
        print(f"bench.small_jobs: {e}", file=sys.stderr)
        return 2
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(options.runs):
        for executor in EXECUTORS:
            for name, spent in _run_all(executor, files).items():
                seconds.setdefault((name, executor), []).append(spent)
    table = Table("command", *(f"{executor}, s" for executor in EXECUTORS), "ratio", title=f"{len(files)} images")
    for name in dict.fromkeys(name for name, _ in seconds):
        ray, local = (statistics.median(seconds[name, executor]) for executor in EXECUTORS)
        table.add_row(name, f"{ray:.1f}", f"{local:.1f}", f"{ray / local:.1f}")
    Console().print(table)
    return 0


def _run_all(executor: str, files: Sequence[Path]) -> dict[str, float]:
    """Seconds of each command, with this executor."""
    with tempfile.TemporaryDirectory(prefix="maepress-bench-") as folder:
        source, archive, back = (f"{folder}/{name}" for name in ("source", "archive", "back"))
        Path(source).mkdir()
        for file in files:
            (Path(source) / file.name).symlink_to(file.resolve())
        chosen = ("--executor", executor, "--quiet")
        return {
            "encode": _seconds("encode", source, archive, *chosen),
            "encode, nothing new": _seconds("encode", source, archive, *chosen),
            "verify": _seconds("verify", archive, *chosen),
            "decode": _seconds("decode", archive, back, *chosen),
            "status": _seconds("status", archive),
            "--help": _seconds("--help"),
        }


def _seconds(*words: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "maepress", *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
