"""Where the processor time of the encode dataflow goes: by kind of process, and by kind of work in the workers.

`python -m bench.pipeline --shares` prints it. Each stage's functions are timed in their worker, and apart from them the
packing and unpacking of what they are given and give back; processes are read twice a second. What a worker has used
before its first call is its start (imports, the model). The rest is Ray's, with the start of workers that were never
called: with few images that is most of it.
"""

import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pyarrow as pa
from rich.table import Table

from pipeline.encode import wire
from pipeline.encode.dataflow import STAGES, EncodeDataflow, _Encoder
from pipeline.execution import packing

SAMPLES_PER_SECOND = 2
WORKERS, SANDBOX, DRIVER, OTHER = "workers", "sandbox: decoding", "driver", "other processes"
ROLES = {
    "sandbox_child": SANDBOX,
    "raylet/raylet": "raylet",
    "ray::": WORKERS,
    "default_worker.py": WORKERS,
    "gcs_server": "GCS",
    "weed": "S3 server",
}
"""What a command line contains, and what the process is then. The raylet's names the worker's program, too."""
PACKING, RAY = "packing and unpacking", "Ray in the workers"
START = "start of workers, once"
_begun: set[int] = set()
"""The id of this process once a stage has been called in it."""
Seconds = dict[str, float]


class TimedEncoder(_Encoder):
    """The encoder, timed."""

    def __init__(self, records: Path, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._records = records

    def __call__(self, table: pa.Table) -> pa.Table:
        """As the encoder."""
        with _recorded("analyse", self._records):
            return super().__call__(table)


class TimedDataflow(EncodeDataflow):
    """The dataflow with a record of every call of a stage."""

    def __init__(self, records: Path, *arguments: Any) -> None:
        """Args: records: an empty folder; arguments: those of `EncodeDataflow`."""
        super().__init__(*arguments, encoder=TimedEncoder)  # type: ignore[misc]
        self._encoder_arguments = (records, *self._encoder_arguments)  # type: ignore[assignment]
        self._records = records

    def _maps(self) -> list[tuple[Any, int | None, dict[str, Any]]]:
        timed = []
        for name, (work, rows, options) in zip(STAGES, super()._maps(), strict=True):
            of_actors = "fn_constructor_args" in options
            timed.append((work if of_actors else partial(_timed, work, name, self._records), rows, options))
        return timed


def _timed(work: Callable[[pa.Table], pa.Table], stage: str, records: Path, table: pa.Table) -> pa.Table:
    with _recorded(stage, records):
        return work(table)


@contextmanager
def _recorded(stage: str, records: Path) -> Iterator[None]:
    """Append the processor seconds of a block to the records of its stage."""
    in_packing = [0.0]

    def timed(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def run(item: Any) -> Any:
            begun = time.thread_time()
            try:
                return function(item)
            finally:
                in_packing[0] += time.thread_time() - begun

        return run

    if os.getpid() not in _begun:
        _begun.add(os.getpid())
        with (records / START).open("a") as file:
            file.write(f"{os.getpid()} {time.process_time()}\n")
    with mock.patch.multiple(wire, pack=timed(packing.pack), unpack=timed(packing.unpack)):
        begun = time.thread_time()
        yield
        spent = time.thread_time() - begun
    with (records / stage).open("a") as file:
        file.write(f"{spent - in_packing[0]} {in_packing[0]}\n")


@contextmanager
def processor_seconds(records: Path) -> Iterator[Seconds]:
    """Processor seconds of this process and its descendants during a block, by kind; filled at its end."""
    found: Seconds = {}
    first: dict[int, float] = {}
    last: dict[int, tuple[str, float]] = {}
    ended = threading.Event()

    def look() -> None:
        for process, role, seconds in _processes():
            first.setdefault(process, 0.0 if started else seconds)
            last[process] = role, seconds

    def watch() -> None:
        while not ended.wait(1 / SAMPLES_PER_SECOND):
            look()

    started = False
    look()
    started = True
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()
    look()
    by_role = Counter[str]()
    for process, (role, seconds) in last.items():
        by_role[role] += seconds - first[process]  # type: ignore[assignment]
    found.update(_with_records(by_role, records, first))


def _processes() -> Iterator[tuple[int, str, float]]:
    """Id, kind and processor seconds of this process and its descendants."""
    here = psutil.Process()
    yield here.pid, DRIVER, sum(here.cpu_times()[:2])
    for process in here.children(recursive=True):
        try:
            words, seconds = " ".join(process.cmdline()), sum(process.cpu_times()[:2])
        except psutil.Error:
            continue
        yield process.pid, next((role for part, role in ROLES.items() if part in words), OTHER), seconds


def _with_records(by_role: Mapping[str, float], records: Path, first: Mapping[int, float]) -> Seconds:
    """The processes' times, with those of the workers by what they did; `first` is what each had used before."""
    of_stages: Seconds = defaultdict(float)
    for stage in STAGES:
        for line in (records / stage).read_text().splitlines() if (records / stage).exists() else ():
            work, around = map(float, line.split())
            of_stages[stage] += work
            of_stages[PACKING] += around
    for line in (records / START).read_text().splitlines() if (records / START).exists() else ():
        process, used = line.split()
        of_stages[START] += max(0.0, float(used) - first.get(int(process), 0.0))
    rest = by_role[WORKERS] - sum(of_stages.values())
    return dict(of_stages) | {RAY: rest} | {role: by_role[role] for role in by_role if role != WORKERS}


def table_of(seconds: Mapping[str, float], images: int) -> Table:
    """The shares as a table, milliseconds per image."""
    total = sum(seconds.values())
    table = Table(title=f"{images} images, processor time of all processes", box=None)
    for heading in ("what", "ms per image", "share"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for name, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{spent / images * 1e3:.2f}", f"{spent / total:.1%}")
    table.add_row("all", f"{total / images * 1e3:.2f}", "")
    return table
