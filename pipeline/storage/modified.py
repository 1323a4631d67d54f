"""Times of last change in object stores, which know only when an object was uploaded.

An object can carry the time of the file that it was: the metadata entry `mtime`, in seconds since
1970, as rclone writes and reads it. Where it has none, the time of the upload counts.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

_ENTRY = "mtime"
_SECONDS = re.compile(r"(-?)(\d{1,9}|[1-8]\d{9})(?:\.(\d{1,9})\d*)?")
_NUMBERS = 1 << 63
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def in_a_row(modified_ns: int | None) -> int | None:
    """A time as rows hold it, in 64 bits; None for one before 1677 or after 2262, such as a wrong clock gives."""
    return modified_ns if modified_ns is not None and -_NUMBERS <= modified_ns < _NUMBERS else None


def as_metadata(modified_ns: int | None) -> dict[str, str]:
    """Metadata of an object that carry a time in nanoseconds; empty for None."""
    if modified_ns is None:
        return {}
    seconds, fraction = divmod(abs(modified_ns), 1_000_000_000)
    return {_ENTRY: f"{'-' if modified_ns < 0 else ''}{seconds}.{fraction:09d}"}


def of_object(metadata: Mapping[str, str], uploaded: datetime | None) -> int | None:
    """The time of an object in nanoseconds since 1970, from its metadata, or else of its upload."""
    found = _SECONDS.fullmatch(metadata.get(_ENTRY, ""))
    if found is not None:
        size = int(found[2]) * 1_000_000_000 + int((found[3] or "").ljust(9, "0"))
        return -size if found[1] else size
    return None if uploaded is None else of_datetime(uploaded)


def of_datetime(when: datetime) -> int:
    """A time, UTC where it names no zone, in nanoseconds since 1970."""
    exact = when if when.tzinfo else when.replace(tzinfo=UTC)
    return (exact - _EPOCH) // timedelta(microseconds=1) * 1000


def of_details(details: Mapping[str, Any]) -> int | None:
    """The time in what fsspec knows of an object, in nanoseconds since 1970; None where there is none."""
    when = next((details[name] for name in TIMES if name in details), None)
    if isinstance(when, datetime):
        return of_datetime(when)
    return int(when * 1_000_000_000) if isinstance(when, float) else None


TIMES = ("mtime", "updated", "modified", "created", "LastModified")
"""Names under which the file systems of fsspec give a time of last change."""
