"""The width of the user's terminal; imports nothing that takes time."""

import shutil

NARROWEST, WIDEST = 40, 110
"""Characters per line of the help, at least and at most."""


def help_width() -> int:
    """Characters per line of the help: those of the terminal, within limits; 80 where there is none."""
    return max(NARROWEST, min(WIDEST, shutil.get_terminal_size().columns))
