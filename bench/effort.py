"""What each effort of an encode gains and costs: BD-rates of real files at qualities, and bytes at a floor.

    python -m bench.effort FOLDER/train/web/pixls*.jpg FOLDER/train/web/mdextr*.jpg --count 6

The centre of each image is encoded with every effort, one after the other, so that a change of the machine's speed
concerns all of them. Bytes are those of whole files, pixels those of the decoder, seconds processor time of one thread:
at qualities with a check of the PSNR, at a floor with the search.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from model.bitstream.entropy_coder import Latents
from model.codec import Codec
from model.core.effort import MOST
from model.core.errors import MaepressError
from model.core.picture import Picture
from model.core.target import Target
from model.metrics.ssimulacra2 import ssimulacra2
from pipeline.evaluate.bd_rate import bd_rate

QUALITIES = (8, 20, 32, 44)
EFFORTS = tuple(range(MOST + 1))
Point = tuple[float, float, float]
"""Bits per pixel, PSNR in dB, SSIMULACRA2."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table for qualities, and one for the floor if one is given."""
    parser = argparse.ArgumentParser(prog="bench.effort", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=4, help="evenly chosen of these images")
    parser.add_argument("--side", type=int, default=384, help="longest side of the centre that is encoded")
    parser.add_argument("--model", default="base")
    parser.add_argument("--qualities", type=int, nargs="+", default=QUALITIES)
    parser.add_argument("--floor", type=float, help="also encode to this SSIMULACRA2")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        codec = Codec.load(options.model)
        files = sorted(options.images)
        pictures = [centre(file, options.side) for file in files[:: max(1, len(files) // options.count)]]
        at_qualities(codec, pictures[: options.count], options.qualities)
        if options.floor is not None:
            at_floor(codec, pictures[: options.count], Target(min_ssimulacra2=options.floor))
    except (MaepressError, OSError) as e:
        print(f"bench.effort: {e}", file=sys.stderr)
        return 2
    return 0


def centre(file: Path, side: int) -> Picture:
    """The centre of an image."""
    image = Image.open(file).convert("RGB")
    width, height = (min(side, n) for n in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return Picture(np.array(image.crop((left, top, left + width, top + height))))


def at_qualities(codec: Codec, pictures: Sequence[Picture], qualities: Sequence[int]) -> None:
    """Print a line per effort: BD-rates against none, change of bytes at equal quality, and time."""
    curves: dict[int, list[list[Point]]] = {effort: [] for effort in EFFORTS}
    seconds = dict.fromkeys(EFFORTS, 0.0)
    for effort in EFFORTS:  # what is computed once must not count
        timed(codec, pictures[0], Target(quality=qualities[0]), effort)
    for picture in pictures:
        curve: dict[int, list[Point]] = {effort: [] for effort in EFFORTS}
        for quality in qualities:
            for effort in EFFORTS:
                latents, taken = timed(codec, picture, Target(quality=quality), effort)
                curve[effort].append(_point(codec, picture, latents))
                seconds[effort] += taken
        for effort in EFFORTS:
            curves[effort].append(curve[effort])
    print("| effort | BD-rate, PSNR | SSIMULACRA2 | bytes at a quality | processor time |\n|---:|---:|---:|---:|---:|")
    plain = np.array(curves[0])
    for effort in EFFORTS:
        deltas = [
            np.mean([bd_rate(_curve(a, i), _curve(b, i)) for a, b in zip(curves[0], curves[effort], strict=True)])
            for i in (1, 2)
        ]
        size = np.mean(np.array(curves[effort])[..., 0] / plain[..., 0]) - 1
        time_ratio = seconds[effort] / seconds[0]
        print(f"| {effort} | {deltas[0]:+.2f} % | {deltas[1]:+.2f} % | {size:+.2%} | {time_ratio:.1f} |", flush=True)


def at_floor(codec: Codec, pictures: Sequence[Picture], target: Target) -> None:
    """Print a line per effort: bytes and time against none."""
    sizes, seconds = dict.fromkeys(EFFORTS, 0), dict.fromkeys(EFFORTS, 0.0)
    for picture in pictures:
        for effort in EFFORTS:
            latents, taken = timed(codec, picture, target, effort)
            sizes[effort] += len(codec.coder.encode(latents))
            seconds[effort] += taken
    print(f"\n| effort, {target.described()} | bytes | processor time |\n|---:|---:|---:|")
    for effort in EFFORTS:
        print(f"| {effort} | {sizes[effort] / sizes[0] - 1:+.2%} | {seconds[effort] / seconds[0]:.1f} |")


def timed(codec: Codec, picture: Picture, target: Target, effort: int) -> tuple[Latents, float]:
    """An analysed picture and the processor time that it took."""
    begun = time.process_time()
    (latents,) = codec.analyse([picture], target, effort=effort)
    return latents, time.process_time() - begun


def _point(codec: Codec, picture: Picture, latents: Latents) -> Point:
    payload = codec.coder.encode(latents)
    (decoded,) = codec.decompress([payload])
    bpp = 8 * len(payload) / (picture.width * picture.height)
    assert latents.psnr is not None
    return bpp, latents.psnr, ssimulacra2(picture.pixels, decoded.pixels)


def _curve(points: Sequence[Point], column: int) -> list[tuple[float, float]]:
    return [(point[0], point[column]) for point in points]


if __name__ == "__main__":
    sys.exit(main())
