"""BD-rates by kind of image: where the model is strong and where it is weak.

    python -m bench.kinds                        # all kinds, 4 images each
    python -m bench.kinds --kinds text icons --images 8

Photographs are of cameras and sources that no training saw (`model/weights/recipe.yaml` holds them out). Text,
interfaces, icons, product photographs on white and noise are drawn as training draws them, of other seeds; fonts are
those of the machine. Kodak's photographs are `bench.rd`'s.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.data import DATA
from bench.rd import COMPARED, curves_of, spread
from bench.rd_points import bd_rates, mean
from model.codec import Codec
from model.core.errors import MaepressError
from pipeline.evaluate.measurement import OURS
from pipeline.evaluate.points import Pixels
from pipeline.train import drawn_crops as drawn

SEED = 2**40
"""Training seeds its drawn crops with small numbers."""
SHOWN = ("ssimulacra2", "butteraugli", "psnr")
Kind = Callable[[int], list[Pixels]]
"""Makes so many images, uint8 `[height, width, 3]`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.kinds", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="base", help="model folder, or the name of a shipped one")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=[*KINDS], metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--images", type=int, default=4, help="images per kind")
    parser.add_argument("--points", type=int, default=9, help="qualities of the model, spread over 0..63")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        codec = Codec.load(options.model)
    except MaepressError as e:
        print(f"bench.kinds: {e}", file=sys.stderr)
        return 2
    console = Console(width=None if sys.stdout.isatty() else 120)
    for name in options.kinds:
        images = KINDS[name](options.images)
        if images:
            title = f"{name}, {len(images)} images, model {codec.fingerprint}"
            console.print(table(title, codec, images, options.points))
        else:
            print(f"no images of kind {name} below {DATA} (set MAEPRESS_DATA)", file=sys.stderr)
    return 0


def table(title: str, codec: Codec, images: list[Pixels], points: int) -> Table:
    """BD-rates in percent against each codec, a column per metric; empty where the curves share no range."""
    means = {name: mean(curves) for name, curves in curves_of(codec, images, spread(points)).items()}
    result = Table("against", *SHOWN, title=title)
    for other in COMPARED:
        rates = bd_rates(means[other.name], means[OURS])
        result.add_row(other.name, *("" if (rate := rates[metric]) is None else f"{rate:+.1f} %" for metric in SHOWN))
    return result


def _files(pattern: str, number: int) -> list[Pixels]:
    """Evenly spread over the files that match."""
    files = sorted(DATA.glob(pattern))
    return [_pixels(file) for file in files[:: max(1, len(files) // number)][:number]]


def _pixels(file: Path) -> Pixels:
    return np.asarray(Image.open(file).convert("RGB"))


def _drawn(draw: Callable[[np.random.Generator, int], Image.Image], side: int, number: int) -> list[Pixels]:
    return [np.asarray(draw(np.random.default_rng([SEED, i]), side), np.uint8) for i in range(number)]


def _icons(number: int) -> list[Pixels]:
    """Of 48 pixels a side."""
    return [np.asarray(Image.fromarray(large).resize((48, 48))) for large in _drawn(drawn.icon, 192, number)]


KINDS: dict[str, Kind] = {
    "photographs-pixls": partial(_files, "train/web/pixls*"),
    "photographs-mdextr": partial(_files, "train/web/mdextr-*"),
    "products": partial(_files, "clothing/test/*/*.jpg"),
    "products-on-white": partial(_drawn, drawn.studio, 384),
    "text": partial(_drawn, drawn.text, 384),
    "screenshots": partial(_drawn, drawn.interface, 384),
    "icons": _icons,
    "noise": partial(_drawn, drawn.noise, 256),
}

if __name__ == "__main__":
    sys.exit(main())
