"""The command line: what the console script `maepress` starts, and `python -m maepress`."""

import sys
from collections.abc import Sequence

from maepress import _packages


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job that the first argument names; see `jobs.cli.main`."""
    problem = _packages.intruder()
    if problem is not None:
        print(f"maepress: {problem}", file=sys.stderr)
        return 2
    from jobs.framework.signals import interruptible
    from jobs.framework.spared_imports import spare

    spare()
    return interruptible(lambda: _run(argv), last=True)


def _run(argv: Sequence[str] | None) -> int:
    from jobs.cli import main as run

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
