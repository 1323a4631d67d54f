"""Write the table of rooms in docs/architecture.md from the tree: `python .ci/rooms.py`, after a module comes or goes.

A room is a package below one of the floors, or a part of one; its charter is the first line of its docstring.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("maepress", "jobs", "pipeline", "model")
"""Top to bottom."""
BEGIN, END = "<!-- rooms: written by .ci/rooms.py -->\n\n", "<!-- end of rooms -->"


def table(root: Path) -> str:
    """The rooms as a Markdown table: folder, charter, number of modules without those of its parts."""
    lines = ["| folder | charter | modules |", "|---|---|---:|"]
    for floor in FLOORS:
        own = root / floor
        for folder in sorted(path.parent for path in own.rglob("__init__.py")):
            charter = (ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or "").splitlines()[0]
            count = sum(path.name != "__init__.py" for path in folder.glob("*.py"))
            name = folder.relative_to(root).as_posix()
            lines.append(f"| {f'**`{name}/`**' if folder == own else f'`{name}/`'} | {charter} | {count} |")
    return "\n".join(lines) + "\n"


def page(root: Path) -> str:
    """The page with a fresh table."""
    text = (root / "docs" / "architecture.md").read_text()
    before, rest = text.split(BEGIN)
    return before + BEGIN + table(root) + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    (ROOT / "docs" / "architecture.md").write_text(page(ROOT))
