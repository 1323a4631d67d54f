"""Speed of encoding on a GPU: megapixels per second of the encoder alone and of the pipeline, and GPU utilisation.

    python -m bench.gpu                      # the shared photographs, 2,000 of them, the shipped model
    python -m bench.gpu FOLDER --images 20000

*alone*: pictures in memory pass through the networks, check included, one piece after the other; *two at once*: the
same from two threads with a stream each, as an encoder of the pipeline does. *pipeline*: a whole encode job on this
machine, from files to commits. The GPU counts as busy while any kernel runs on it (NVML's utilisation, as nvidia-smi
samples it).
"""

import argparse
import itertools
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from bench.data import DATA
from jobs.framework.ray_session import ray_session
from model.codec import Codec
from model.core.picture import Picture
from pipeline.encode.run import EncodeSettings, encode
from pipeline.execution.device import Streams
from pipeline.images.image_reader import read
from pipeline.images.reading import Reading

PIECE = 16
"""Pictures that an encoder is given at once."""
QUALITY = 40
SAMPLES_A_SECOND = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="bench.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=DATA / "train", help="images to encode")
    parser.add_argument("--images", type=int, default=2000, help="number of images; they repeat if there are fewer")
    parser.add_argument("--alone", type=int, default=256, help="number of these kept in memory for the encoder alone")
    parser.add_argument("--model", default="base", help="model folder, or the name of a shipped one")
    options = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print("bench.gpu measures a GPU, and torch sees none here: run it on a machine that has one", file=sys.stderr)
        return 2
    if shutil.which("nvidia-smi") is None:
        print("bench.gpu samples the GPU with nvidia-smi, which is not on this machine's PATH", file=sys.stderr)
        return 2
    files = sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not files:
        print(f"no images in {options.folder}: name a folder, or set MAEPRESS_DATA", file=sys.stderr)
        return 2
    table = Table("", "MP/s", "GPU busy", title=torch.cuda.get_device_name(), box=None)
    for name, rate, busy in (
        *_alone(files, options.alone, options.model),
        _pipeline(files, options.images, options.model),
    ):
        table.add_row(name, f"{rate:.0f}", f"{busy:.0%}")
    Console().print(table)
    return 0


Row = tuple[str, float, float]
"""Name of the test, megapixels per second, and the share of the time that the GPU was busy."""


def _alone(files: Sequence[Path], count: int, model: str) -> Iterator[Row]:
    """The encoder with one thread and with two."""
    pieces = list(_pieces(files, count))
    megapixels = sum(p.width * p.height for piece in pieces for p in piece) / 1e6
    codec, streams = Codec.load(model, device="cuda"), Streams("cuda")

    def analyse(piece: Sequence[Picture]) -> None:
        with streams.own():
            codec.analyse(piece, QUALITY)

    analyse(pieces[0])  # load kernels, allocate memory
    for name, threads in (("alone", 1), ("two at once", 2)):
        with ThreadPoolExecutor(threads) as pool:
            seconds, busy = _watched(lambda pool=pool: list(pool.map(analyse, pieces)))  # type: ignore[misc]
        yield name, megapixels / seconds, busy


def _pieces(files: Sequence[Path], count: int) -> Iterator[list[Picture]]:
    readings = (read(file.read_bytes()) for file in itertools.cycle(files))
    pictures = (r.picture for r in readings if isinstance(r, Reading) and r.picture is not None)
    while count > 0 and (piece := list(itertools.islice(pictures, PIECE))):
        yield piece
        count -= PIECE


def _pipeline(files: Sequence[Path], count: int, model: str) -> Row:
    """A whole encode, from the first listing to the last commit."""
    torch.cuda.empty_cache()  # this process no longer needs its memory
    with tempfile.TemporaryDirectory(prefix="maepress-bench-") as folder:
        source = Path(folder) / "source"
        source.mkdir()
        for number, file in enumerate(itertools.islice(itertools.cycle(files), count)):
            (source / f"{number:06d}{file.suffix}").symlink_to(file.resolve())
        settings = EncodeSettings(
            source=str(source), archive=f"{folder}/archive", model=model, quality=QUALITY, executor="ray"
        )
        with ray_session():
            done = []
            _, busy = _watched(lambda: done.append(encode(settings, quiet=True)))
    return "pipeline", done[0].pixels / 1e6 / done[0].seconds, busy


def _watched(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the work, and the mean share of them that the GPU was busy."""
    with _sampled() as samples:
        begun = time.perf_counter()
        work()
        seconds = time.perf_counter() - begun
    return seconds, statistics.fmean(samples) if samples else float("nan")


@contextmanager
def _sampled() -> Iterator[list[float]]:
    """The GPU's utilisation, 0..1, as it is sampled while the block runs."""
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--id=0"]
    samples: list[float] = []
    with subprocess.Popen(
        [*query, f"--loop-ms={1000 // SAMPLES_A_SECOND}"], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        lines = child.stdout
        reader = threading.Thread(target=lambda: samples.extend(float(line) / 100 for line in lines), daemon=True)
        reader.start()
        try:
            yield samples
        finally:
            child.terminate()
            reader.join()


if __name__ == "__main__":
    sys.exit(main())
