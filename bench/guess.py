"""The tables of `model.guess` for a model, from photographs that are not the test's.

    python -m bench.guess IMAGES                # a folder of photographs, some of which are taken
    python -m bench.guess IMAGES --model MODEL

Of each table the median over the photographs is printed, and the spread (half of the range from the 16th to the 84th
percentile): how far off a first trial is.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from model import checkpoint
from model.codec import Codec
from model.config import QUALITIES
from model.encoder import Encoder
from model.fidelity import decibels, ms_ssim
from model.guess import AT, LEAST_BYTES, estimate
from model.picture import Picture
from model.targeting import SAMPLE
from model.tiling import TILE
from pipeline.crops import SUFFIXES

SIDE, SHRINK = 640, 0.7
"""Longest side that is looked at; factor by which all are shrunk at least, so that JPEG's artefacts vanish."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.guess", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--model", default="base", help="model folder, or base for the shipped one")
    parser.add_argument("--count", type=int, default=40)
    options = parser.parse_args(argv)
    files = sorted(f for f in options.images.rglob("*") if f.suffix.lower() in SUFFIXES)
    if not files:
        print(f"no images in {options.images}", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    model = checkpoint.load(options.model)
    with torch.inference_mode():
        gains = model.network.gain(torch.arange(QUALITIES))[:, 0, 0].numpy()
    codec = Codec(model)
    chosen = random.Random(0).sample(files, min(options.count, len(files)))
    off = np.array([_off(codec, model, gains, _shrunk(f)) for f in chosen])  # [images, qualities, 3]
    table = Table("table", *map(str, AT), title=f"model {codec.fingerprint}, {len(chosen)} photographs, by quality")
    names = ("PSNR_ABOVE", "MS_SSIM_ABOVE", "BYTES_TIMES")
    for name, values in zip(names, off.transpose(2, 1, 0), strict=True):
        low, middle, high = np.percentile(values, (16, 50, 84), axis=1)
        table.add_row(name, *(f"{v:.2f}" for v in middle))
        table.add_row("spread", *(f"{v:.2f}" for v in (high - low) / 2))
    Console().print(table)
    return 0


def _shrunk(file: Path) -> Picture:
    image = Image.open(file).convert("RGB")
    scale = min(SHRINK, SIDE / max(image.size))
    size = (max(16, round(image.width * scale)), max(16, round(image.height * scale)))
    return Picture(np.asarray(image.resize(size, Image.Resampling.BICUBIC)))


def _off(
    codec: Codec, model: checkpoint.Checkpoint, gains: NDArray[np.float32], picture: Picture
) -> list[tuple[float, float, float]]:
    """How far each quality's PSNR, MS-SSIM and bytes lie from the bare estimate."""
    with torch.inference_mode():
        sample = Encoder(model.network, [picture], torch.device("cpu"), TILE).sample(SAMPLE)[0]
    bare = estimate(sample, gains)
    found = []
    for quality in AT:
        (made,) = codec.analyse([picture], quality)
        assert made.psnr is not None
        (decoded,) = codec.decompress([payload := codec.coder.encode(made)])
        similarity = decibels(ms_ssim(picture.pixels, decoded.pixels))
        size = (len(payload) - LEAST_BYTES) / (picture.width * picture.height)
        found.append((made.psnr - bare.psnr[quality], similarity - bare.ms_ssim[quality], size / bare.bytes[quality]))
    return found


if __name__ == "__main__":
    sys.exit(main())
