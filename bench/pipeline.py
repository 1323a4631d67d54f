"""Cost of each stage of the encode dataflow, against the sum of its parts; source and archive on a real S3 server.

    python -m bench.pipeline --images 2000 --until write

The dataflow runs with its first stage alone, then with one more, and so on: fetch, +read, +encode, +code, +write; later
stages are left out of Ray's plan, too. The last rows are whole encode jobs, with listing, plan and commits: on Ray, and
in this process (`--executor local`).

The bound: the same stage functions in a loop, in one single-threaded process per core, one piece at a time, over images
from all of the listing, give the seconds of each part per megapixel; the cores cannot do more than cores / sum of the
parts. Ray takes no part in it. The S3 server works on the same cores, as do the children that decode images. Start-up
(workers, loading the model) is measured by a dataflow over a few images and subtracted, as it is paid once per job.

Beside the wall-clock time stands the processor time of the whole machine, relative to that of the parts: the work that
the dataflow adds (Ray, the S3 server). If it is near 1 and the share of the bound is not, cores were idle.

With `--shares` the whole dataflow runs once, and the table says which processes and which work took the processor's
time (`bench.pipeline_shares`); other work on the machine does not count there.
"""

import argparse
import itertools
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pyarrow as pa
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.data import DATA
from bench.pipeline_shares import Seconds, TimedDataflow, processor_seconds, table_of
from jobs.demo.s3_server import s3_server
from jobs.framework.ray_session import ray_session
from model.codec import Codec
from model.core.model_files import BASE
from pipeline.archive.archive import Archive
from pipeline.encode import stages, wire
from pipeline.encode.dataflow import EncodeDataflow
from pipeline.encode.run import EncodeSettings, RunOptions, encode, plan_options
from pipeline.encode.unit_writer import write_unit
from pipeline.execution import ray_flow
from pipeline.images.sandbox.sandbox import shared
from pipeline.planning.manifest import Manifest
from pipeline.planning.planner import make_plan
from pipeline.planning.units import Piece
from pipeline.storage.base import Store
from pipeline.storage.open import open_store

PARTS = ("fetch", "read", "encode", "code", "write")
PIECE, FEW = 8, 2
LINE_STAGES = {"read": 1, "encode": 2, "code": 3, "write": 4}
"""Number of dataflow stages up to each part; the first stage both fetches and reads."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Wall-clock seconds and processor seconds."""

    clock: float
    cpu: float

    @classmethod
    def now(cls) -> "Spent":
        """Both clocks now, from an arbitrary start."""
        return cls(time.perf_counter(), _processor_seconds())

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(self.clock - other.clock, self.cpu - other.cpu)


