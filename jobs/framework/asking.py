"""Asking before something is deleted for good."""

import sys

from model.core.errors import MaepressError
from pipeline.monitoring.formatting import printable


def require_consent(what: str, *, yes: bool) -> None:
    """Ask on the terminal, unless the answer was given with the command.

    Args:
        what: would be done, as "delete the originals in URL".
        yes: whether `--yes` was given.

    Raises:
        MaepressError: when the answer is not yes, or there is no terminal to ask on.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise MaepressError(f"this would {what}: add --yes if that is what you want")
    print(f"{printable(what)}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise MaepressError("nothing was changed")
