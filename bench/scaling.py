"""Scaling over machines: images per second and efficiency on 1 to N nodes of equal size.

    python -m bench.scaling --nodes 1 2 4

The nodes all run on this machine and claim a core and a GPU each, which they do not have: the encoders *sleep* for a
fixed time per image. Everything else is real: fetching, reading, the entropy coding task, writing, and Ray. So it
measures whether the dataflow keeps N encoders busy, not their speed.

The number of images grows with the nodes. Time runs from the moment the last encoder has begun (starting processes is
not part of steady work) to the end of the last image; images finished before are not counted.
"""

import argparse
import io
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.table import Table

from jobs.framework.ray_session import quiet_data
from model.codec import Codec
from pipeline.archive.archive import Archive
from pipeline.archive.receipt import Rejection
from pipeline.encode.dataflow import EncodeDataflow, _Encoder
from pipeline.encode.settings import EncodeSettings
from pipeline.encode.stages import Analysed, Loaded
from pipeline.execution.device import Streams
from pipeline.planning.units import UNIT_ROWS, units_of_new_keys
from pipeline.storage.local.store import LocalStore
from tests.nodes import Nodes, nodes

TRACE, SECONDS = "MAEPRESS_BENCH_TRACE", "MAEPRESS_BENCH_SECONDS"
"""Environment variables for encoders: where to log their work, and their time per image."""
PIECE = 4
"""Images per piece."""


class Sleeping(_Encoder):
    """Sleeps for a fixed time per image, and keeps its source."""

    def __init__(self, *_: Any) -> None:
        self._trace = Path(os.environ[TRACE], str(os.getpid()))
        self._seconds = float(os.environ[SECONDS])
        self._streams = Streams("cpu")

    def _analyse(self, items: Sequence[Loaded | Rejection]) -> list[Analysed | Rejection]:
        begun = time.time()
        time.sleep(self._seconds * len(items))
        with self._trace.open("a") as file:
            file.write(f"{begun} {time.time()} {len(items)}\n")
        return [item if isinstance(item, Rejection) else _kept(item) for item in items]


def _kept(item: Loaded) -> Analysed:
    reading = item.reading
    facts = (item.key, item.etag, item.source, reading.source_format, reading.width, reading.height)
    return Analysed(*facts, keep="stand-in")


@dataclass(frozen=True, slots=True)
class Measured:
    """Result for a number of nodes: images in seconds of steady work."""

    nodes: int
    images: int
    seconds: float

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds


def measure(head: Nodes, count: int, pieces: int, trace: Path) -> Measured:
    """Encode `pieces` pieces per node on `count` nodes, which are running already.

    Args:
        head: the cluster, to which this process is connected.
        count: its nodes; each has one GPU.
        pieces: number per node.
        trace: the empty folder that the workers know as `TRACE`.
    """
    with tempfile.TemporaryDirectory(prefix="maepress-bench-") as folder:
        size = make(Path(folder) / "source", count * pieces * PIECE)
        settings = EncodeSettings(
            source=f"{folder}/source", archive=f"{folder}/archive", actors=f"{count}:{count}", gpus_per_actor=1
        )
        source, archive, codec = LocalStore(settings.source), Archive.create(settings.archive), Codec.load()
        line = EncodeDataflow(source, archive, codec.fingerprint, codec.coder, "bench", settings, Sleeping)
        for _ in line.run(units_of_new_keys(source.entries(), UNIT_ROWS * PIECE * size)):
            pass
    encoders = [[tuple(map(float, line.split())) for line in file.read_text().splitlines()] for file in trace.iterdir()]
    assert len(encoders) == count, f"{len(encoders)} encoders worked on {count} nodes"
    everyone = max(begun for (begun, _, _), *_ in encoders)
    after = [(begun, end, images) for encoder in encoders for begun, end, images in encoder if begun >= everyone]
    return Measured(count, int(sum(images for *_, images in after)), max(end for _, end, _ in after) - everyone)


def make(folder: Path, count: int) -> int:
    """Write `count` small images of equal size; returns the bytes of one."""
    folder.mkdir()
    file = io.BytesIO()
    Image.linear_gradient("L").resize((64, 48)).convert("RGB").save(file, "PNG")
    for number in range(count):
        (folder / f"{number:06d}.png").write_bytes(file.getvalue())
    return len(file.getvalue())


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each number of nodes on a cluster of its own, and print the table."""
    parser = argparse.ArgumentParser(prog="bench.scaling", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--nodes", type=int, nargs="*", default=[1, 2, 4], help="numbers of nodes; the first is the unit"
    )
    parser.add_argument("--pieces", type=int, default=40, help=f"pieces of {PIECE} images per node")
    parser.add_argument("--seconds", type=float, default=0.25, help="seconds of an encoder per image")
    options = parser.parse_args(argv)
    table = Table("nodes", "images", "seconds", "images/s", "efficiency", box=None)
    first: Measured | None = None
    for count in options.nodes:
        with (
            tempfile.TemporaryDirectory() as trace,
            nodes(**{TRACE: trace, SECONDS: str(options.seconds)}) as head,
        ):
            quiet_data()
            for _ in range(count):
                head.add(cpus=1, gpus=1)
            found = measure(head, count, options.pieces, Path(trace))
        first = first or found
        efficiency = found.rate / found.nodes / (first.rate / first.nodes)
        cells = (f"{found.images}", f"{found.seconds:.1f}", f"{found.rate:.2f}", f"{efficiency:.2f}")
        table.add_row(str(count), *cells)
        print(f"{count} nodes: {found.rate:.2f} images/s, efficiency {efficiency:.2f}", file=sys.stderr, flush=True)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
