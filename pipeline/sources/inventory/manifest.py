"""Manifests of S3 Inventory: which files hold the listing of a bucket, and when it was made.

    CONFIGURATION/2026-11-28T01-00Z/manifest.json        the manifest of one night
                                    manifest.checksum    its MD5, written last
    CONFIGURATION/data/*.csv.gz, *.parquet               the listings of all nights

Files are read from the `data` folder beside the manifest alone, whatever path the manifest names.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.storage.base import StorageError, Store

CSV, PARQUET = "CSV", "Parquet"
MAX_MANIFEST, MAX_FILES, MAX_FILE = 64 << 20, 100_000, 64 << 30
"""Bytes of a manifest, number of its files, bytes of each."""
_FOLDER = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}-\d{2}Z)/manifest\.(json|checksum)")
_DATA = re.compile(r"(?:.*/)?data/([^/]+)", re.DOTALL)
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a listing: its key below the configuration, size in bytes and MD5."""

    key: str
    size: int
    md5: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """A checked manifest.

    Attributes:
        where: its address, for messages.
        created: when the listing was begun.
        format: CSV or PARQUET.
        columns: of a CSV file, in order; empty for Parquet.
        files: that hold the listing.
    """

    where: str
    created: datetime
    format: str
    columns: tuple[str, ...]
    files: tuple[DataFile, ...]


def newest(place: Store) -> str:
    """The key of the manifest of the latest inventory that is complete.

    Args:
        place: the folder of the configuration.

    Raises:
        StorageError: when there is none.
    """
    found: dict[str, set[str]] = {}
    for entry in place.entries():
        if match := _FOLDER.fullmatch(entry.key):
            found.setdefault(match[1], set()).add(match[2])
    complete = [name for name, kinds in found.items() if kinds == {"json", "checksum"}]
    if not complete:
        raise StorageError(
            f"{place.url} has no complete S3 Inventory (DATE/manifest.json and manifest.checksum): give the folder of "
            "its configuration, or the address of a manifest.json"
        )
    return f"{max(complete)}/manifest.json"


def read_manifest(place: Store, key: str, bucket: str) -> Manifest:
    """Read and check a manifest.

    Args:
        place: the folder of the configuration.
        key: of the manifest in it.
        bucket: whose listing it must be.

    Raises:
        StorageError: in one line, for one that is damaged, of another bucket, or of a format that is not read.
    """
    where, data = f"{place.url}/{key}", place.get(key, MAX_MANIFEST)
    checksum = key.removesuffix(".json") + ".checksum"
    if place.exists(checksum) and place.get(checksum, 1024).decode("ascii", "replace").strip() != _md5(data):
        raise StorageError(f"{where} is damaged: it is not what its manifest.checksum says")
    try:
        facts = json.loads(data)
        if not isinstance(facts, dict):
            raise TypeError
    except (ValueError, TypeError, RecursionError):
        raise StorageError(f"{where} is no manifest of an S3 Inventory") from None
    found = facts.get("sourceBucket")
    if found != bucket:
        raise StorageError(f"{where} is the inventory of the bucket {str(found)[:80]!r}, not of {bucket!r}")
    form = facts.get("fileFormat")
    if form == "ORC":
        raise StorageError(f"{where}: maepress reads no ORC: set the inventory's format to Parquet or CSV")
    if form not in (CSV, PARQUET):
        raise StorageError(f"{where}: its format {str(form)[:40]!r} is neither CSV nor Parquet")
    columns = tuple(name.strip() for name in str(facts.get("fileSchema", "")).split(",")) if form == CSV else ()
    return Manifest(where, _created(facts, where), str(form), columns, _files(facts, where))


def _created(facts: dict[str, Any], where: str) -> datetime:
    text = str(facts.get("creationTimestamp", ""))
    if not (text.isascii() and text.isdigit() and len(text) <= 14):
        raise StorageError(f"{where} does not say when the inventory was made")
    return datetime.fromtimestamp(int(text) / 1000, UTC)


def _files(facts: dict[str, Any], where: str) -> tuple[DataFile, ...]:
    listed = facts.get("files")
    if not isinstance(listed, list) or len(listed) > MAX_FILES:
        raise StorageError(f"{where} names no files, or more than {MAX_FILES:,}")
    files = []
    for item in listed:
        key, size, md5 = (
            (item.get(name) for name in ("key", "size", "MD5checksum")) if isinstance(item, dict) else ((None,) * 3)
        )
        name = _DATA.fullmatch(key) if isinstance(key, str) else None
        if name is None or name[1] in (".", "..") or "\0" in name[1]:
            raise StorageError(f"{where} names a file that is in no folder `data`: {str(key)[:80]!r}")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_FILE:
            raise StorageError(f"{where} names a file of an impossible size: {str(size)[:40]}")
        if not isinstance(md5, str) or not _MD5.fullmatch(md5.lower()):
            raise StorageError(f"{where} names a file without an MD5 checksum: {name[1][:80]!r}")
        files.append(DataFile(f"data/{name[1]}", size, md5.lower()))
    if len({file.key for file in files}) < len(files):
        raise StorageError(f"{where} names a file twice")
    return tuple(files)


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