@dataclass(frozen=True, slots=True)
class Size:
    """The images, and the number of cores."""

    images: int
    megapixels: float
    cores: int


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    options = _options(argv)
    files = _pick(options.data, options.images)
    if not files:
        print(f"no images below {options.data} (give --data FOLDER or set MAEPRESS_DATA)", file=sys.stderr)
        return 2
    with (
        tempfile.TemporaryDirectory(prefix="maepress-bench-") as folder,
        s3_server(Path(folder)) as server,
        server.environment(),
    ):
        size = Size(len(files), _upload(files, open_store(f"{server.bucket}/source")) / 1e6, os.cpu_count() or 1)
        _upload(files[:FEW], open_store(f"{server.bucket}/few"))
        settings = EncodeSettings(
            source=f"{server.bucket}/source",
            archive=f"{server.bucket}/archive",
            model=options.model,
            quality=options.quality,
            shard_mib=options.shard_mib,
            executor="ray",
        )
        few = settings.model_copy(update={"source": f"{server.bucket}/few", "archive": f"{server.bucket}/fews"})
        an_image = size.megapixels / size.images
        if options.shares:
            with ray_session():
                _line(few, "write")  # starts the workers
                less, taken = _shares(few), _shares(settings)
            Console(width=120).print(table_of({k: v - less.get(k, 0.0) for k, v in taken.items()}, size.images - FEW))
            return 0
        parts = {k: v * an_image for k, v in _parts(settings, options.sample, size.cores).items()}
        with ray_session():
            table, bound = _table(size), 0.0
            for part in PARTS[: PARTS.index(options.until) + 1]:
                bound += parts[part]
                spent = _line(settings, part) - _line(few, part)
                _row(table, part if part == PARTS[0] else f"+{part}", parts[part], bound, spent, size)
            if options.until == PARTS[-1]:
                _row(table, "encode: +plan, +commits", 0.0, bound, _encode(settings) - _encode(few), size)
        if options.until == PARTS[-1]:
            spent = _encode(_in_this_process(settings)) - _encode(_in_this_process(few))
            _row(table, "encode in this process", 0.0, bound, spent, size)
    Console(width=120).print(table)
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.pipeline", description="Measure the cost of each stage.")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of images; they repeat when there are too few")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--sample", type=int, default=64, help="number of images on which the parts are measured")
    parser.add_argument("--until", choices=PARTS, default=PARTS[-1], help="the last stage; later ones are left out")
    parser.add_argument("--shares", action="store_true", help="print what takes the processor's time, and no speeds")
    parser.add_argument("--quality", type=int, default=40)
    parser.add_argument("--shard-mib", type=int, default=64)
    parser.add_argument("--model", default=str(BASE), help="a model's folder; default: the shipped one")
    return parser.parse_args(argv)


def _pick(data: Path, count: int) -> list[Path]:
    """Photographs of every folder in turn, so that sizes mix."""
    folders = [data / "train" / "photos", data / "train" / "imagenet-sample", *sorted((data / "clothing").glob("*/*"))]
    listed = [sorted(folder.glob("*.jp*g")) for folder in folders if folder.is_dir()]
    mixed = [file for file in itertools.chain.from_iterable(itertools.zip_longest(*listed)) if file is not None]
    return list(itertools.islice(itertools.cycle(mixed), count))


def _upload(files: Sequence[Path], store: Store) -> int:
    """Put the files into a bucket; returns their pixels."""
    pixels = 0
    for number, file in enumerate(files):
        store.put(f"{number:06d}{file.suffix}", file.read_bytes())
        with Image.open(file) as image:
            pixels += image.width * image.height
    return pixels


