"""Rate and distortion of a model against JPEG, WebP, AVIF and published curves: real bytes of whole files.

    python -m bench.rd --model DIR --images DIR --out DIR

Prints BD-rates and the model's curve; writes `rd.json` (every point of every image) and `rd.png`. PSNR and MS-SSIM are
measured on 8-bit RGB, image by image, and averaged. Published curves are shown where the images are Kodak's 24.
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
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.bdrate import Curve, average, bd_rate, common_range
from bench.classic import CLASSICS, Cache
from bench.fidelity import Point, compare
from bench.plot import draw
from model.codec import Codec
from model.config import QUALITIES
from model.errors import MaepressError
from model.fidelity import decibels
from model.picture import Picture

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
IMAGES = Path(os.environ.get("MAEPRESS_DATA", SHARED / "data")) / "kodak"
ANCHORS = SHARED / "anchors" / "kodak_points.json"
PUBLISHED = {
    "bmshj2018-hyperprior": "compressai-bmshj2018-hyperprior_mse_cuda",
    "mbt2018-mean": "compressai-mbt2018-mean_mse_cuda",
    "EVC-S": "EVC-EncS_DecS",
    "VTM": "vtm",
}
"""Names in the table, and in the file of published points."""
KODAK = {f"kodim{i:02d}" for i in range(1, 25)}
OURS = "maepress"
ANCHOR = CLASSICS[0].name
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
Measure = Callable[[NDArray[np.uint8], int], Point]
Points = dict[str, list[list[Point]]]
"""For each codec, for each image, its curve."""


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
    points = {OURS: _measure(OURS, images, qualities, lambda pixels, q: _press(codec, pixels, q))} | _classics(images)
    published = _published(options.anchors) if {f.stem for f in files} == KODAK else {}

    curves = {name: average([[(p.bpp, p.psnr) for p in image] for image in points[name]]) for name in points}
    curves |= published
    rates = _bd_rates(points, curves)
    options.out.mkdir(parents=True, exist_ok=True)
    report = {
        "model": codec.fingerprint,
        "images": [f.name for f in files],
        "bd_rate": rates,
        "curves": curves,
        "points": {name: [[asdict(p) for p in image] for image in points[name]] for name in points},
    }
    (options.out / "rd.json").write_text(json.dumps(report, indent=1) + "\n")
    draw(curves, OURS, f"{len(files)} images, model {codec.fingerprint}", options.out / "rd.png")
    _print(codec.fingerprint, points[OURS], rates, curves)
    print(f"\nwrote {options.out / 'rd.json'} and {options.out / 'rd.png'}")
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.rd", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="base", help="model folder, or base for the shipped one")
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of images")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench-rd", help="folder for rd.json and rd.png")
    parser.add_argument("--anchors", type=Path, default=ANCHORS, help="JSON of published points on Kodak")
    parser.add_argument("--points", type=int, default=13, help="qualities to measure, spread over 0..63")
    parser.add_argument("--limit", type=int, help="only the first so many images")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    return parser.parse_args(argv)


def _measure(
    name: str, images: list[NDArray[np.uint8]], qualities: Sequence[int], measure: Measure
) -> list[list[Point]]:
    steps = track(images, description=f"{name:12}", console=Console(stderr=True))
    return [[measure(pixels, quality) for quality in qualities] for pixels in steps]


def _press(codec: Codec, pixels: NDArray[np.uint8], quality: int) -> Point:
    (payload,) = codec.compress([Picture(pixels)], quality)
    (decoded,) = codec.decompress([payload])
    return compare(quality, len(payload), pixels, decoded.pixels)


def _classics(images: list[NDArray[np.uint8]]) -> Points:
    cache, points = Cache(), {}
    for classic in CLASSICS:
        measure: Measure = lambda pixels, q, classic=classic: cache.measure(classic, pixels, q)  # type: ignore[misc] # noqa: E731
        points[classic.name] = _measure(classic.name, images, classic.qualities, measure)
        cache.save()
    return points


def _published(path: Path) -> dict[str, list[tuple[float, float]]]:
    if not path.is_file():
        print(f"no published points at {path} (give --anchors FILE)", file=sys.stderr)
        return {}
    known = json.loads(path.read_text())
    return {name: [(bpp, psnr) for bpp, psnr, _ in known[key]] for name, key in PUBLISHED.items()}


def _bd_rates(points: Points, curves: Mapping[str, Curve]) -> dict[str, dict[str, float | None]]:
    """BD-rate of ours in percent against each other codec, by average curve, image by image, and by MS-SSIM."""
    rates: dict[str, dict[str, float | None]] = {}
    for name, curve in curves.items():
        if name == OURS:
            continue
        low, high = common_range(curve, curves[OURS])
        rates[name] = {"average_curve": bd_rate(curve, curves[OURS]), "from_db": low, "to_db": high}
        if name in points:
            pairs = [
                [[(p.bpp, p.psnr) for p in image] for image in both]
                for both in zip(points[name], points[OURS], strict=True)
            ]
            rates[name]["mean_of_images"] = float(np.mean([bd_rate(*pair) for pair in pairs]))
            similar = [_similarity_curve(points[codec]) for codec in (name, OURS)]
            rates[name]["ms_ssim"] = bd_rate(*similar) if all(similar) else None
    return rates


def _similarity_curve(images: list[list[Point]]) -> list[tuple[float, float]]:
    """Average curve of rate and MS-SSIM in dB; empty when an image is too small for it."""
    if any(p.ms_ssim is None for image in images for p in image):
        return []
    return [(bpp, decibels(s)) for bpp, s in average([[(p.bpp, p.ms_ssim or 0.0) for p in image] for image in images])]


def _print(
    fingerprint: str, ours: list[list[Point]], rates: dict[str, dict[str, float | None]], curves: Mapping[str, Curve]
) -> None:
    console = Console()
    against = Table(
        title="BD-rate of real bytes",
        caption="at equal PSNR over the range of both curves; at equal MS-SSIM, of the mean curves",
    )
    against.add_column("against", no_wrap=True)
    for heading in ("of mean curve", "mean by image", "MS-SSIM", "range, dB"):
        against.add_column(heading, justify="right", no_wrap=True)
    for name, rate in rates.items():
        cells = [rate.get(key) for key in ("average_curve", "mean_of_images", "ms_ssim")]
        low, high = rate["from_db"], rate["to_db"]
        against.add_row(name, *("" if r is None else f"{r:+.1f} %" for r in cells), f"{low:.1f}-{high:.1f}")
    curve = Table(
        "quality", "bits a pixel", "PSNR in dB", "MS-SSIM", title=f"model {fingerprint}, mean of {len(ours)} images"
    )
    for row in zip(*ours, strict=True):
        similarity = [p.ms_ssim for p in row if p.ms_ssim is not None]
        curve.add_row(
            str(row[0].quality),
            f"{np.mean([p.bpp for p in row]):.4f}",
            f"{np.mean([p.psnr for p in row]):.3f}",
            f"{np.mean(similarity):.5f}" if similarity else "",
        )
    console.print(curve, against)


if __name__ == "__main__":
    sys.exit(main())
