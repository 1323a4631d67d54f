"""What a better quantiser could save: the encoder's rounding against the rate-distortion function of its residuals.

    python -m bench.quantiser_bound FILE       # latents that `bench.entropy_trials latents` wrote

Residuals of held-out latents from their means, in quantisation steps, form one source per scale
index. For each, the cost `bits + (6 / ln 2) * squared error` of the symbols is compared with its
least value for any code of any length (Blahut 1972, Arimoto 1972). Trellis-coded quantisation with
eight states stays 0.55 dB, that is 0.09 bits, above that bound (Fischer and Wang 1992); the last
column subtracts so much for every index. All in percent of the bits of the symbols.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.entropy_trials import STEP_BITS, Crops, read
from bench.entropy_variants import Variant
from model.bitstream.coding_passes import PASSES, pass_map
from model.bitstream.probability_tables import SCALES
from model.core.errors import MaepressError
from model.entropy.scale_path import scale_of
from pipeline.train.validation import VALIDATION_QUALITIES

Floats = NDArray[np.float64]
BIN = 0.125
"""Width of the histograms' bins in quantisation steps."""
WIDEST = 4.0
"""Scale above which the gap is that of high-rate theory."""
HIGH_RATE = 0.5 * math.log2(2 * math.pi * math.e / 12)
"""Bits that rounding costs above the bound at high rates."""
TRELLIS = 0.55 / (20 * math.log10(2))
"""Bits that eight states cost above the bound."""
ITERATIONS = 200


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.quantiser_bound", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        network, _, held_out = read(options.file)
    except MaepressError as e:
        print(f"bench.quantiser_bound: {e}", file=sys.stderr)
        return 2
    columns = ("quality", "bits per latent", "in passes 1, 2, 3", "any quantiser", "eight states")
    table = Table(*columns, title=f"{len(held_out)} images")
    for quality in VALIDATION_QUALITIES:
        bits, shares, gap, likely = savings(Variant(network), held_out, quality)
        by_pass = ", ".join(f"{share:.0%}" for share in shares)
        table.add_row(str(quality), f"{bits:.3f}", by_pass, f"-{gap:.1%}", f"-{likely:.1%}")
    Console(width=100, highlight=False).print(table)
    return 0


@torch.no_grad()
def savings(variant: Variant, held_out: Sequence[Crops], quality: int) -> tuple[float, list[float], float, float]:
    """Bits per latent, their shares by pass, and the shares that a perfect quantiser and eight states would save."""
    row, prior = torch.tensor([quality]), variant.network.prior
    parts: list[list[Floats]] = []
    for crops in held_out:
        z = variant.network.hyper_latent(crops.y, row, row)
        coded = variant.code(crops.y, z, row, estimate=True)
        error = (coded.residual - prior.reconstruct(coded.symbols, coded.index)).square()
        cost = prior.bits(coded.symbols, coded.index)
        number = torch.from_numpy(pass_map(*crops.y.shape[1:]))
        parts.append([x.flatten().double().numpy() for x in (coded.index, coded.residual, cost, error, number)])
    index, residual, bits, squared, passes = (np.concatenate(part) for part in zip(*parts, strict=True))
    gap = likely = 0.0
    for k in range(SCALES):
        if (count := int((mine := index == k).sum())) < 1000:
            continue
        scale = float(scale_of(torch.tensor(float(k))))
        mean_cost = float((bits[mine] + STEP_BITS * squared[mine]).mean())
        above = HIGH_RATE if scale > WIDEST else max(0.0, mean_cost - least_cost(residual[mine], scale))
        gap += count * above
        likely += count * max(0.0, above - TRELLIS)
    shares = [float(bits[passes == number].sum() / bits.sum()) for number in range(PASSES)]
    return float(bits.mean()), shares, gap / bits.sum(), likely / bits.sum()


def least_cost(values: Floats, scale: float) -> float:
    """Least mean of `bits + STEP_BITS * squared error` for values of this distribution, by any code.

    Args:
        values: samples, in quantisation steps.
        scale: their standard deviation, about; a few samples far outside are clipped.
    """
    reach = math.ceil((8 * scale + 2) / BIN) * BIN
    points = np.arange(-reach, reach + BIN / 2, BIN)
    count = np.bincount(np.rint((values.clip(-reach, reach) + reach) / BIN).astype(int), minlength=len(points))
    source, values = count[count > 0] / count.sum(), points[count > 0]
    kernel = np.exp2(-STEP_BITS * (values[:, None] - points[None]) ** 2)
    output = np.full(len(points), 1 / len(points))
    for _ in range(ITERATIONS):
        output = output * (kernel.T @ (source / (kernel @ output)))
    return float(-(source * np.log2(kernel @ output)).sum())


if __name__ == "__main__":
    sys.exit(main())
