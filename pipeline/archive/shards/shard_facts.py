"""What the transaction log says of a shard: Delta's statistics per file, and the file's SHA-256.

The statistics let readers skip whole files. The SHA-256 is an entry of our own beside them, which
Delta readers ignore and which stays in the log's checkpoints; `verify` compares all of it with the
file.
"""

import hashlib
import json
import math
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute  # its stubs refuse most mixes of columns and plain values

COUNTED = ("key", "source_bytes", "width", "height", "quality", "payload_bytes", "psnr", "state")
"""Columns with minimum and maximum in the transaction log, by which readers skip whole files."""

FILE_SHA256 = "sha256"
"""The entry of the statistics that holds the SHA-256 of the file."""


class ShardFacts:
    """Statistics of a shard, collected one row group at a time.

    Attributes:
        rows: number of rows.
        least: smallest value by column.
        greatest: largest value by column.
        nulls: number of nulls by column.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.least: dict[str, Any] = {}
        self.greatest: dict[str, Any] = {}
        self.nulls: dict[str, int] = {}
        self._unbounded: set[str] = set()

    def add(self, group: pa.Table) -> None:
        """Count further rows."""
        self.rows += group.num_rows
        for name in COUNTED:
            if name not in group.column_names:
                continue
            column = group[name]
            self.nulls[name] = self.nulls.get(name, 0) + column.null_count
            if column.null_count < len(column) and name not in self._unbounded:
                ends: dict[str, Any] = pc.min_max(column).as_py()
                if ends["max"] == math.inf:  # the PSNR of an exact picture, which JSON cannot represent
                    self._unbounded.add(name)
                    self.least.pop(name, None)
                    self.greatest.pop(name, None)
                    continue
                self.least[name] = min(self.least.get(name, ends["min"]), ends["min"])
                self.greatest[name] = max(self.greatest.get(name, ends["max"]), ends["max"])

    def to_json(self, sha256: str) -> str:
        """The entry `stats` of the log.

        Args:
            sha256: of the file, 64 hex digits.
        """
        return json.dumps(
            {
                "numRecords": self.rows,
                "minValues": self.least,
                "maxValues": self.greatest,
                "nullCount": self.nulls,
                FILE_SHA256: sha256,
            }
        )

    def problem_with(self, stats: dict[str, Any], *, exactly: bool) -> str | None:
        """What is wrong with a file's statistics in the log, given that these facts are its rows'.

        A value outside the bounds is a problem, as readers would not find it.

        Args:
            stats: as in the log; entries that are missing are not compared.
            exactly: the bounds must be the values themselves. Other tools may write wider ones, as
                they shorten long texts.
        """
        said = stats.get("numRecords")
        if said is not None and said != self.rows:
            return f"it has {self.rows} rows, the log says {said}"
        for name in COUNTED:
            least, most = ((stats.get(part) or {}).get(name) for part in ("minValues", "maxValues"))
            mine = (self.least.get(name), self.greatest.get(name))
            if (exactly and stats and (least, most) != mine) or not _within(mine, least, most):
                return f"its column {name} goes from {mine[0]!r} to {mine[1]!r}, the log says {least!r} to {most!r}"
            nulls = (stats.get("nullCount") or {}).get(name)
            if name in self.nulls and nulls is not None and nulls != self.nulls[name]:
                return f"its column {name} has {self.nulls[name]} nulls, the log says {nulls}"
        return None


def _within(mine: tuple[Any, Any], least: Any, most: Any) -> bool:
    """Whether values from `mine[0]` to `mine[1]` lie within bounds, of which each may be unknown."""
    if mine[0] is None:
        return True
    try:
        return bool((least is None or least <= mine[0]) and (most is None or mine[1] <= most))
    except TypeError:  # a text where a number should be
        return False


class HashingFile:
    """A file to write to that computes the SHA-256 of what passes; only what pyarrow needs of a file."""

    def __init__(self, file: BinaryIO) -> None:
        """Args: file: receives the bytes."""
        self._file = file
        self._digest = hashlib.sha256()
        self.closed = False

    def write(self, data: bytes) -> int:
        """Write and count bytes."""
        self._digest.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        """Number of bytes written."""
        return self._file.tell()

    def flush(self) -> None:
        """Pass on."""
        self._file.flush()

    def close(self) -> None:
        """Leave closing to whoever opened the file."""

    def writable(self) -> bool:
        """Always."""
        return True

    def readable(self) -> bool:
        """Never."""
        return False

    def seekable(self) -> bool:
        """Never."""
        return False

    def hexdigest(self) -> str:
        """The SHA-256 of what was written."""
        return self._digest.hexdigest()
