"""Output of jobs: a small table for people, or JSON for scripts. Progress goes to standard error.

Keys and reasons are data: no character in them is markup, or reaches a terminal as a command.
"""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.framework.table import GAP, column_widths
from pipeline.monitoring.formatting import printable
from pipeline.monitoring.log import line

Cell = str | int | float | None
UNLIMITED = 200
"""Characters per line where standard output is no terminal."""


class _Console(Console):
    """A console that leaves a closed pipe to `jobs.framework.job.guard`; rich would end the job with status 1."""

    def on_broken_pipe(self) -> None:
        """Raise the error again."""
        raise BrokenPipeError


@dataclass(frozen=True, slots=True)
class Output:
    """Where a job's result goes.

    Attributes:
        as_json: print the result as JSON and no tables.
        quiet: no progress on standard error.
    """

    as_json: bool = False
    quiet: bool = False

    def result(self, values: Mapping[str, object]) -> None:
        """Print the result for scripts; does nothing unless JSON was asked for."""
        if self.as_json:
            print(json.dumps(values, indent=2, default=str))

    def table(self, title: str, rows: Sequence[Sequence[Cell]], columns: Sequence[str] = ()) -> None:
        """Print a table for people; does nothing when JSON was asked for.

        Args:
            title: printed above, empty for none.
            rows: the cells. Without `columns` these are pairs of a name and a value.
            columns: headings.
        """
        if self.as_json:
            return
        # Lines are wrapped on a terminal only.
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else UNLIMITED
        console = _Console(file=sys.stdout, highlight=False, width=width)
        if title:
            console.print(Text(_lines(title), style="bold"), overflow="fold")
        if rows or columns:
            cells = [[printable(format_cell(cell)) for cell in row] for row in rows]
            _print(console, cells, [printable(column) for column in columns])

    def progress(self, text: str) -> None:
        """Print a line of progress on standard error, unless told to be quiet."""
        if not self.quiet:
            print(line(_lines(text)), file=sys.stderr, flush=True)

    def line(self, text: str) -> None:
        """Print one line for people; does nothing when JSON was asked for."""
        if not self.as_json:
            print(_lines(text))


def complain(*problems: str | None) -> int:
    """Print what is not as it should be on standard error, a line each; returns how many there are."""
    found = [problem for problem in problems if problem]
    for problem in found:
        print(line(f"maepress: {printable(problem)}", "WARNING"), file=sys.stderr)
    return len(found)


def _lines(text: str) -> str:
    """Text of ours, which may have several lines, with foreign parts."""
    return "\n".join(map(printable, text.split("\n")))


def format_cell(cell: Cell) -> str:
    """A cell as text: thousands separators, four significant digits of fractions, a dash for None."""
    if cell is None:
        return "-"
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.4g}" if isinstance(cell, float) else cell


def _print(console: Console, rows: Sequence[Sequence[str]], columns: Sequence[str]) -> None:
    """Print a table; one that is too wide is printed row by row, each as pairs of a heading and a value."""
    headings = columns or [""] * len(rows[0])
    widths = column_widths(headings, rows, console.width)
    if widths is None and columns:
        for i, row in enumerate(rows):
            console.print("", end="\n" if i else "")
            _print(console, list(zip(columns, row, strict=True)), ())
        return
    table = Table(box=None, show_header=bool(columns), pad_edge=False, padding=(0, GAP, 0, 0), show_edge=False)
    for i, heading in enumerate(headings):
        right = bool(columns) and i > 0
        width = widths[i] if widths else None
        table.add_column(Text(heading), justify="right" if right else "left", overflow="fold", width=width)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
