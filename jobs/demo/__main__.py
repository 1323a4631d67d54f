"""`python -m jobs.demo [--s3]`: `maepress demo`, in a clone."""

import argparse
import sys

from jobs.demo import MINUTES
from jobs.demo.steps import run_demo
from jobs.framework.job import guard


def main() -> int:
    """Run the demo.

    Returns:
        The exit status of the first command that failed, else 0.
    """
    parser = argparse.ArgumentParser(prog="python -m jobs.demo", description="the main jobs on sample photographs")
    parser.add_argument("--s3", action="store_true", help="read and write s3:// on an S3 server that the demo starts")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of training")
    options = parser.parse_args()
    return run_demo(on_s3=options.s3, minutes=options.minutes)


if __name__ == "__main__":
    sys.exit(guard(main))
