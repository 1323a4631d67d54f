"""The picture in README: a crop of a photograph beside the same crop after compression.

    python -m bench.crops                   # writes docs/crops.png and prints the figures of its caption

Both crops are shown at full size, pixel by pixel; the file is a lossless PNG.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bench.data import DATA, ROOT
from model.codec import Codec
from model.core.picture import Picture
from model.metrics.psnr import psnr

GAP = 4
"""White pixels between the two crops."""


def main(argv: Sequence[str] | None = None) -> int:
    """Compress one image and write the pair of crops."""
    parser = argparse.ArgumentParser(prog="bench.crops", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--image", type=Path, default=DATA / "kodak" / "kodim23.png", help="a photograph")
    parser.add_argument("--crop", type=int, nargs=4, default=(340, 40, 320, 256), metavar=("X", "Y", "W", "H"))
    parser.add_argument("--quality", type=int, default=32, help="quality of the shipped model, 0 to 63")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "crops.png")
    options = parser.parse_args(argv)
    if not options.image.exists():
        print(f"no image {options.image} (set MAEPRESS_DATA or give --image)", file=sys.stderr)
        return 2
    original = np.asarray(Image.open(options.image).convert("RGB"))
    codec = Codec.load("base")
    (payload,) = codec.compress([Picture(original)], options.quality)
    (decoded,) = codec.decompress([payload])
    x, y, width, height = options.crop
    pair = [pixels[y : y + height, x : x + width] for pixels in (original, decoded.pixels)]
    white = np.full((height, GAP, 3), 255, np.uint8)
    Image.fromarray(np.hstack([pair[0], white, pair[1]])).save(options.out, optimize=True)
    bits = 8 * len(payload) / (original.shape[0] * original.shape[1])
    print(
        f"{options.image.name}: source {options.image.stat().st_size / 1000:.0f} kB, "
        f"maepress {len(payload) / 1000:.1f} kB "
        f"at quality {options.quality} ({bits:.2f} bits per pixel, {psnr(original, decoded.pixels):.1f} dB); "
        f"{options.out.name}: {options.out.stat().st_size / 1000:.0f} kB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
