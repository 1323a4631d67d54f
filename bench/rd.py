"""BD-rates of a model against JPEG, WebP, AVIF, JPEG XL and published curves, from bytes of whole files.

    python -m bench.rd --model DIR --images DIR --out DIR

Prints BD-rates and the model's curve; writes `rd.json` (every point of every image) and `rd.png`. PSNR, MS-SSIM,
SSIMULACRA2 and butteraugli's 3-norm (if `butteraugli_main` of Debian's `libjxl-devtools` is installed) are measured on
8-bit RGB, image by image, and averaged. Published curves are shown if the images are Kodak's 24. `maepress evaluate`
measures the same without butteraugli; this command keeps the other codecs' points between runs.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.butteraugli import PROGRAM
from bench.cache import Cache
from bench.data import KODAK, ROOT
from bench.plot import draw
from bench.rd_points import METRICS, RdPoint, bd_rates, mean, measure
from model.codec import Codec
from model.core.config import QUALITIES
from model.core.errors import MaepressError
from model.core.picture import Picture
from pipeline.evaluate.baseline_codecs import AVIF, BASELINE_CODECS, pillow
from pipeline.evaluate.curves import Delta, deltas, mean_curve, psnr_curve
from pipeline.evaluate.measurement import OURS
from pipeline.evaluate.points import Pixels
from pipeline.evaluate.published import digest, published_for

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
AVIF_FOR_PSNR = replace(
    AVIF,
    name="AVIF s6 psnr",
    encode=pillow("AVIF", speed=6, max_threads=1, advanced={"tune": "psnr"}),
    encode_full=None,
)
"""libavif's default tunes for what people see."""
COMPARED = (*BASELINE_CODECS, AVIF_FOR_PSNR)
Measure = Callable[[Pixels, int], RdPoint]
Points = dict[str, list[list[RdPoint]]]
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
    qualities = spread(options.points)
    measured = curves_of(codec, images, qualities)
    points = {name: [[p.point for p in image] for image in of_images] for name, of_images in measured.items()}
    published = published_for(map(digest, images))
    others = published.curves if published else {}

    curves = {name: psnr_curve(mean_curve(points[name])) for name in points}
    curves |= {name: psnr_curve(curve) for name, curve in others.items()}
    rates = deltas(OURS, points, others)
    means = {name: mean(of_images) for name, of_images in measured.items()}
    by_metric = {name: bd_rates(theirs, means[OURS]) for name, theirs in means.items() if name != OURS}
    options.out.mkdir(parents=True, exist_ok=True)
    report = {
        "model": codec.fingerprint,
        "images": [f.name for f in files],
        "bd_rate": {name: asdict(rate) | by_metric.get(name, {}) for name, rate in rates.items()},
        "curves": curves,
        "points": {name: [[p.to_dict() for p in image] for image in measured[name]] for name in measured},
    }
    (options.out / "rd.json").write_text(json.dumps(report, indent=1) + "\n")
    draw(curves, OURS, f"{len(files)} images, model {codec.fingerprint}", options.out / "rd.png")
    _print(f"model {codec.fingerprint}, mean of {len(images)} images", means[OURS], rates, by_metric)
    if PROGRAM is None:
        print("\nbutteraugli_main is not installed (Debian: libjxl-devtools): butteraugli was not measured")
    print(f"\nwrote {options.out / 'rd.json'} and {options.out / 'rd.png'}")
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.rd", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="base", help="model folder, or the name of a shipped one")
    parser.add_argument("--images", type=Path, default=KODAK, help="folder of images")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench-rd", help="folder for rd.json and rd.png")
    parser.add_argument("--points", type=int, default=13, help="qualities to measure, spread over 0..63")
    parser.add_argument("--limit", type=int, help="use only the first LIMIT images")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    return parser.parse_args(argv)


def spread(points: int) -> list[int]:
    """So many qualities of the model, evenly spread from the lowest to the highest."""
    return sorted({round(q) for q in np.linspace(0, QUALITIES - 1, points)})


def curves_of(codec: Codec, images: list[Pixels], qualities: Sequence[int]) -> Points:
    """Points of the model at `qualities` and of the other codecs at theirs, for each image.

    Args:
        codec: the model.
        images: uint8 `[height, width, 3]`.
        qualities: of the model, 0 to 63.
    """
    return {OURS: _measure(OURS, images, qualities, lambda pixels, q: _ours(codec, pixels, q))} | _baselines(images)


def _measure(name: str, images: list[Pixels], qualities: Sequence[int], measure: Measure) -> list[list[RdPoint]]:
    steps = track(images, description=f"{name:12}", console=Console(stderr=True))
    return [[measure(pixels, quality) for quality in qualities] for pixels in steps]


def _ours(codec: Codec, pixels: Pixels, quality: int) -> RdPoint:
    (payload,) = codec.compress([Picture(pixels)], quality)
    (decoded,) = codec.decompress([payload])
    return measure(quality, len(payload), pixels, decoded.pixels)


def _baselines(images: list[Pixels]) -> Points:
    cache, points = Cache(), {}
    for other in COMPARED:
        points[other.name] = _measure(other.name, images, other.qualities, partial(cache.measure, other))
        cache.save()
    return points


def _print(
    title: str,
    ours: Sequence[RdPoint],
    rates: Mapping[str, Delta],
    by_metric: Mapping[str, Mapping[str, float | None]],
) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    against = Table(
        title="BD-rate of real bytes, of the mean curves",
        caption="over the range of both curves, by SSIMULACRA2 within 30 to 90, by butteraugli within 2.5 to 0.5",
    )
    against.add_column("against", no_wrap=True)
    for heading in ("PSNR", "by image", "MS-SSIM", "SSIMULACRA2", "butteraugli", "range, dB"):
        against.add_column(heading, justify="right", no_wrap=True)
    for name, rate in rates.items():
        others = [by_metric.get(name, {}).get(metric) for metric in METRICS[2:]]
        cells = (rate.of_mean, rate.by_image, rate.ms_ssim, *others)
        words = ("" if r is None else f"{r:+.1f} %" for r in cells)
        against.add_row(name, *words, f"{rate.from_db:.1f}-{rate.to_db:.1f}")
    headings = ("quality", "bits per pixel", "PSNR in dB", "MS-SSIM", "SSIMULACRA2", "butteraugli")
    table = Table(*headings, title=title)
    for p in ours:
        numbers = (p.point.bpp, p.point.psnr, p.point.ms_ssim, p.point.ssimulacra2, p.butteraugli)
        formats = ("{:.4f}", "{:.3f}", "{:.5f}", "{:.2f}", "{:.3f}")
        words = ("" if x is None else f.format(x) for f, x in zip(formats, numbers, strict=True))
        table.add_row(f"{p.point.quality:g}", *words)
    console.print(table, against)


if __name__ == "__main__":
    sys.exit(main())
