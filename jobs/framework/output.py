"""Output of jobs: a small table for people, or JSON for scripts. Progress goes to standard error."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

Cell = str | int | float | None


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
        console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 200)
        table = Table(
            title=title or None,
            title_justify="left",
            title_style="bold",
            box=None,
            show_header=bool(columns),
            pad_edge=False,
            padding=(0, 2, 0, 0),
        )
        for i, column in enumerate(columns or ("", "")):
            table.add_column(column, justify="left" if i == 0 or not columns else "right", overflow="fold")
        for row in rows:
            table.add_row(*(format_cell(cell) for cell in row))
        console.print(table)

    def progress(self, text: str) -> None:
        """Print a line of progress on standard error, unless told to be quiet."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def line(self, text: str) -> None:
        """Print one line for people; does nothing when JSON was asked for."""
        if not self.as_json:
            print(text)


def format_cell(cell: Cell) -> str:
    """A cell as text: thousands separators, four significant digits of fractions, a dash for None."""
    if cell is None:
        return "-"
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.4g}" if isinstance(cell, float) else cell
