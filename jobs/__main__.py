"""`python -m jobs` is `maepress`."""

import sys

from jobs.framework.signals import interruptible


def main() -> int:
    """Run the job that the first argument names; see `jobs.cli.main`."""
    from jobs.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(interruptible(main, last=True))
