"""What `--keep pixels` saves: bytes of kept PNG and TIFF files as they are kept, and as lossless JPEG XL.

python -m bench.keep_pixels FOLDER ...           the files of folders that an encode keeps
python -m bench.keep_pixels --deep 6 FOLDER      16-bit PNG and TIFF made of the folder's photographs

A photograph of 16 bits is one of 8 bits at half its size: the mean of four pixels in linear light,
with noise of a quarter of an 8-bit level, so that no value is missing. `exact` is the smaller of
the file and its zstd frame; `seconds` is processor time of one conversion with its check, per
megapixel.
"""

import argparse
import io
import time
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image

from pipeline.archive.kept_source import packed
from pipeline.images.formats import lossless_pixels
from pipeline.images.image_reader import read
from pipeline.images.reading import Reading

_NOISE = 64
_SIDE = 2048
"""Longest side of the photographs of which deep ones are made."""


def main() -> None:
    """Print one line per kind of file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--deep", type=int, default=0, help="number of photographs to make 16-bit files of")
    parser.add_argument("--effort", type=int, nargs="*", default=[lossless_pixels._EFFORT], help="of libjxl")
    options = parser.parse_args()
    files = sorted(path for folder in options.folders for path in folder.rglob("*") if path.is_file())
    made = list(_deep(files, options.deep) if options.deep else _kept(files))
    print(
        f"{'effort':>6} {'kind':44} {'files':>5} {'smaller':>7} {'exact':>12} {'pixels':>12} {'saved':>6} {'s/MP':>6}"
    )
    for effort in options.effort:
        lossless_pixels._EFFORT = effort
        sums: dict[str, list[float]] = {}
        for kind, source, pixels in made:
            exact = len(packed(source) or source)
            started = time.process_time()
            payload = lossless_pixels.to_pixels(source)
            seconds = time.process_time() - started
            smaller = payload is not None and len(payload) < exact
            values = (1, smaller, exact, len(payload) if smaller and payload else exact, seconds, pixels / 1e6)
            for name in (kind, "all"):
                sums[name] = [a + b for a, b in zip(sums.get(name, [0.0] * 6), values, strict=True)]
        for kind, (count, fewer, bytes_exact, held, taken, megapixels) in sums.items():
            saved, speed = 100 * (1 - held / bytes_exact), taken / max(megapixels, 1e-9)
            text = f"{effort:6} {kind[:44]:44} {count:5.0f} {fewer:7.0f} {bytes_exact:12,.0f} {held:12,.0f}"
            print(f"{text} {saved:5.1f}% {speed:6.2f}")


def _kept(files: list[Path]) -> Iterator[tuple[str, bytes, int]]:
    """PNG and TIFF files that an encode keeps: kind, bytes, pixels."""
    for path in files:
        source = path.read_bytes()
        reading = read(source) if source else None
        if isinstance(reading, Reading) and reading.keep and reading.source_format in ("png", "tiff"):
            yield f"{reading.source_format}: {reading.keep}", source, reading.width * reading.height


def _deep(files: list[Path], count: int) -> Iterator[tuple[str, bytes, int]]:
    """Photographs of 16 bits per sample, in four kinds of files."""
    step = max(1, len(files) // count)
    for path in files[::step][:count]:
        with Image.open(path) as image:
            image.draft("RGB", (_SIDE, _SIDE))
            light = (np.asarray(image.convert("RGB")) / np.float32(255)) ** 2.2
        height, width = (side // 2 * 2 for side in light.shape[:2])
        means = light[:height, :width].reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
        noise = np.random.default_rng(0).normal(0, _NOISE, means.shape)
        deep = (means ** (1 / 2.2) * 65535 + noise).clip(0, 65535).astype(np.uint16)
        size = deep.shape[0] * deep.shape[1]
        yield "16-bit RGB PNG", bytes(imagecodecs.png_encode(deep, level=6)), size
        yield "16-bit RGB TIFF, uncompressed", bytes(imagecodecs.tiff_encode(deep)), size
        yield (
            "16-bit RGB TIFF, deflate and predictor",
            bytes(imagecodecs.tiff_encode(deep, compression="deflate", predictor=2)),
            size,
        )
        grey = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(deep[:, :, 1])).save(grey, "PNG")
        yield "16-bit grey PNG", grey.getvalue(), size


if __name__ == "__main__":
    main()
