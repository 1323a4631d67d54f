"""How large restored JPEGs are, and what writing them loses: `python -m bench.restored FOLDER ... --images 24`.

Compresses JPEGs at a quality, decodes them, and writes them as `maepress decode` does (with their sources' tables), at
quality 95 without chroma subsampling, as it does where tables are unknown, and as PNG.
"""

import argparse
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from model.codec import Codec
from model.core.picture import Picture
from model.metrics.psnr import psnr
from model.metrics.ssimulacra2 import ssimulacra2
from pipeline.evaluate.points import Pixels, to_rgb
from pipeline.images.image_reader import read
from pipeline.images.image_writer import write_picture
from pipeline.images.limits import MAX_PIXELS
from pipeline.images.reading import Reading


@dataclass(slots=True)
class Sums:
    """Bytes and fidelities of one way to write."""

    size: int
    psnr: list[float]
    score: list[float]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.restored", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="folders of JPEGs")
    parser.add_argument("--images", type=int, default=24, help="images per folder, evenly spread")
    parser.add_argument("--qualities", type=int, nargs="+", default=[40], help="qualities of the model")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    codec = Codec.load("base")
    for folder in options.folders:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        chosen = paths[:: max(1, len(paths) // options.images)][: options.images]
        for quality in options.qualities:
            Console().print(table(codec, chosen, quality, f"{folder}, {len(chosen)} images, quality {quality}"))
    return 0


def table(codec: Codec, paths: Sequence[Path], quality: int, title: str) -> Table:
    """A row for each way to write, over all images."""
    found: dict[str, Sums] = {}
    whole = 0
    for path in paths:
        source = path.read_bytes()
        reading = read(source, max_pixels=MAX_PIXELS)
        if not isinstance(reading, Reading) or reading.picture is None:
            continue
        whole += len(source)
        for name, (size, pixels) in _written(codec, reading.picture, quality).items():
            sums = found.setdefault(name, Sums(0, [], []))
            original = to_rgb(reading.picture.pixels)
            sums.size += size
            sums.psnr.append(psnr(original, pixels))
            sums.score.append(ssimulacra2(original, pixels))
    result = Table("", "bytes / source", "PSNR, dB", "SSIMULACRA2", title=title)
    for name, sums in found.items():
        means = (f"{sums.size / whole:.2f}", f"{np.mean(sums.psnr):.2f}", f"{np.mean(sums.score):.2f}")
        result.add_row(name, *means)
    return result


def _written(codec: Codec, picture: Picture, quality: int) -> dict[str, tuple[int, Pixels]]:
    (payload,) = codec.compress([picture], quality)
    (decoded,) = codec.decompress([payload])
    decoded = replace(picture, pixels=decoded.pixels)
    ways = {
        "restored": write_picture(decoded, "jpeg"),
        "at quality 95": write_picture(replace(decoded, skeleton=b""), "jpeg"),
        "as PNG": write_picture(decoded, "png"),
    }
    made = {name: (len(data), _opened(data)) for name, data in ways.items()}
    return {"in the archive": (len(payload), to_rgb(decoded.pixels))} | made


def _opened(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


if __name__ == "__main__":
    sys.exit(main())
