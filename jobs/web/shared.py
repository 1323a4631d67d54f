"""What the report and the viewer share: how their pages are made, and how they look.

No framework, nothing from outside: a page is a Jinja template with every value escaped, one style sheet and a few lines
of script.
"""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.monitoring.formatting import size

HERE = Path(__file__).parent
GAP = "\N{NO-BREAK SPACE}"
"""Between a number and its unit."""
MINUS = "\N{MINUS SIGN}"


def templates(folder: Path) -> Environment:
    """Templates of a folder, and those that all share. Every value is escaped; one that is missing is an error."""
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
    """A share, 0..1, in percent."""
    return f"{100 * share:.{digits}f}{GAP}%"


def signed(rate: float | None) -> str:
    """A difference that is in percent already, with its sign; a dash for nothing."""
    return "\N{EN DASH}" if rate is None else f"{rate:+.1f}{GAP}%".replace("-", MINUS)


def text_of(path: Path) -> str:
    """A style sheet or script beside the code."""
    return path.read_text(encoding="utf-8")
