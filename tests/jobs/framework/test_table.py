"""Tables on a terminal: they fit its width, and numbers are never split."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence

import pytest

from jobs.framework.table import GAP, column_widths

RUNS = (
    "from jobs.framework.output import Output\n"
    "run = '20261128T215900-5ac0ffee'\n"
    "rows = [(run, 'encode', 'done', '3 min 20 s', 1234567, 12, '123.4 MB -> 12.3 MB', 12.5)]\n"
    "rows += [(run, 'sync', 'failed', '2 s', None, None, 'the archive cannot be read: ' + 'words ' * 9, None)]\n"
    "Output().table('runs', rows, ('run', 'job', 'outcome', 'took', 'rows', 'rejected', 'bytes', 'MP/s'))\n"
    "Output().table('', [('kept because', ', '.join(f'reason {n} (1,234)' for n in range(9))), ('rows', 1234567)])\n"
)


def on_a_terminal(script: str, columns: int) -> str:
    """What a script prints on a terminal of some width, without colours."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm"}
    with subprocess.Popen([sys.executable, "-c", script], stdout=theirs, env=environment) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            said += data
        assert process.wait(60) == 0
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m", "", said.decode()).replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
def test_a_table_fits_a_terminal_and_splits_no_number(columns: int) -> None:
    text = on_a_terminal(RUNS, columns)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= columns
    for whole in ("20261128T215900-5ac0ffee", "1,234,567", "123.4 MB -> 12.3 MB", "3 min 20 s", "12.5"):
        assert re.search(rf"(^|\s){re.escape(whole)}(\s|$)", text), f"{whole} in {text}"
    for heading in ("run", "outcome", "rejected", "MP/s"):
        assert re.search(rf"\b{heading}\b", text)


def test_markup_in_a_cell_is_text() -> None:
    script = "from jobs.framework.output import Output; Output().table('[b]t[/b]', [('[red]a[/red]', '[/nothing]')])"
    assert "[red]a[/red]" in on_a_terminal(script, 80) and "[/nothing]" in on_a_terminal(script, 80)


def test_short_cells_keep_their_width_and_long_ones_give_way() -> None:
    rows = [("1,234,567", "x" * 100, "y" * 20), ("12", "x", "y")]
    columns = ("a", "b", "c")
    widths = column_widths(columns, rows, 80)
    assert widths is not None and sum(widths) + GAP * 2 == 80
    assert (widths[0], widths[2]) == (9, 20)
    assert column_widths(columns, rows, 200) == [9, 100, 20]
    assert column_widths(columns, rows, 40) is None
    assert column_widths(("a heading of words", "b"), [("12", "3")], 12) == [9, 1], "headings break between words"
    empty: Sequence[Sequence[str]] = []
    assert column_widths(("name", "value"), empty, 80) == [4, 5]
