"""Spoil payloads and see how they end.

python -m tests.fuzz [--cases 100000] [--seed 0] [--out build/fuzz]

Every case must end in `DamagedPayload`, `WrongModel`, `UnsupportedImage` or a picture: no crash, no other error, at
most a second of processor time, and no more memory than the size in its header allows. Cases that do not are written
to OUT; copied to tests/fuzz/regressions/ they are part of the tests.
"""

import argparse
import sys
from pathlib import Path

from tests.fuzz.child import payload_of
from tests.fuzz.driver import fuzz


def main() -> int:
    """Run, print, keep what failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Spoil payloads and see how they end.")
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    options = parser.parse_args()
    report = fuzz(options.seed, 0, options.cases, progress=lambda n: print(f"\r{n:,}", end="", file=sys.stderr))
    print("\r", end="", file=sys.stderr)
    for outcome, count in report.outcomes.most_common():
        print(f"{count:8,}  {outcome}")
    rate = options.cases / report.seconds
    print(f"{options.cases:8,}  cases of seed {options.seed}, {rate:.0f} a second, {len(report.failures)} failures")
    for number, outcome in sorted(report.failures.items()):
        options.out.mkdir(parents=True, exist_ok=True)
        path = options.out / f"{options.seed}-{number}.mae"
        path.write_bytes(payload_of(options.seed, number))
        print(f"{path}: {outcome}")
    return bool(report.failures)


if __name__ == "__main__":
    sys.exit(main())
