"""Templates, filters and files that the report and the viewer share.

No framework and no external files: a page is a Jinja template that escapes every value, one style sheet and a short
script.
"""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.monitoring.formatting import size

HERE = Path(__file__).parent
GAP = "\N{NO-BREAK SPACE}"
"""Between a number and its unit."""
MINUS = "\N{MINUS SIGN}"


def templates(folder: Path) -> Environment:
    """The templates of a folder and the shared ones. Every value is escaped; a missing value is an error."""
    made = Environment(
        loader=FileSystemLoader([folder, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"size": size, "percent": percent, "signed": signed}
    return made


def percent(share: float, digits: int = 0) -> str:
    """A share from 0 to 1 as a percentage."""
    return f"{100 * share:.{digits}f}{GAP}%"


def signed(rate: float | None) -> str:
    """A difference in percent with its sign; a dash for None."""
    return "\N{EN DASH}" if rate is None else f"{rate:+.1f}{GAP}%".replace("-", MINUS)


def text_of(path: Path) -> str:
    """The text of a style sheet or script of this package."""
    return path.read_text(encoding="utf-8")
