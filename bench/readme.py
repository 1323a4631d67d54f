"""The speeds that the README states, medians of three rounds: `make bench-readme`, on a machine that is quiet.

Pictures are 8 of Kodak's and 5 photographs from cameras, as in `bench.speed`. The whole job is `encode` of 60
photographs of 0.3 megapixels in the job's own process: listing, sandbox, check, entropy coding, commits, and the start
of Python.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.data import DATA, photographs
from bench.speed import AVIF_ALL, QUALITY, Pixels
from model.codec import Codec
from model.core.errors import MaepressError
from model.core.picture import Picture
from model.core.target import Target
from pipeline.evaluate.baseline_codecs import BASELINE_CODECS, Encode, pillow
from pipeline.evaluate.speed import TYPICAL

ROUNDS = 3
PHOTOGRAPHS, MEGAPIXELS = 2_000_000, 12
"""The archive whose cost the README states."""
BUSY = 1.5
"""Load above which figures are not worth stating."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.readme", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=8, help="Kodak's images, and about half as many photographs")
    parser.add_argument("--job", type=int, default=60, help="photographs of the whole job")
    options = parser.parse_args(argv)
    try:
        files = photographs(options.images)
    except MaepressError as e:
        print(f"bench.readme: {e}", file=sys.stderr)
        return 2
    load = os.getloadavg()[0]
    if load > BUSY:
        print(f"the load is {load:.1f}: these figures are of a busy machine, not for the README")
    images = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    console = Console()
    console.print(per_core(images))
    console.print(beside_others(images))
    console.print(whole_job(options.job))
    return 0


def per_core(images: list[Pixels]) -> Table:
    """What an encode takes per core, entropy coding included, by processor time."""
    torch.set_num_threads(1)
    codec, pictures = Codec.load("base"), [Picture(image) for image in images]

    def coded(target: Target | int, check: bool = True) -> float:
        began = time.process_time()
        for latents in codec.analyse(pictures, target, check=check):
            codec.coder.encode(latents)
        return time.process_time() - began

    ways: dict[str, Callable[[], float]] = {
        "without check": lambda: coded(QUALITY, check=False),
        "with check (what `encode` does)": lambda: coded(QUALITY),
        "to a PSNR of 38 dB": lambda: coded(Target(min_psnr=38.0)),
        "to a SSIMULACRA2 of 75": lambda: coded(Target(min_ssimulacra2=75.0)),
    }
    codec.analyse(pictures[:1], QUALITY)  # the first call loads and compiles
    seconds = medians(ways)
    table = Table("", "MP/s per core", f"core hours for {PHOTOGRAPHS // 10**6} million photographs of {MEGAPIXELS} MP")
    for name, taken in seconds.items():
        rate = megapixels(images) / taken
        table.add_row(name, f"{rate:.2f}", f"{PHOTOGRAPHS * MEGAPIXELS / rate / 3600:,.0f}")
    return table


def beside_others(images: list[Pixels]) -> Table:
    """One picture after the other, from pixels to a whole file and back, by the clock; ours on two threads."""
    torch.set_num_threads(2)
    codec = Codec.load("base")
    avif = pillow("AVIF", speed=6)
    encoders: dict[str, Callable[[Pixels], bytes]] = {
        other.name: partial(_at, other.encode, TYPICAL[other.name]) for other in BASELINE_CODECS
    }
    encoders[AVIF_ALL] = lambda image: avif(image, TYPICAL["AVIF s6"])
    encoders["maepress, 2 threads"] = lambda image: codec.compress([Picture(image)], QUALITY)[0]
    decoders: dict[str, Callable[[bytes], object]] = {other.name: other.decode for other in BASELINE_CODECS}
    decoders[AVIF_ALL] = decoders["AVIF s6"]
    decoders["maepress, 2 threads"] = lambda data: codec.decompress([data])
    encoding = medians({name: partial(timed, encode, images) for name, encode in encoders.items()})
    files = {name: [encode(image) for image in images] for name, encode in encoders.items()}
    decoding = medians({name: partial(timed, decoders[name], files[name]) for name in encoders})
    table = Table("codec", "encode MP/s", "AVIF = 1", "decode MP/s")
    for name in encoders:
        rate, beside = megapixels(images) / encoding[name], encoding[AVIF_ALL] / encoding[name]
        table.add_row(name, f"{rate:.2f}", f"{beside:.2f}", f"{megapixels(images) / decoding[name]:.1f}")
    torch.set_num_threads(1)
    return table


def _at(encode: Encode, quality: int, image: Pixels) -> bytes:
    return encode(image, quality)


def whole_job(count: int) -> Table:
    """`maepress encode` of photographs, as a command, on all cores of this machine."""
    sources = sorted((DATA / "train" / "web").glob("*.jpg"))
    sources = sources[:: max(1, len(sources) // max(1, count))][:count]
    pixels = 0
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        for source in sources:
            (photos / source.name).write_bytes(source.read_bytes())
            with Image.open(source) as image:
                pixels += image.width * image.height

        def job(*words: str) -> float:
            with tempfile.TemporaryDirectory() as archive:
                began = time.monotonic()
                command = [sys.executable, "-m", "jobs", "encode", str(photos), f"{archive}/a", "--quiet", *words]
                subprocess.run([*command, "--executor", "local"], check=True, stdout=subprocess.DEVNULL)
                return time.monotonic() - began

        targets: dict[str, tuple[str, ...]] = {"quality 40": (), "a PSNR of 38 dB": ("--min-psnr", "38")}
        seconds = medians({name: partial(job, *words) for name, words in targets.items()})
    table = Table("whole job", "photographs", "MP/s", "seconds", title=f"{len(os.sched_getaffinity(0))} cores")
    for name, taken in seconds.items():
        table.add_row(name, f"{len(sources)}", f"{pixels / 1e6 / taken:.2f}", f"{taken:.1f}")
    return table


def medians(ways: dict[str, Callable[[], float]]) -> dict[str, float]:
    """The median seconds of each way over some rounds; in each round all ways take their turn."""
    rounds = [{name: way() for name, way in ways.items()} for _ in range(ROUNDS)]
    return {name: statistics.median(one[name] for one in rounds) for name in ways}


def timed(work: Callable[..., object], items: Sequence[object]) -> float:
    """Seconds by the clock."""
    began = time.perf_counter()
    for item in items:
        work(item)
    return time.perf_counter() - began


def megapixels(images: Sequence[Pixels]) -> float:
    """Of all images together."""
    return float(sum(image.shape[0] * image.shape[1] for image in images)) / 1e6


if __name__ == "__main__":
    sys.exit(main())
