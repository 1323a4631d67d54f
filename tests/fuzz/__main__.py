"""Fuzz the decoder: decode corrupted payloads and check the outcome.

python -m tests.fuzz [--cases 100000] [--seed 0] [--out build/fuzz]

Every case must end in `DamagedPayload`, `WrongModel`, `UnsupportedImage` or a picture: no crash, no
other error, at most a second of processor time, and no more memory than the size in its header
allows. Cases that do not are written to OUT.
"""

import argparse
import sys
from pathlib import Path

from tests.fuzz.child import payload_of
from tests.fuzz.driver import Report, fuzz


def main() -> int:
    """Run, print the outcomes, and save failing cases."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Decode corrupted payloads and check the outcome."
    )
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    options = parser.parse_args()
    kept: set[int] = set()

    def progress(report: Report) -> None:
        done = sum(report.outcomes.values())
        if done % 500 == 0:
            print(f"\r{done:,}", end="", file=sys.stderr)
        for number in report.failures.keys() - kept:
            kept.add(number)
            options.out.mkdir(parents=True, exist_ok=True)
            path = options.out / f"{options.seed}-{number}.mae"
            path.write_bytes(payload_of(options.seed, number))
            print(f"\r{path}: {report.failures[number]}", flush=True)

    report = fuzz(options.seed, 0, options.cases, progress=progress)
    print("\r", end="", file=sys.stderr)
    for outcome, count in report.outcomes.most_common():
        print(f"{count:8,}  {outcome}")
    rate = options.cases / report.seconds
    print(f"{options.cases:8,}  cases of seed {options.seed}, {rate:.0f} per second, {len(report.failures)} failures")
    return bool(report.failures)


if __name__ == "__main__":
    sys.exit(main())
