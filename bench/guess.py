"""Fits and checks `model.rate_control.rate_model`, which predicts rate and fidelity before the first trial.

    python -m bench.guess IMAGES                # a folder of photographs, of which a sample is taken; prints the errors
    python -m bench.guess IMAGES --write        # and stores the fit beside the shipped weights
    python -m bench.guess IMAGES --model MODEL

The error is half of the range from the 16th to the 84th percentile: of the bare estimate, and of the prediction for one
half of the photographs from the other half, before any trial and after one at a middle quality. The second table is the
resulting number of trials per search, simulated on the held-out half's curves.
"""

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from model import checkpoint
from model.codec import Codec
from model.core.config import QUALITIES
from model.core.errors import MaepressError
from model.core.picture import Picture
from model.core.target import Target
from model.inference.encoder import Encoder
from model.inference.tiling import TILE
from model.metrics import ms_ssim, ssimulacra2
from model.rate_control.quality_search import QUALITY_STEPS
from model.rate_control.rate_model import (
    KNOTS,
    MEASURES,
    PRIORS,
    CurveEstimate,
    CurvePrior,
    ExpectedCurve,
    estimate_curves,
    knot_steps,
)
from model.rate_control.targeting import SAMPLE, search_for
from pipeline.train.crops import SUFFIXES

SIDE, LEAST_SCALE = 640, 0.4
"""Longest side of the middle that is measured; images are shrunk by up to this factor, as archives hold soft ones
and sharp ones."""
TRIED = 5
"""Knot of the trial."""
GOALS = (
    *(("psnr", Target(min_psnr=floor)) for floor in (34, 36, 38, 40)),
    *(("ms_ssim", Target(min_ms_ssim=floor)) for floor in (0.96, 0.98, 0.99)),
    *(("ssimulacra2", Target(min_ssimulacra2=floor)) for floor in (30, 50, 70, 80, 90)),
    *(("bytes", Target(max_bpp=limit)) for limit in (0.4, 0.8, 1.6)),
)
"""The goals that are searched for, and their curves."""


@dataclass(frozen=True, eq=False, slots=True)
class Measured:
    """An image: the bare estimate, the truth at the knots, float `[measures, K]`, and its size."""

    bare: CurveEstimate
    truth: NDArray[np.float64]
    pixels: int