def _processor_seconds() -> float:
    """Processor seconds of the whole machine: a worker that ends takes its own count with it."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def _parts(settings: EncodeSettings, sample: int, cores: int) -> dict[str, float]:
    """Core-seconds per megapixel of each part, while a process on every core does the same."""
    apart = [settings.model_copy(update={"archive": f"{settings.archive}-{n}"}) for n in range(cores)]
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
        measured = list(pool.map(_alone, apart, [sample] * cores))
    return {part: sum(one[part] for one in measured) / cores for part in PARTS}


def _alone(settings: EncodeSettings, sample: int) -> dict[str, float]:
    """Seconds per megapixel of each part in this process."""
    torch.set_num_threads(1)
    source, archive, codec = open_store(settings.source), Archive.create(settings.archive), Codec.load(settings.model)
    sandbox, target = shared(settings.limits()), settings.target()
    spent = dict.fromkeys(PARTS, 0.0)
    compressed = []
    every = list(source.entries())
    entries = every[:: max(1, len(every) // sample)]  # spread over the listing, along which image sizes vary
    megapixels = 0.0
    for warm in (True, False):  # warm up caches and children on the first piece
        for start in range(0, PIECE if warm else len(entries), PIECE):
            piece = entries[start : start + PIECE]
            clock = [time.perf_counter()]
            source.fetch([entry.key for entry in piece])
            clock.append(time.perf_counter())
            loaded = stages.load(piece, source, sandbox, settings.max_pixels, settings.max_bytes)
            clock.append(time.perf_counter())
            analysed = stages.analyse(loaded, codec, target)
            clock.append(time.perf_counter())
            done = stages.compress(analysed, codec.coder, target, sandbox, "parts")
            clock.append(time.perf_counter())
            if warm:
                continue
            compressed.append(done)
            readings = [item.reading for item in loaded if isinstance(item, stages.Loaded)]
            megapixels += sum(reading.width * reading.height for reading in readings) / 1e6
            fetch, load, encoding, coding = (b - a for a, b in itertools.pairwise(clock))
            for part, took in zip(PARTS, (fetch, load - fetch, encoding, coding), strict=False):
                spent[part] += took
    begin = time.perf_counter()
    write_unit(0, None, compressed, archive)
    spent["write"] = time.perf_counter() - begin
    return {part: took / megapixels for part, took in spent.items()}


def _shares(settings: EncodeSettings) -> Seconds:
    """Processor seconds of the whole dataflow by kind of work."""
    with tempfile.TemporaryDirectory(prefix="maepress-bench-") as folder:
        records = Path(folder)
        with processor_seconds(records) as seconds:
            _line(settings, PARTS[-1], partial(TimedDataflow, records))
        return seconds


def _line(settings: EncodeSettings, last: str, dataflow: Callable[..., EncodeDataflow] = EncodeDataflow) -> Spent:
    """Time of the dataflow up to a part, from its first task to its last row; nothing is committed."""
    source, archive, codec = open_store(settings.source), Archive.create(settings.archive), Codec.load(settings.model)
    archive.put_model(codec.fingerprint, Path(settings.model))
    manifest = Manifest(archive.root, f"bench-{last}")
    plan = make_plan(source, archive, manifest, plan_options(settings, codec.fingerprint, RunOptions()))
    pieces: list[Piece] = [piece for part in plan.required_parts for piece in manifest.read(part)]
    line = dataflow(source, archive, codec.fingerprint, codec.coder, f"bench-{last}", settings)
    begin = Spent.now()
    if last == "fetch":
        dataset = ray_flow.stage(line.dataset(pieces, 0), _fetch, source, cpus=0.1)
    else:
        dataset = line.dataset(pieces, LINE_STAGES[last])
    if last != "write":  # rows other than receipts are large and must not reach the driver
        dataset = ray_flow.stage(dataset, _drop, cpus=0.1)
    for _ in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        pass
    spent = Spent.now() - begin
    manifest.remove()
    return spent


def _fetch(table: pa.Table, source: Store) -> pa.Table:
    return wire.each(table, lambda objects: len(source.fetch([entry.key for entry in objects])))


def _drop(table: pa.Table) -> pa.Table:
    return pa.table({"rows": [table.num_rows]})


def _encode(settings: EncodeSettings) -> Spent:
    begin = Spent.now()
    encode(settings, quiet=True)
    return Spent.now() - begin


def _in_this_process(settings: EncodeSettings) -> EncodeSettings:
    return settings.model_copy(update={"executor": "local", "archive": f"{settings.archive}-here"})


def _table(size: Size) -> Table:
    title = f"{size.images} images, {size.megapixels:.0f} MP, {size.cores} cores, S3 to S3"
    table = Table(title=title, box=None)
    headings = ("stages", "ms alone", "s", "images/s", "MP/s", "images/s per core", "bound", "of the bound")
    for heading in (*headings, "CPU ms", "of the parts"):
        table.add_column(heading, justify="left" if heading == "stages" else "right")
    return table


def _row(table: Table, name: str, alone: float, parts: float, spent: Spent, size: Size) -> None:
    """Print a row: `alone` and the sum of `parts` per image, `spent` by the whole dataflow."""
    rate, bound = size.images / spent.clock, size.cores / parts
    numbers = (rate, size.megapixels / spent.clock, rate / size.cores, bound)
    cells = [f"{alone * 1e3:.1f}", f"{spent.clock:.1f}", *(f"{number:.1f}" for number in numbers)]
    cpu = spent.cpu / size.images
    table.add_row(name, *cells, f"{rate / bound:.2f}", f"{cpu * 1e3:.1f}", f"{cpu / parts:.2f}")


if __name__ == "__main__":
    sys.exit(main())
