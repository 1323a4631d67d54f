"""Enlarged crops of photographs as every codec keeps them at equal bytes: what the figures mean to the eye.

    python -m bench.crop_sheet                     # writes docs/crops-0.25.webp, -0.5 and -1, and prints a table
    python -m bench.crop_sheet --model MODEL --out FOLDER

Each sheet has a rate. Its columns are the original, maepress, AVIF, WebP and JPEG, each whole photograph encoded to the
largest file that is not above the rate; its rows are crops that show what lossy codecs do worst: blocks in smooth and
dark areas, noise around lettering, smeared foliage, and shifted reds. Pixels are shown twice as large, unfiltered.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bench.data import KODAK, ROOT
from model.codec import Codec
from model.core.errors import MaepressError
from model.core.picture import Picture
from model.core.target import Target
from model.metrics.ssimulacra2 import ssimulacra2
from pipeline.evaluate.baseline_codecs import AVIF, BEST, JPEG, WEBP, BaselineCodec
from pipeline.evaluate.points import Pixels

RATES = (0.25, 0.5, 1.0)
"""Bits per pixel."""
SIDE, SCALE, LABEL = 112, 2, 18
"""Width and height of a crop in pixels, its enlargement, and the height of the line above it."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A place in a photograph.

    Attributes:
        name: what to look at.
        file: name of the photograph.
        x: of the upper left corner, in pixels.
        y: of the upper left corner, in pixels.
    """

    name: str
    file: str
    x: int
    y: int


CROPS = (
    Crop("smooth and dark", "kodim03.png", 560, 60),
    Crop("lettering", "kodim14.png", 490, 352),
    Crop("foliage", "kodim13.png", 200, 130),
    Crop("reds", "kodim02.png", 110, 170),
)
Coded = tuple[int, Pixels]
"""Bytes of a whole file, and its decoded pixels."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the sheets and print sizes and scores."""
    parser = argparse.ArgumentParser(prog="bench.crop_sheet", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="base", help="model folder, or the name of a shipped one")
    parser.add_argument("--images", type=Path, default=KODAK, help="folder with Kodak's photographs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder for the sheets")
    options = parser.parse_args(argv)
    try:
        codec = Codec.load(options.model)
        photographs = {crop.file: np.asarray(Image.open(options.images / crop.file).convert("RGB")) for crop in CROPS}
    except (MaepressError, FileNotFoundError) as e:
        print(f"bench.crop_sheet: {e} (set MAEPRESS_DATA or give --images)", file=sys.stderr)
        return 2
    encoders: dict[str, Callable[[Pixels, float], Coded]] = {
        "maepress": lambda pixels, rate: _ours(codec, pixels, rate),
        **{other.name: _search(other) for other in (AVIF, WEBP, JPEG)},
    }
    for rate in RATES:
        path = options.out / f"crops-{rate:g}.webp"
        _sheet(photographs, encoders, rate).save(path, lossless=True, method=6)
        print(f"wrote {path} ({path.stat().st_size / 1000:.0f} kB)")
    return 0


def _sheet(
    photographs: dict[str, Pixels], encoders: dict[str, Callable[[Pixels, float], Coded]], rate: float
) -> Image.Image:
    """One sheet; prints a line per crop and codec."""
    cell = SIDE * SCALE
    sheet = Image.new("RGB", ((1 + len(encoders)) * (cell + 2), len(CROPS) * (cell + LABEL)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for row, crop in enumerate(CROPS):
        original = photographs[crop.file]
        shown = [(crop.name, original)]
        for name, encode in encoders.items():
            size, decoded = encode(original, rate)
            bits, score = 8 * size / (original.shape[0] * original.shape[1]), ssimulacra2(original, decoded)
            shown.append((f"{name}  {bits:.2f} bpp  {score:.0f}", decoded))
            print(f"{rate:g} bpp  {crop.name:16} {name:10} {bits:.3f} bpp  SSIMULACRA2 {score:.1f}")
        for column, (label, pixels) in enumerate(shown):
            x, y = column * (cell + 2), row * (cell + LABEL)
            pen.text((x + 2, y + 2), label, "black", font)
            part = Image.fromarray(pixels[crop.y : crop.y + SIDE, crop.x : crop.x + SIDE])
            sheet.paste(part.resize((cell, cell), Image.Resampling.NEAREST), (x, y + LABEL))
    return sheet


def _ours(codec: Codec, pixels: Pixels, rate: float) -> Coded:
    (payload,) = codec.compress([Picture(pixels)], Target(max_bpp=rate))
    (decoded,) = codec.decompress([payload])
    return len(payload), decoded.pixels


def _search(other: BaselineCodec) -> Callable[[Pixels, float], Coded]:
    """An encoder to the highest quality whose file is not above a rate; the smallest file if all are."""

    def encode(pixels: Pixels, rate: float) -> Coded:
        most = rate * pixels.shape[0] * pixels.shape[1] / 8
        low, high = 0, BEST
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if len(other.encode(pixels, middle)) <= most else (low, middle - 1)
        data = other.encode(pixels, low)
        return len(data), other.decode(data)

    return encode


if __name__ == "__main__":
    sys.exit(main())
