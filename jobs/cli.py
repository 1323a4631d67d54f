"""The command line `maepress`: finds the job that its first argument names and runs it."""

import sys
import textwrap
from collections.abc import Sequence

from jobs.framework.registry import NAMES, SUMMARIES, load
from jobs.framework.signals import interruptible
from jobs.framework.terminal import help_width
from model.core.errors import MaepressError

HEAD = """maepress learns an image codec from your own images,
and compresses them into an archive.

usage: maepress JOB ... [options]     (maepress JOB --help describes it)

jobs:
"""
TAIL = """
SOURCE, ARCHIVE, DEST, IMAGES and OUT are folders or URLs
(s3://bucket/prefix, gs://..., file:///...). Settings come from flags,
then MAEPRESS_* variables, then a YAML file (--config).
"""


def overview() -> str:
    """The text that `maepress --help` prints."""
    width, under = help_width(), " " * 14
    jobs = (f"  {name:<12}{summary}" for name, summary in SUMMARIES.items())
    lines = (textwrap.fill(job, width, subsequent_indent=under) for job in jobs)
    return HEAD + "\n".join(lines) + "\n" + TAIL


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job that the first argument names.

    Args:
        argv: arguments; the process's own when None.

    Returns:
        The exit status, as `jobs.framework.job` defines it.
    """
    name, *rest = (sys.argv[1:] if argv is None else list(argv)) or ["--help"]
    if name in ("-h", "--help", "help"):
        print(overview(), end="")
        return 0
    if name == "--version":
        from importlib.metadata import version

        print(f"maepress {version('maepress')}")
        return 0
    if name in ("--print-completion", "--print-man-page"):
        from jobs.framework.job import guard

        return guard(lambda: _print(name, rest))
    return interruptible(lambda: _run(name, rest))


def _run(name: str, rest: Sequence[str]) -> int:
    from jobs.framework.job import guard  # signals are handled while it is imported

    return guard(lambda: load(name).main(rest) if name in NAMES else _unknown(name))


def _print(option: str, rest: Sequence[str]) -> int:
    words = {"--print-completion": "SHELL", "--print-man-page": ""}[option]
    if len(rest) != len(words.split()):
        raise MaepressError(f"write `maepress {option} {words}".rstrip() + "`")
    if rest:
        from jobs.shell.completion import completion

        print(completion(rest[0]), end="")
    else:
        from jobs.shell.man_page import man_page

        print(man_page(), end="")
    return 0


def _unknown(name: str) -> int:
    raise MaepressError(f"unknown job {name!r}: known are {', '.join(NAMES)}")


if __name__ == "__main__":
    sys.exit(main())
