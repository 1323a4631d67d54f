"""Hugging Face's `metadata.jsonl` and `metadata.csv`: a row for each image of a folder, named in `file_name`."""

import csv
import json
from collections.abc import Iterator
from typing import Any, TextIO

from pipeline.sources.members.member_index import Builder, Member, member_key, problem_with
from pipeline.sources.sidecars.meta import MAX_BYTES, is_json

NAME = "file_name"
_LONGEST = MAX_BYTES
"""Longest line, in characters."""


class _TooLong(ValueError):
    """A line is longer than any that is read."""


def build_jsonl(file: TextIO, add: Builder) -> str | None:
    """Add the lines of a `metadata.jsonl` under their `file_name`, as they are, in the member's place.

    Args:
        file: the document.
        add: takes the rows.

    Returns:
        Why not all of it was taken, or None.
    """
    wrong = list[int]()
    try:
        for number, line in enumerate(_lines(file), 1):
            if line.strip() and not _add(line.strip(), add):
                wrong.append(number)
    except ValueError as e:  # UnicodeDecodeError is one
        return f"it cannot be read to its end: {e}"
    if not wrong:
        return None
    what = "no JSON object with the file_name of an image below"
    return f"{len(wrong):,} of its lines are {what}, the first of them line {wrong[0]:,}"


def build_csv(file: TextIO, add: Builder) -> str | None:
    """Add the rows of a `metadata.csv` as JSON; see `build_jsonl`."""
    wrong = 0
    try:
        for row in csv.DictReader(_lines(file), restkey="", restval=""):
            wrong += not _add(json.dumps(row, ensure_ascii=False), add)
    except (csv.Error, ValueError) as e:
        return f"it cannot be read to its end: {e}"
    return f"{wrong:,} of its rows have no file_name of an image below" if wrong else None


def _add(text: str, add: Builder) -> bool:
    if not is_json(text):
        return False
    row: Any = json.loads(text)
    if not isinstance(row, dict) or not isinstance(row.get(NAME), str):
        return False
    key = member_key(row[NAME])
    if problem_with(key):  # also one that leads out of the folder: it is no image of this one
        return False
    add.add(Member(key, len(text), text))
    return True


def _lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(_LONGEST):
        if len(line) == _LONGEST and not line.endswith("\n"):
            raise _TooLong(f"a line is longer than {_LONGEST >> 10} KiB")
        yield line
