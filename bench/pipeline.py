"""What the pipeline costs beside a plain loop that does the same work with the same number of threads.

    python -m bench.pipeline --images 400 --rounds 2

The loop reads files, runs the networks (with the check of the PSNR), codes, and writes Parquet, 32 images at a time, in
one process. Both take turns in the same run, so that what else the machine does hits both. Starting (Ray itself, then
worker processes that import torch and load the model) is measured by an encode of two images and reported by itself: it
is paid once a job, however long that is.

A loop with several torch threads leaves some of them idle (small operators), which flatters the pipeline and its
encoders of one thread each. So there is a second measure: as many perfect copies of a single-thread loop as there are
threads. It is fair only on a machine that does nothing else.
"""

import argparse
import itertools
import logging
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import ray
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from model import checkpoint
from model.codec import Codec
from model.config import CodecConfig
from model.network import Network
from pipeline import stages
from pipeline.archive import Archive
from pipeline.encoding import EncodeSettings, encode
from pipeline.storage import open_source

DATA = Path(os.environ.get("MAEPRESS_DATA", Path(__file__).parents[2] / "shared" / "data"))
PIECE = 32


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    options = _options(argv)
    files = _pick(options.data, options.images)
    if not files:
        print(f"no images below {options.data} (give --data FOLDER or set MAEPRESS_DATA)", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="maepress-bench-") as scratch:
        folder = Path(scratch)
        model = options.model or str(_fresh_model(folder / "model"))
        _link(files, folder / "source")
        _link(files[:2], folder / "two")
        megapixels = sum(_pixels(f) for f in files) / 1e6

        start = time.perf_counter()
        ray.init(
            address="local",
            include_dashboard=False,
            num_cpus=options.threads,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        ray_seconds = time.perf_counter() - start
        loops, lines, starts, singles = [], [], [], []
        half = files[: max(1, len(files) // 2)]
        _link(half, folder / "half")
        share = sum(_pixels(f) for f in half) / 1e6 / megapixels
        for turn in range(options.rounds):
            starts.append(_encode(folder / "two", folder / f"two-{turn}", model, options.quality))
            lines.append(_encode(folder / "source", folder / f"line-{turn}", model, options.quality))
            loops.append(_loop(folder / "source", folder / f"loop-{turn}", model, options.quality, options.threads))
            alone = _loop(folder / "half", folder / f"single-{turn}", model, options.quality, 1)
            singles.append(alone / share / options.threads)
        ray.shutdown()
    _report(len(files), megapixels, options.threads, ray_seconds, starts, loops, singles, lines)
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.pipeline", description="The whole pipeline against a plain loop."
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder of images")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quality", type=int, default=40)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--model", help="a model's folder; without it, an untrained model of the usual size (which costs the same)"
    )
    return parser.parse_args(argv)


def _pick(data: Path, count: int) -> list[Path]:
    """Photographs of every folder in turn, so that sizes mix."""
    folders = [data / "train" / "photos", data / "train" / "imagenet-sample", *sorted((data / "clothing").glob("*/*"))]
    listed = [sorted(p for p in folder.glob("*.jp*g")) for folder in folders if folder.is_dir()] or [
        sorted(data.rglob("*.jp*g"))
    ]
    return [f for f in itertools.chain.from_iterable(itertools.zip_longest(*listed)) if f is not None][:count]


def _link(files: Sequence[Path], folder: Path) -> None:
    folder.mkdir()
    for i, file in enumerate(files):
        (folder / f"{i:05d}{file.suffix}").symlink_to(file.resolve())


def _pixels(file: Path) -> int:
    with Image.open(file) as image:
        return image.width * image.height


def _fresh_model(folder: Path) -> Path:
    folder.mkdir()
    for name, data in checkpoint.serialise(Network(CodecConfig())).items():
        (folder / name).write_bytes(data)
    return folder


def _encode(source: Path, archive: Path, model: str, quality: int) -> float:
    """Seconds of an encode from nothing to committed."""
    start = time.perf_counter()
    encode(EncodeSettings(source=str(source), archive=str(archive), model=model, quality=quality), quiet=True)
    shutil.rmtree(archive)
    return time.perf_counter() - start


def _loop(source: Path, archive: Path, model: str, quality: int, threads: int) -> float:
    """Seconds of the plain loop, the model already loaded."""
    torch.set_num_threads(threads)
    store, codec, images = open_source(str(source)), Codec.load(model), Archive.create(str(archive))
    start = time.perf_counter()
    entries, pressed = store.entries(), []
    while piece := list(itertools.islice(entries, PIECE)):
        loaded = stages.load(piece, store, 64_000_000, 1 << 29)
        pressed.append(stages.press(stages.analyse(loaded, codec, quality), codec.coder, "loop"))
    stages.write(0, None, pressed, images)
    seconds = time.perf_counter() - start
    shutil.rmtree(archive)
    return seconds


def _report(
    images: int,
    megapixels: float,
    threads: int,
    ray_seconds: float,
    starts: list[float],
    loops: list[float],
    singles: list[float],
    lines: list[float],
) -> None:
    start, loop, single, line = (statistics.median(seconds) for seconds in (starts, loops, singles, lines))
    table = Table(
        title=f"{images} images, {megapixels:.0f} MP, {threads} threads, median of {len(loops)} interleaved rounds",
        box=None,
    )
    for heading in ("", "seconds", "MP/s", "of the loop"):
        table.add_column(heading, justify="left" if not heading else "right")
    rows = [
        ("plain loop, one process", loop),
        (f"{threads} perfect copies of a single-thread loop", single),
        ("pipeline, start-up apart", line - start),
        ("pipeline, start-up included", line),
    ]
    for name, seconds in rows:
        table.add_row(name, f"{seconds:.1f}", f"{megapixels / seconds:.2f}", f"{loop / seconds:.2f}")
    table.add_row("start-up of an encode (an encode of two images)", f"{start:.1f}", "", "")
    table.add_row("start-up of Ray on this machine", f"{ray_seconds:.1f}", "", "")
    Console(width=110).print(table)


if __name__ == "__main__":
    sys.exit(main())
