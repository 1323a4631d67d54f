"""COCO annotation files: what each says of an image, read in bounded memory, however large the file is."""

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

from pipeline.sources.members.member_index import Builder, Member, member_key, problem_with
from pipeline.sources.sidecars.json_stream import JsonStream
from pipeline.sources.sidecars.meta import MAX_BYTES, TOO_LARGE, is_json, object_of
from pipeline.storage.local.disk_errors import TEMPORARY_REMEDY, sqlite_errors

_LONGEST = MAX_BYTES
"""Longest image, annotation or category, in characters."""
_TABLES = {"images": ("id", "file_name"), "annotations": ("image_id", "category_id"), "categories": ("id", "name")}
_JOINED = """
    SELECT images.rowid, images.second, images.text, annotations.text, annotations.second
    FROM images LEFT JOIN annotations ON annotations.first = images.first ORDER BY images.rowid, annotations.rowid
"""


def build(file: TextIO, add: Builder) -> str | None:
    """Add what a file says of each image, under its `file_name`, as JSON in the member's place.

    Args:
        file: the document.
        add: takes the images.

    Returns:
        Why not all of it was taken, or None.

    Raises:
        BadJson: when it is no JSON.
        Unwritable: when the disk of the temporary folder takes nothing.
    """
    with tempfile.TemporaryDirectory(prefix="maepress-coco-") as folder, sqlite_errors(folder, TEMPORARY_REMEDY):
        db = sqlite3.connect(Path(folder) / "coco.sqlite", isolation_level=None)
        try:
            return _build(db, file, add)
        finally:
            db.close()


def _build(db: sqlite3.Connection, file: TextIO, add: Builder) -> str | None:
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-16384"):
        db.execute(f"PRAGMA {pragma}")
    for table in _TABLES:
        db.execute(f"CREATE TABLE {table} (first TEXT, second TEXT, text TEXT)")
    db.execute("BEGIN")
    stream = JsonStream(file)
    passed_over = 0
    for name in stream.members():
        if name not in _TABLES:
            stream.skip()
            continue
        for text in stream.elements(_LONGEST):
            row = _row(name, text)
            passed_over += row is None
            if row is not None:
                db.execute(f"INSERT INTO {name} VALUES (?, ?, ?)", row)
    for table in _TABLES:
        db.execute(f"CREATE INDEX {table}_first ON {table} (first)")
    for member in _members(db):
        add.add(member)
    passed_over += stream.too_large
    if not passed_over:
        return None
    return f"{passed_over:,} of its entries are too large, not as COCO has them, or name a file elsewhere"


def _row(name: str, text: str) -> tuple[str, str, str] | None:
    """The columns of one entry; None where it is none."""
    value: Any = json.loads(text)
    names = _TABLES[name]
    if not isinstance(value, dict) or names[0] not in value or not is_json(text):
        return None
    first, second = value[names[0]], value.get(names[1])
    if not isinstance(first, int | str) or isinstance(first, bool):
        return None
    if name == "annotations":
        return json.dumps(first), json.dumps(second), text
    if not isinstance(second, str) or (name == "images" and problem_with(member_key(second))):
        return None
    return json.dumps(first), second, text


def _members(db: sqlite3.Connection) -> Iterator[Member]:
    for _, rows in groupby(db.execute(_JOINED), key=lambda row: row[0]):
        texts, categories, size = list[str](), set[str](), 0
        first = None
        for row in rows:
            first = first or row
            text, category = row[3:]
            if text is not None and size <= MAX_BYTES:
                texts.append(text)
                categories.add(category)
            size += len(text or "")
        if first is None:
            continue
        _, name, image, *_ = first
        names = dict(_names(db, categories))
        made = object_of({"image": image, "annotations": f"[{','.join(texts)}]", "categories": object_of(names)})
        problem = TOO_LARGE if len(made.encode()) > MAX_BYTES else None
        yield Member(member_key(name), len(made), "" if problem else made, problem)


def _names(db: sqlite3.Connection, categories: set[str]) -> Iterator[tuple[str, str]]:
    for category in sorted(categories):
        row = db.execute("SELECT second FROM categories WHERE first = ?", (category,)).fetchone()
        if row is not None:
            yield category, json.dumps(row[0], ensure_ascii=False)
