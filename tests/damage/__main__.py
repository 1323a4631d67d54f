"""Flip random bits in a small archive and count what `verify` notices.

python -m tests.damage [--flips 10000] [--seed 0]

Ends with status 1 when a flip that changes what is read was not noticed.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from model.codec import Codec
from tests.conftest import write_tiny_model
from tests.damage.flips import Report, flip
from tests.damage.subject import make


def main() -> int:
    """Run, and print a table of outcomes by kind of file."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.damage", description="Flip random bits in a small archive and count what verify notices."
    )
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    def progress(report: Report) -> None:
        if (done := sum(report.outcomes.values())) % 100 == 0:
            print(f"\r{done:,} flips, {len(report.missed)} missed", end="", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="maepress-damage-") as folder:
        model = Path(folder) / "model"
        model.mkdir()
        write_tiny_model(model)
        archive = make(Path(folder), model, Codec.load(model))
        report = flip(archive.url, options.flips, options.seed, progress)
    print("\r", end="", file=sys.stderr)
    outcomes = ("noticed", "changes nothing", "missed")
    print(f"{'file':12}" + "".join(f"{outcome:>17}" for outcome in outcomes))
    for kind in sorted({kind for kind, _ in report.outcomes}):
        print(f"{kind:12}" + "".join(f"{report.outcomes[kind, outcome]:17,}" for outcome in outcomes))
    print(f"{'all':12}" + "".join(f"{report.total(outcome):17,}" for outcome in outcomes))
    for name, count in report.harmless.most_common():
        print(f"changes nothing: {count:5,}  {name}")
    for line in report.missed:
        print(f"missed: {line}")
    print(f"{options.flips:,} flips of seed {options.seed} in {report.seconds:.0f} s")
    return bool(report.missed)


if __name__ == "__main__":
    sys.exit(main())
