"""The gain of adapting a model to an archive: BD-rate against the original model on images that training never sees.

    python -m bench.adapting TRAIN TEST --minutes 10

Trains as `maepress train TRAIN --init base` does, by the distortion that the model was trained for unless another is
named, then compresses the images of TEST with both models at several qualities and measures bytes of whole files, PSNR
and SSIMULACRA2 on 8-bit RGB.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from jobs.framework.ray_session import ray_session
from model import checkpoint
from model.codec import Codec
from model.core.errors import MaepressError
from pipeline.evaluate.bd_rate import bd_rate
from pipeline.evaluate.curves import SSIMULACRA2_RANGE, mean_curve, psnr_curve, ssimulacra2_curve
from pipeline.evaluate.measurement import round_trip
from pipeline.evaluate.points import Pixels, Point
from pipeline.train.crops import SUFFIXES
from pipeline.train.run import TrainSettings, train

QUALITIES = (8, 18, 28, 38, 48, 58)


def main(argv: Sequence[str] | None = None) -> int:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(prog="bench.adapting", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--init", default="base", help="model to adapt and to compare with")
    parser.add_argument("--distortion", choices=("mse", "perceptual"), help="default: the one that INIT notes")
    parser.add_argument("--out", help="folder of the adapted model; an earlier run there is resumed")
    parser.add_argument("--images", type=int, default=60, help="largest number of images of TEST, evenly spaced")
    options = parser.parse_args(argv)
    try:
        return _measure(options)
    except MaepressError as e:
        print(f"bench.adapting: {e}", file=sys.stderr)
        return 2


def _measure(options: argparse.Namespace) -> int:
    files = sorted(f for f in options.test.rglob("*") if f.suffix.lower() in SUFFIXES)
    if not files:
        print(f"no images in {options.test}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or f"{scratch}/model"
        distortion = options.distortion or checkpoint.load(options.init).distortion
        settings = TrainSettings(
            images=str(options.train), out=out, init=options.init, max_minutes=options.minutes, distortion=distortion
        )
        with ray_session():
            result = train(settings, print)
        images = [np.asarray(Image.open(f).convert("RGB")) for f in files[:: -(-len(files) // options.images)]]
        old, new = (mean_curve(_points(Codec.load(model), images)) for model in (options.init, out))
    table = Table("minutes", "steps", "loss", title="validation, on images of TRAIN that were held out")
    for row in result.validation:
        table.add_row(f"{row['minutes']:.1f}", f"{row['step']:.0f}", f"{row['loss']:.4f}")
    points = Table("quality", title=f"{len(images)} images of TEST, before and after")
    for name in ("bpp", "dB", "SSIMULACRA2"):
        points.add_column(f"{name} before", justify="right")
        points.add_column("after", justify="right")
    for quality, *ends in zip(QUALITIES, old, new, strict=True):
        rates, errors, scores = ([f"{getattr(p, name):.4g}" for p in ends] for name in ("bpp", "psnr", "ssimulacra2"))
        points.add_row(str(quality), *rates, *errors, *scores)
    by_psnr = bd_rate(psnr_curve(old), psnr_curve(new))
    by_score = bd_rate(ssimulacra2_curve(old), ssimulacra2_curve(new), SSIMULACRA2_RANGE)
    Console().print(table, points)
    print(
        f"adapted by {distortion}: BD-rate against {options.init} {by_psnr:+.1f} % PSNR, {by_score:+.1f} % SSIMULACRA2"
    )
    return 0


def _points(codec: Codec, images: list[Pixels]) -> list[list[Point]]:
    torch.set_num_threads(2)
    return [
        [round_trip(codec, pixels, quality)[0] for quality in QUALITIES] for pixels in track(images, codec.fingerprint)
    ]


if __name__ == "__main__":
    sys.exit(main())
