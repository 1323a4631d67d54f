"""The widths of a table's columns on a terminal: short cells, such as numbers, are never split; long texts are."""

from collections.abc import Sequence

from rich.cells import cell_len

GAP = 2
"""Spaces between two columns."""
UNSPLIT = 24
"""Cells up to this width stay on one line; only a column with a longer cell may be made narrower than its cells."""


def column_widths(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """The width of each column, in terminal cells, so that a line fits.

    Args:
        columns: the headings, which may be split between words.
        rows: the cells as text.
        width: of a line.

    Returns:
        The widths, or None when not even the narrowest table fits.
    """
    cells = [[cell_len(row[i]) for row in rows] for i in range(len(columns))]
    natural = [max(column, default=0) for column in cells]
    words = [max(map(cell_len, heading.split()), default=0) for heading in columns]
    wanted = [max(n, cell_len(heading)) for n, heading in zip(natural, columns, strict=True)]
    least = [max(min(n, UNSPLIT), word) for n, word in zip(natural, words, strict=True)]
    spare = width - GAP * (len(columns) - 1) - sum(least)
    if spare < 0:
        return None
    widths = list(least)
    for i in sorted(range(len(columns)), key=lambda i: wanted[i] - least[i]):
        grown = min(spare, wanted[i] - least[i])
        widths[i] += grown
        spare -= grown
    return widths
