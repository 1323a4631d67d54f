"""The model card: the README in a model's folder, or else its configuration and notes as tables."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from model.core.model_files import CONFIG
from pipeline.archive.model_name import name_from, named
from pipeline.train.notes import LEARNED_FROM, learned_by

README = "README.md"
_MOST_ROWS = 100


def model_card(folder: Path) -> str:
    """Model card in Markdown.

    Args:
        folder: local folder of a model that loads.
    """
    readme = folder / README
    if readme.is_file():
        return readme.read_text(encoding="utf-8", errors="replace")
    description: dict[str, Any] = json.loads((folder / CONFIG).read_text())
    notes = description.get("notes")
    notes = dict(notes) if isinstance(notes, Mapping) else {}
    validation = notes.pop("validation", None)
    learned = learned_by(description)
    if notes.pop(LEARNED_FROM, None) is not None and learned.count:
        notes["learned from"] = f"{learned.count:,} files"
    title = named(name_from(description), str(description["fingerprint"]))
    lines = [f"# Model {title}", "", *_table([*_rows(notes), *_rows(description["config"])])]
    if isinstance(validation, Mapping):
        lines += ["", "## Validation", "", *_validation(validation)]
    return "\n".join([*lines, ""])


def _validation(row: Mapping[str, Any]) -> list[str]:
    """The row that training notes: step, minutes and loss, then `bpp/Q` and `psnr/Q` for some qualities Q."""
    qualities = [name.removeprefix("bpp/") for name in row if name.startswith("bpp/")]
    alone = {name: value for name, value in row.items() if name.partition("/")[2] not in qualities}
    lines = _table(list(_rows(alone)))
    if qualities:
        lines += ["", "| quality | bits per pixel | PSNR, dB |", "|---|---|---|"]
        lines += [
            f"| {' | '.join(_words(value) for value in (quality, row[f'bpp/{quality}'], row.get(f'psnr/{quality}')))} |"
            for quality in qualities
        ]
    return lines


def _table(rows: list[tuple[str, str]]) -> list[str]:
    more = [("...", f"{len(rows) - _MOST_ROWS:,} more")] if len(rows) > _MOST_ROWS else []
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in [*rows[:_MOST_ROWS], *more])]


def _rows(values: Any, above: str = "") -> Iterator[tuple[str, str]]:
    """Names and values as text; what lies deeper is named with all that is above it."""
    for name, value in values.items() if isinstance(values, Mapping) else ():
        words = above + _words(str(name).replace("_", " "))
        if isinstance(value, Mapping):
            yield from _rows(value, f"{words}, ")
        else:
            yield words, _words(value)


def _words(value: Any) -> str:
    """A value as text for a cell: one line without Markdown's column mark."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, list):
        return ", ".join("..." if isinstance(item, list | Mapping) else _words(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:.5g}"
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(str(value).split()))