Halves = tuple[tuple[dict[str, CurvePrior], Sequence[Measured]], ...]
"""Prediction from one half and the other half, on which it is checked; then with the halves exchanged."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, perhaps write."""
    parser = argparse.ArgumentParser(prog="bench.guess", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", type=Path, help="folder of photographs")
    parser.add_argument("--model", default="base", help="model folder, or the name of a shipped one")
    parser.add_argument("--count", type=int, default=200, help="photographs to measure, at most")
    parser.add_argument("--write", action="store_true", help=f"write {PRIORS.name}")
    options = parser.parse_args(argv)
    files = sorted(f for f in options.images.rglob("*") if f.suffix.lower() in SUFFIXES)
    if not files:
        print(f"no images in {options.images}", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    try:
        model = checkpoint.load(options.model)
    except MaepressError as e:
        print(f"bench.guess: {e}", file=sys.stderr)
        return 2
    codec = Codec(model)
    chosen = random.Random(0).sample(files, min(options.count, len(files)))
    scales = np.random.default_rng(0).uniform(LEAST_SCALE, 1, len(chosen))
    pictures = (_shrunk(f, scale) for f, scale in zip(chosen, scales, strict=True))
    measured = [_measure(codec, model, p) for p in track(pictures, "measuring", len(chosen))]
    halves = (_priors(measured[::2]), measured[1::2]), (_priors(measured[1::2]), measured[::2])
    Console().print(_spreads(f"model {codec.fingerprint}, {len(chosen)} photographs", halves), _trials(halves))
    if options.write:
        written = {
            m: {"mean": p.mean.round(4).tolist(), "covariance": p.covariance.round(5).tolist()}
            for m, p in _priors(measured).items()
        }
        PRIORS.write_text(json.dumps(written) + "\n")
    return 0


def _spreads(title: str, halves: Halves) -> Table:
    """Errors by quality."""
    table = Table("", *(f"{q:.0f}" for q in KNOTS), title=f"{title}: half of the spread, by quality")
    steps = knot_steps()
    for number, measure in enumerate(MEASURES):
        rows: dict[str, list[NDArray[np.float64]]] = {}
        for priors, asked in halves:
            for image in asked:
                expected, truth = ExpectedCurve(image.bare, measure, priors), image.truth[number]
                rows.setdefault("bare", []).append(truth - image.bare.of(measure)[steps])
                rows.setdefault("expected", []).append(truth - expected.given({})[steps])
                rows.setdefault("tried", []).append(truth - expected.given({steps[TRIED]: truth[TRIED]})[steps])
        for name, values in rows.items():
            low, high = np.percentile(values, (16, 84), axis=0)
            table.add_row(f"{measure} {name}", *(f"{v:.2f}" for v in (high - low) / 2))
    return table


def _trials(halves: Halves) -> Table:
    """Trials per search on piecewise linear curves; some searches cannot reach their goal."""
    table = Table("", "trials", "one", "two", "more", title="trials per search, simulated")
    for measure, target in GOALS:
        number = MEASURES.index(measure)
        counts = np.array([_search(image, number, target, priors) for priors, asked in halves for image in asked])
        shares = [np.mean(counts == 1), np.mean(counts == 2), np.mean(counts > 2)]
        table.add_row(target.described(), f"{counts.mean():.2f}", *(f"{share:.0%}" for share in shares))
    return table


def _search(image: Measured, number: int, target: Target, priors: dict[str, CurvePrior]) -> int:
    """Number of trials of one search."""
    bare, knots = image.bare.of(MEASURES[number]), knot_steps()
    curve = bare + np.interp(np.arange(QUALITY_STEPS), knots, image.truth[number] - bare[knots])
    search = search_for(target, image.bare, image.pixels, priors)
    trials = 0
    while (step := search.propose()) is not None:
        search.record(step, curve[step])
        trials += 1
    return trials


def _priors(measured: Sequence[Measured]) -> dict[str, CurvePrior]:
    """The prediction fitted to these images, by measure."""
    return {measure: CurvePrior.of(_rows(measured, number)) for number, measure in enumerate(MEASURES)}


def _rows(measured: Sequence[Measured], number: int) -> NDArray[np.float64]:
    """Differences of curves from their estimates, and the features of the images, one row per image."""
    measure, steps = MEASURES[number], knot_steps()
    return np.array([[*(m.truth[number] - m.bare.of(measure)[steps]), *m.bare.features()] for m in measured])


def _shrunk(file: Path, scale: float) -> Picture:
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    size = (max(16, round(image.width * scale)), max(16, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = max(0, image.width - SIDE) // 2, max(0, image.height - SIDE) // 2
    return Picture(np.asarray(image.crop((left, top, min(image.width, left + SIDE), min(image.height, top + SIDE)))))


@torch.inference_mode()
def _measure(codec: Codec, model: checkpoint.Checkpoint, picture: Picture) -> Measured:
    gains = model.network.gain(torch.arange(QUALITIES))[:, 0, 0].numpy()
    encoder = Encoder(model.network, [picture], torch.device("cpu"), (TILE, TILE))
    bare = estimate_curves(encoder.sample(SAMPLE)[0], gains, picture.width * picture.height)
    found = []
    for quality in KNOTS:
        (made,) = encoder.quantise([0], [quality], check=True, also=["ms_ssim", "ssimulacra2"])
        assert made.psnr is not None
        assert made.ms_ssim is not None
        assert made.ssimulacra2 is not None
        size = len(codec.coder.encode(codec._latents(picture, made)))
        fidelity = made.psnr, ms_ssim.decibels(made.ms_ssim), ssimulacra2.decibels(made.ssimulacra2)
        found.append((*fidelity, float(np.log(size))))
    return Measured(bare, np.array(found).T, picture.width * picture.height)


if __name__ == "__main__":
    sys.exit(main())
