"""Decoding at reduced size: speed against a whole decode, and fidelity; and the command that fits a model's heads.

    python -m bench.reduced [--model base] [--images 6] [--qualities 40]      # measure, on Kodak's photographs
    python -m bench.reduced --fit FOLDER [--photographs 200]                   # fit the heads of a model, a minute

Speeds are ratios of processor time on one thread within one run, the best of several rounds. Fidelity is the mean PSNR
against Pillow's box reduction of the original, and the lowest; beside it that of whole pictures decoded and then
reduced. Heads are fitted on photographs of the training recipe, never on Kodak's or other test sets.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.data import DATA, ROOT, kodak
from bench.lanes import best
from model.codec import Codec
from model.core.errors import MaepressError
from model.core.picture import Picture
from model.core.reduction import DENOMINATORS, box_reduced
from model.metrics.psnr import psnr
from pipeline.sources.open import open_source
from pipeline.train.heads import add_heads
from pipeline.train.recipe import read_recipe, sort_keys

RECIPE = ROOT / "model" / "weights" / "recipe.yaml"
SHRINK = 0.8
"""Training photographs are JPEGs: shrunk, so that their artefacts vanish."""
LARGEST = 640


def main(argv: Sequence[str] | None = None) -> int:
    """Measure or fit."""
    parser = argparse.ArgumentParser(prog="bench.reduced", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="base", help="model to measure")
    parser.add_argument("--images", type=int, default=6, help="number of Kodak's images")
    parser.add_argument("--qualities", type=int, nargs="+", default=[40], help="qualities of the model")
    parser.add_argument("--fit", type=Path, metavar="FOLDER", help="fit the heads of the model in this folder instead")
    parser.add_argument("--photographs", type=int, default=200, help="number of photographs to fit on")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        if options.fit:
            add_heads(options.fit, photographs(options.photographs))
        else:
            Console(width=110).print(measured(options.model, options.images, options.qualities))
    except MaepressError as e:
        print(f"bench.reduced: {e}", file=sys.stderr)
        return 2
    return 0


def photographs(count: int) -> Iterator[Picture]:
    """Photographs of the training sets, spread over them."""
    source = open_source(str(DATA))
    sets = sort_keys(read_recipe(RECIPE), (entry.key for entry in source.entries()))
    keys = sorted(key for train, _ in sets.values() for key in train)
    for key in keys[:: max(1, len(keys) // count)]:
        with Image.open(DATA / key) as image:
            small = image.convert("RGB")
        share = min(SHRINK, LARGEST / max(small.size))
        size = round(small.width * share), round(small.height * share)
        yield Picture(np.asarray(small.resize(size, Image.Resampling.LANCZOS)))


def measured(model: str, images: int, qualities: Sequence[int]) -> Table:
    """Speed and fidelity of each scale."""
    files = kodak(images)
    originals = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    codec = Codec.load(model)
    columns = ("quality", "scale", "times as fast", "dB", "lowest dB", "whole, then reduced: dB")
    table = Table(*columns, title=f"{len(files)} Kodak photographs, one thread, processor time")
    for quality in qualities:
        payloads = codec.compress([Picture(x) for x in originals], quality)
        whole = [picture.pixels for picture in codec.decompress(payloads)]
        seconds = best(partial(codec.decompress, payloads), 3)
        for denominator in DENOMINATORS:
            wanted = [np.asarray(Image.fromarray(x).reduce(denominator)) for x in originals]
            codec.decompress(payloads[:1], 1 / denominator)
            taken = best(partial(codec.decompress, payloads, 1 / denominator), 3)
            small = [picture.pixels for picture in codec.decompress(payloads, 1 / denominator)]
            found = [psnr(a, b) for a, b in zip(wanted, small, strict=True)]
            after = [psnr(a, box_reduced(b, denominator)) for a, b in zip(wanted, whole, strict=True)]
            row = (f"{seconds / taken:.1f}", f"{np.mean(found):.1f}", f"{min(found):.1f}", f"{np.mean(after):.1f}")
            table.add_row(str(quality), f"1/{denominator}", *row)
    return table


if __name__ == "__main__":
    sys.exit(main())
