"""Bytes of `--codec auto` beside those of each codec alone: `python -m bench.auto FOLDER ... --min-ssimulacra2 80`.

Images pass the stages of an encode, once with each codec and once with all of them. A row's bytes are those of its
payload and metadata, or of its source where that is kept. Seconds are processor time on one thread.

With `--curves`, the mean curves of the standard codecs instead, as `pipeline.encode.standard_curves` holds them.
"""

import argparse
import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from model.bitstream.container import METADATA
from model.codec import Codec
from model.core.target import Target
from model.metrics import ms_ssim, ssimulacra2
from model.metrics.psnr import psnr
from pipeline.encode import standard_curves
from pipeline.encode.codec_settings import parse_codecs
from pipeline.encode.stages import Loaded, analyse, compress
from pipeline.images.formats.codec_names import CODECS, MAE, STANDARD_NAMES
from pipeline.images.limits import MAX_PIXELS, READING
from pipeline.images.reading import Reading
from pipeline.images.sandbox.sandbox import shared
from pipeline.images.standard_codecs import STANDARD, Pixels, decode

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(slots=True)
class Sums:
    """Sums over images of one choice of codecs."""

    size: int = 0
    seconds: float = 0.0
    held: Counter[str] = field(default_factory=Counter)
    worst: float = math.inf


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.auto", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="folders of images")
    parser.add_argument("--images", type=int, default=12, help="images per folder, evenly spread")
    parser.add_argument("--codecs", type=parse_codecs, default=CODECS, help="as mae,avif; all by default")
    parser.add_argument("--model", default="base")
    parser.add_argument("--min-psnr", type=float)
    parser.add_argument("--min-ssimulacra2", type=float)
    parser.add_argument("--min-ms-ssim", type=float)
    parser.add_argument("--quality", type=int)
    parser.add_argument("--curves", action="store_true", help="print the mean curves of the standard codecs")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    paths = {folder: chosen(folder, options.images) for folder in options.folders}
    if options.curves:
        print(curves([path for some in paths.values() for path in some]))
        return 0
    names = ("min_psnr", "min_ssimulacra2", "min_ms_ssim", "quality")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    target = Target(**given) if given else Target(min_ssimulacra2=80)
    model = Codec.load(options.model)
    for folder, some in paths.items():
        Console().print(table(folder, some, model, target, options.codecs))
    return 0


def chosen(folder: Path, count: int) -> list[Path]:
    """Images of a folder, evenly spread over its names."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return [found[i * len(found) // count] for i in range(count)] if count < len(found) else found


def table(folder: Path, paths: Sequence[Path], model: Codec, target: Target, codecs: Sequence[str]) -> Table:
    """A row for each codec alone, and one for all of them."""
    sums = {name: Sums() for name in (*codecs, "auto")}
    least = source = pixels = 0
    for path in paths:
        rows = one(path, model, target, codecs, sums)
        sizes = {name: _size(row) for name, row in rows.items()}
        least += min(sizes[name] for name in codecs)
        source += rows["auto"]["source_bytes"]
        pixels += rows["auto"]["width"] * rows["auto"]["height"]
        if sizes["auto"] > min(sizes[name] for name in codecs):
            print(f"{path}: auto takes {sizes['auto']} bytes, {min(sizes, key=sizes.__getitem__)} alone fewer")
    made = Table(
        title=f"{folder}: {len(paths)} images, {pixels / 1e6:.1f} MP, {target.described()}", title_justify="left"
    )
    for column in ("codec", "bytes", "of the source", "s/MP", "held as", "lowest fidelity"):
        made.add_column(column, justify="left" if column == "held as" else "right")
    for name, s in sums.items():
        held = ", ".join(f"{what} ({count})" for what, count in s.held.most_common())
        share, speed = f"{s.size / source:.1%}", f"{s.seconds / pixels * 1e6:.2f}"
        made.add_row(name, f"{s.size:,}", share, speed, held, f"{s.worst:.2f}" if s.worst < math.inf else "")
    made.add_row("best of each alone", f"{least:,}", f"{least / source:.1%}", "", "", "")
    return made


def one(path: Path, model: Codec, target: Target, codecs: Sequence[str], sums: dict[str, Sums]) -> dict[str, Any]:
    """The rows of an image, by choice of codecs."""
    source, sandbox = path.read_bytes(), shared(READING)
    reading = sandbox.read(source, max_pixels=MAX_PIXELS)
    if not isinstance(reading, Reading):
        raise SystemExit(f"{path} cannot be read: {reading.reason}")
    begun = time.process_time()
    (item,) = analyse([Loaded(path.name, "", source, reading)], model, target, codecs=codecs)
    networks = time.process_time() - begun
    rows: dict[str, Any] = {}
    for name, s in sums.items():
        allowed = tuple(codecs) if name == "auto" else (name,)
        before = sandbox.processor_seconds()
        done = compress([item], model.coder, target, sandbox, "bench", codecs=allowed)
        seconds = sandbox.processor_seconds() - before
        (row,) = done.rows.to_pylist()
        rows[name] = row
        s.size += _size(row)
        s.seconds += seconds + (networks if MAE in allowed or target.quality is not None else 0.0)
        s.held[row["codec"] or row["status"]] += 1
        reached = row["psnr"] if target.min_psnr is not None else row["ms_ssim"] or row["ssimulacra2"]
        s.worst = min(s.worst, math.inf if reached is None else reached)
    return rows


def _size(row: dict[str, Any]) -> int:
    return int(row["payload_bytes"]) + sum(len(row[name] or b"") for name in METADATA)


def curves(paths: Sequence[Path]) -> str:
    """The mean curves over images, as Python."""
    pictures = [reading.picture.pixels for path in paths if (reading := _read(path)) and reading.picture is not None]
    qualities: dict[str, Any] = {}
    means: dict[str, Any] = {}
    for name in STANDARD_NAMES:
        all_of_it = STANDARD[name].qualities
        knots = [all_of_it[i * (len(all_of_it) - 1) // 8] for i in range(9)]
        found = np.array([[_measured(name, pixels, quality) for quality in knots] for pixels in pictures])
        qualities[name] = tuple(knots)
        rows = np.maximum.accumulate(found.mean(0), 0).T.round(2)
        means[name] = {
            measure: tuple(row.tolist()) for measure, row in zip(standard_curves.MEASURES, rows, strict=True)
        }
    return f"_QUALITIES = {qualities}\n_MEANS = {means}"


def _read(path: Path) -> Reading | None:
    reading = shared(READING).read(path.read_bytes(), max_pixels=MAX_PIXELS)
    return reading if isinstance(reading, Reading) else None


def _measured(name: str, pixels: Pixels, quality: float) -> tuple[float, float, float, float]:
    """The values of MEASURES, of at most the middle quarter of a megapixel."""
    height, width = (min(side, 512) for side in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    part = np.ascontiguousarray(pixels[top : top + height, left : left + width])
    file = STANDARD[name].encode(part, quality)
    decoded = decode(name, file, width, height, grey=part.shape[2] == 1)
    similarity, score = ms_ssim.ms_ssim(part, decoded), ssimulacra2.ssimulacra2(part, decoded)
    bits = math.log(8 * len(file) / (height * width))
    return min(psnr(part, decoded), 99.0), ms_ssim.decibels(similarity), ssimulacra2.decibels(score), bits


if __name__ == "__main__":
    sys.exit(main())
