"""The demo's last table: what came out of it, in words that need no manual."""

from collections.abc import Mapping
from typing import Any


def report(
    trained: Mapping[str, Any],
    pressed: Mapping[str, Any],
    verified: Mapping[str, Any],
    restored: Mapping[str, Any],
    status: Mapping[str, Any],
    *,
    seconds: float,
) -> None:
    """Print the table.

    Args:
        trained: result of `maepress train --json`.
        pressed: of `encode`.
        verified: of `verify`.
        restored: of `decode`.
        status: of `status`.
        seconds: that all of it took.
    """
