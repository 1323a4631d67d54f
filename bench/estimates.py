"""Do the intervals of an estimate hold the truth? `python -m bench.estimates FOLDER --outcomes FILE`.

Encodes every image of a folder as `encode` would, and as WebP and AVIF at the same PSNR: these sums are the truth.
Then estimates are made from the outcomes, as `maepress estimate` makes them, for many seeds, and the intervals that
hold the truth are counted. `--outcomes` keeps the outcomes in a file, from which the second part can be repeated.
"""

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.estimate.byte_sampling import Interval, Sample, size_weighted_sample
from pipeline.estimate.prices import read_prices
from pipeline.estimate.run import EstimateResult, scale_up
from pipeline.estimate.sample_encoder import COMPARED, EncodedObject, compared_places, encode_sample
from pipeline.estimate.settings import EstimateSettings
from pipeline.sources.open import open_source
from pipeline.storage.base import Entry

ROUNDS = 500


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.estimates", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", help="folder of images")
    parser.add_argument("--outcomes", type=Path, help="file that keeps the outcome of every image")
    parser.add_argument("--most", type=int, default=250, help="of more images, every n-th")
    parser.add_argument("--compare", type=int, nargs="+", default=[20], help="images compared with WebP and AVIF")
    parser.add_argument("--sample", type=int, nargs="+", default=[300, 80], help="images encoded")
    options = parser.parse_args(argv)
    outcomes = outcomes_of(options.folder, options.most, options.outcomes)
    entries = [entry for entry, _ in outcomes]
    known = {entry.key: outcome for entry, outcome in outcomes}
    console = Console()
    for sample in options.sample:
        for compare in options.compare:
            settings = EstimateSettings(source=options.folder, sample=sample, compare=compare)
            console.print(coverage(settings, entries, known))
    return 0


def outcomes_of(folder: str, most: int, kept: Path | None) -> list[tuple[Entry, EncodedObject]]:
    """Every image of a folder, encoded by all codecs; from a file if there is one."""
    if kept and kept.exists():
        rows = [json.loads(line) for line in kept.read_text().splitlines()]
        return [(Entry(**row["entry"]), EncodedObject(**(row["outcome"] | {"others": _sizes(row)}))) for row in rows]
    source = open_source(folder)
    entries = [entry for entry in source.entries() if entry.size]
    entries = entries[:: -(-len(entries) // most)]
    everything = Sample(tuple(entries), len(entries), sum(entry.size for entry in entries), True)
    settings = EstimateSettings(source=folder, compare=len(entries))
    found = encode_sample(everything, source, settings, lambda text: print(text, file=sys.stderr, flush=True))
    if kept:
        lines = [json.dumps({"entry": asdict(e), "outcome": asdict(o)}) for e, o in zip(entries, found, strict=True)]
        kept.write_text("\n".join(lines) + "\n")
    return list(zip(entries, found, strict=True))


def _sizes(row: dict[str, dict[str, list[int] | None]]) -> tuple[int, ...] | None:
    sizes = row["outcome"]["others"]
    return None if sizes is None else tuple(sizes)


def coverage(settings: EstimateSettings, entries: list[Entry], known: dict[str, EncodedObject]) -> Table:
    """Estimates for many seeds beside the truth: a row for each codec."""
    truths = {"maepress": sum(outcome.stored for outcome in known.values())}
    truths |= {
        codec.name: sum((outcome.others or ())[i] for outcome in known.values()) for i, codec in enumerate(COMPARED)
    }
    of: dict[str, Callable[[EstimateResult], Interval]] = {"maepress": lambda found: found.stored_bytes}
    of |= {codec.name: (lambda found, name=codec.name: found.rival_bytes[name]) for codec in COMPARED}  # type: ignore[misc]
    rounds = [_estimated(settings.model_copy(update={"seed": seed}), entries, known) for seed in range(ROUNDS)]
    table = Table(
        "codec", "truth, MB", "first estimate, MB", "its interval", "mean", "mean width", f"of {ROUNDS} hold the truth"
    )
    table.title = f"{len(entries)} images, up to {settings.sample} encoded, {settings.compare} compared"
    for name, truth in truths.items():
        intervals = [of[name](found) for found in rounds]
        first, slack = intervals[0], 1e-9 * truth
        held = sum(one.low - slack <= truth <= one.high + slack for one in intervals)
        mean = sum(one.value for one in intervals) / ROUNDS
        width = sum(one.high - one.low for one in intervals) / ROUNDS / truth
        table.add_row(
            name,
            f"{truth / 1e6:.3f}",
            f"{first.value / 1e6:.3f}",
            f"{first.low / 1e6:.3f} to {first.high / 1e6:.3f}",
            f"{mean / truth - 1:+.1%}",
            f"{width:.1%}",
            str(held),
        )
    return table


def _estimated(settings: EstimateSettings, entries: list[Entry], known: dict[str, EncodedObject]) -> EstimateResult:
    sample = size_weighted_sample(entries, settings.sample, random.Random(settings.seed))
    compared = compared_places(len(sample.entries), settings.compare, settings.seed)
    encoded = [
        outcome if i in compared else replace(outcome, others=None)
        for i, outcome in enumerate(known[entry.key] for entry in sample.entries)
    ]
    prices = read_prices("")
    return scale_up(settings, sample, encoded, prices, next(iter(prices.storage)), next(iter(prices.machines)))


if __name__ == "__main__":
    sys.exit(main())
