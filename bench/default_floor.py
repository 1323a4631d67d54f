"""PSNR that photographs reach at each quality: what the floors of `pipeline.encode.default_floor` are set below.

    python -m bench.default_floor ../shared/data [--images 120]

Takes photographs of each training set in turn (Kodak is not among them), of large ones the middle, and prints the
lowest PSNR and the first percentile at some qualities, the floor there, and how many photographs miss it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from model.codec import Codec
from model.core.picture import Picture
from model.core.target import Target
from pipeline.encode.default_floor import QUALITIES, default_floor
from pipeline.evaluate.measurement import middle
from pipeline.images.decode_rgb import decode_rgb

SETS = ("train/photos", "train/web", "train/imagenet-sample", "clothing/train")
PIXELS = 256 * 256


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.default_floor", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with the sets of images")
    parser.add_argument("--images", type=int, default=120)
    parser.add_argument("--model", default="base")
    options = parser.parse_args(argv)
    codec = Codec.load(options.model)
    found: dict[int, list[tuple[float, str]]] = {quality: [] for quality in QUALITIES}
    for file in _files(options.data, options.images):
        image = decode_rgb(file.read_bytes())
        if image is None:
            continue
        picture = Picture(np.ascontiguousarray(middle(np.asarray(image), PIXELS)))
        for quality in QUALITIES:
            (latents,) = codec.analyse([picture], Target(quality=quality))
            assert latents.psnr is not None
            found[quality].append((latents.psnr, file.name))
    table = Table("quality", "floor, dB", "lowest", "1 %", "median", "miss the floor", "lowest is")
    for quality, values in found.items():
        psnr = np.array([value for value, _ in values])
        missed = int((psnr < default_floor(quality)).sum())
        row = (default_floor(quality), psnr.min(), np.quantile(psnr, 0.01), np.median(psnr))
        table.add_row(str(quality), *(f"{value:.1f}" for value in row), f"{missed} of {len(psnr)}", min(values)[1])
    Console().print(table)
    return 0


def _files(data: Path, count: int) -> list[Path]:
    """Files of all sets in turn, spread over each set."""
    each = -(-count // len(SETS))
    chosen = []
    for name in SETS:
        files = sorted(path for path in (data / name).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        chosen += files[:: max(1, len(files) // each)][:each]
    return chosen


if __name__ == "__main__":
    sys.exit(main())
