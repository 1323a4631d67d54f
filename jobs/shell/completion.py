"""Completion of the command line for bash, zsh and fish, made by shtab from the jobs' own parsers.

maepress --print-completion bash > ~/.local/share/bash-completion/completions/maepress
"""

import argparse

import shtab

from jobs.framework.registry import SUMMARIES, load
from model.core.errors import MaepressError

SHELLS = ("bash", "zsh", "fish")
_WIDTH = 80


def completion(shell: str) -> str:
    """The completion script for a shell.

    Raises:
        MaepressError: for a shell that has none.
    """
    if shell not in SHELLS:
        raise MaepressError(f"--print-completion {shell}: must be {', '.join(SHELLS[:-1])} or {SHELLS[-1]}")
    return str(shtab.complete(_whole(), shell))


def _whole() -> argparse.ArgumentParser:
    """One parser with the jobs as sub-commands."""
    whole = argparse.ArgumentParser(prog="maepress")
    whole.add_argument("--version", action="store_true", help="print the version")
    printed = whole.add_argument("--print-completion", help="print the completion script of a shell")
    printed.choices = SHELLS
    whole.add_argument("--print-man-page", action="store_true", help="print the manual page")
    jobs = whole.add_subparsers()
    for name, summary in SUMMARIES.items():
        job = jobs.add_parser(name, help=summary, parents=[load(name).parser(_WIDTH)], add_help=False)
        for action in job._actions:
            if not action.option_strings or action.metavar in ("FILE", "DIR", "MODEL", "SOURCE", "ARCHIVE"):
                action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab's own; a place may be a folder
            elif isinstance(action.metavar, str) and "|" in action.metavar and action.nargs is None:
                action.choices = action.metavar.split("|")
    return whole
