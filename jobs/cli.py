"""`maepress`: the list of jobs, and the way from a job's name to its module."""

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version

from jobs.job import Job, guard
from model.errors import MaepressError

NAMES = (
    "train",
    "encode",
    "sync",
    "decode",
    "status",
    "verify",
    "history",
    "restore",
    "vacuum",
    "compact",
    "estimate",
    "evaluate",
    "browse",
    "probe",
    "tune",
    "submit",
    "compress",
    "decompress",
)
HEAD = """maepress learns an image codec from an archive's own images and presses the archive with it.

usage: maepress JOB ... [options]        (maepress JOB --help says more)

jobs:
"""
TAIL = """
SOURCE, ARCHIVE, DEST, IMAGES and OUT are folders or URLs (s3://bucket/prefix, gs://..., file:///...).
Settings come from flags, then a YAML file (--config), then MAEPRESS_* variables.
"""


def load(name: str) -> Job[object]:  # type: ignore[type-var]  # each job has its own settings class
    """The job of that name."""
    job: Job[object] = importlib.import_module(f"jobs.{name}").JOB  # type: ignore[type-var]
    return job


def overview() -> str:
    """What `maepress --help` prints."""
    return HEAD + "".join(f"  {name:<12}{load(name).summary}\n" for name in NAMES) + TAIL


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job that the first argument names.

    Args:
        argv: arguments; the process's own when None.

    Returns:
        The exit status (`jobs.job` says what each means).
    """
    name, *rest = (sys.argv[1:] if argv is None else list(argv)) or ["--help"]
    if name in ("-h", "--help", "help"):
        print(overview(), end="")
        return 0
    if name == "--version":
        print(f"maepress {version('maepress')}")
        return 0
    if name not in NAMES:
        return guard(lambda: _unknown(name))
    return load(name).main(rest)


def _unknown(name: str) -> int:
    raise MaepressError(f"unknown job {name!r}: known are {', '.join(NAMES)}")


if __name__ == "__main__":
    sys.exit(main())
