"""BD-rates of a model against JPEG, WebP, AVIF, JPEG XL and published curves, from bytes of whole files.

    python -m bench.rd --model DIR --images DIR --out DIR

Prints BD-rates and the model's curve; writes `rd.json` (every point of every image) and `rd.png`. PSNR and MS-SSIM are
measured on 8-bit RGB, image by image, and averaged. Published curves are shown if the images are Kodak's 24.
`maepress evaluate` measures the same; this command keeps the other codecs' points between runs.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.cache import Cache
from bench.plot import draw
from model.codec import Codec
from model.core.config import QUALITIES
from model.core.errors import MaepressError
from pipeline.evaluate.baseline_codecs import BASELINE_CODECS
from pipeline.evaluate.curves import Delta, deltas, mean_curve, psnr_curve
from pipeline.evaluate.measurement import OURS, round_trip
from pipeline.evaluate.points import Pixels, Point
from pipeline.evaluate.published import digest, published_for

ROOT = Path(__file__).resolve().parents[1]
IMAGES = Path(os.environ.get("MAEPRESS_DATA", ROOT.parent / "shared" / "data")) / "kodak"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
Measure = Callable[[Pixels, int], Point]
Points = dict[str, list[list[Point]]]
"""Codec name to the curve of each image."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    files = sorted(f for f in options.images.glob("*") if f.suffix.lower() in SUFFIXES)[: options.limit]
    if not files:
        print(f"no images in {options.images} (give --images FOLDER or set MAEPRESS_DATA)", file=sys.stderr)
        return 2
    try:
        codec = Codec.load(options.model)
    except MaepressError as e:
        print(f"bench.rd: {e}", file=sys.stderr)
        return 2
    images = [np.asarray(Image.open(f).convert("RGB")) for f in files]
    qualities = sorted({round(q) for q in np.linspace(0, QUALITIES - 1, options.points)})
    points = {OURS: _measure(OURS, images, qualities, lambda pixels, q: round_trip(codec, pixels, q)[0])} | _baselines(
        images
    )
    published = published_for(map(digest, images))
    others = published.curves if published else {}

    curves = {name: psnr_curve(mean_curve(points[name])) for name in points}
    curves |= {name: psnr_curve(curve) for name, curve in others.items()}
    rates = deltas(OURS, points, others)
    options.out.mkdir(parents=True, exist_ok=True)
    report = {
        "model": codec.fingerprint,
        "images": [f.name for f in files],
        "bd_rate": {name: asdict(rate) for name, rate in rates.items()},
        "curves": curves,
        "points": {name: [[asdict(p) for p in image] for image in points[name]] for name in points},
    }
    (options.out / "rd.json").write_text(json.dumps(report, indent=1) + "\n")
    draw(curves, OURS, f"{len(files)} images, model {codec.fingerprint}", options.out / "rd.png")
    _print(codec.fingerprint, points[OURS], rates)
    print(f"\nwrote {options.out / 'rd.json'} and {options.out / 'rd.png'}")
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.rd", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="base", help="model folder, or base for the shipped one")
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of images")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench-rd", help="folder for rd.json and rd.png")
    parser.add_argument("--points", type=int, default=13, help="qualities to measure, spread over 0..63")
    parser.add_argument("--limit", type=int, help="use only the first LIMIT images")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    return parser.parse_args(argv)


def _measure(name: str, images: list[Pixels], qualities: Sequence[int], measure: Measure) -> list[list[Point]]:
    steps = track(images, description=f"{name:12}", console=Console(stderr=True))
    return [[measure(pixels, quality) for quality in qualities] for pixels in steps]


def _baselines(images: list[Pixels]) -> Points:
    cache, points = Cache(), {}
    for other in BASELINE_CODECS:
        measure: Measure = lambda pixels, q, other=other: cache.measure(other, pixels, q)  # type: ignore[misc] # noqa: E731
        points[other.name] = _measure(other.name, images, other.qualities, measure)
        cache.save()
    return points


def _print(fingerprint: str, ours: list[list[Point]], rates: Mapping[str, Delta]) -> None:
    console = Console()
    against = Table(
        title="BD-rate of real bytes",
        caption="at equal PSNR over the range of both curves; at equal MS-SSIM, of the mean curves",
    )
    against.add_column("against", no_wrap=True)
    for heading in ("of mean curve", "mean by image", "MS-SSIM", "range, dB"):
        against.add_column(heading, justify="right", no_wrap=True)
    for name, rate in rates.items():
        cells = (rate.of_mean, rate.by_image, rate.ms_ssim)
        words = ("" if r is None else f"{r:+.1f} %" for r in cells)
        against.add_row(name, *words, f"{rate.from_db:.1f}-{rate.to_db:.1f}")
    curve = Table(
        "quality", "bits per pixel", "PSNR in dB", "MS-SSIM", title=f"model {fingerprint}, mean of {len(ours)} images"
    )
    for point in mean_curve(ours):
        similarity = "" if point.ms_ssim is None else f"{point.ms_ssim:.5f}"
        curve.add_row(f"{point.quality:g}", f"{point.bpp:.4f}", f"{point.psnr:.3f}", similarity)
    console.print(curve, against)


if __name__ == "__main__":
    sys.exit(main())
