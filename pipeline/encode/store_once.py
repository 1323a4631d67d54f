"""`--store-once`: after an encode, payloads of equal sources become one object each, which their rows name.

    all rows --three small columns--> equal sources with payloads of one size
    shards that hold them --payloads out--> objects --rows with pointers--> new shards --commit-->

Rows are what they were (`pipeline.archive.shards.shared_payloads`), so this can be done at any time and be
left out at any time; a run that dies leaves objects and shards that nobody needs, for a vacuum. It
runs after the encode's own commits, as a copy is often encoded years after its twin, and only the
archive as a whole tells.

A row takes the object of a row that is there, after reading it, or gets a new one. A vacuum spares
what a live run has written; objects are looked for once more directly before each commit, in case
that this run was suspended for so long that it counted as dead.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from model.core.boundary import Fault, attempt
from pipeline.archive.archive import Archive
from pipeline.archive.log.commits import CommitConflict, Committer
from pipeline.archive.receipt import Receipt
from pipeline.archive.schema import IMAGES
from pipeline.archive.shards.row_hash import changed_rows
from pipeline.archive.shards.shard_file import open_shard, rows_in_order
from pipeline.archive.shards.shard_reader import read_columns
from pipeline.archive.shards.shard_writer import ROW_GROUP_BYTES, Shard, write_sorted
from pipeline.archive.shards.shared_payloads import (
    LEAST_BYTES,
    PAYLOAD,
    POINTER,
    SIZE,
    get,
    is_name,
    key_of,
    name_of,
    replaced,
    run_in,
    sha256_in,
)
from pipeline.storage.at_once import at_once
from pipeline.storage.base import Outage, StorageError, Unwritable

_COLUMNS = ("source_sha256", SIZE, POINTER)
_PREFIX = 16
"""Hex digits of a SHA-256 that are compared. That payloads are equal is not concluded from them: objects are named by
the payloads themselves."""
_NONE: NDArray[np.int64] = np.zeros(0, np.int64)
_COMMIT_SHARDS = 16


@dataclass(frozen=True, slots=True)
class StoredOnce:
    """What was done.

    Attributes:
        rows: rows whose payload left its shard.
        payload_bytes: bytes of these payloads.
        left: why something is left for the next run, in one line; None where nothing is.
    """

    rows: int = 0
    payload_bytes: int = 0
    left: str | None = None


def store_once(
    archive: Archive,
    committer: Committer,
    check: Callable[[], None] | None = None,
    least_bytes: int = LEAST_BYTES,
) -> StoredOnce:
    """Store payloads of equal sources once. Needs some 40 bytes of memory per row of the archive.

    Args:
        archive: to be changed.
        committer: of this run, which has a heartbeat.
        check: called before each commit; raises when the run's lease is lost; None where it holds none.
        least_bytes: smaller payloads stay in their rows.

    Raises:
        MaepressError: when a store fails, or the lease is lost.
    """
    shards = archive.shards()
    facts = at_once(lambda s: _Facts.of(_columns(archive, s), least_bytes), shards)
    repeated = _repeated([one.marks for one in facts])
    marks = [one.marks[one.is_to_share(repeated)] for one in facts]
    chosen = [shard for shard, some in zip(shards, marks, strict=True) if len(some)]
    wanted = np.unique(np.concatenate([_NONE, *marks]))
    holders = [s for s, one in zip(shards, facts, strict=True) if bool(np.any(_is_in(one.marks, wanted) & one.shared))]
    del facts
    sharing = _Sharing(archive, committer.run, wanted, _names(archive, holders, wanted, least_bytes), least_bytes)
    for start in range(0, len(chosen), _COMMIT_SHARDS):
        sharing.share(chosen[start : start + _COMMIT_SHARDS], committer, check)
    return sharing.done()


def _columns(archive: Archive, shard: Shard) -> pa.Table:
    return read_columns(archive.images, shard.path, _COLUMNS)


def _names(archive: Archive, holders: Sequence[Shard], wanted: NDArray[np.int64], least_bytes: int) -> dict[int, str]:
    """By mark, what rows that share payloads already name."""
    found: dict[int, str] = {}
    for shard in holders:
        rows = _columns(archive, shard)
        facts = _Facts.of(rows, least_bytes)
        pointers: list[Any] = rows[POINTER].to_pylist()
        found |= {
            int(facts.marks[row]): pointers[row] for row in np.flatnonzero(_is_in(facts.marks, wanted) & facts.shared)
        }
    return found


@dataclass(frozen=True, slots=True)
class _Facts:
    """Of the rows of a shard.

    Attributes:
        marks: equal for equal sources whose payloads have one size; 0 where these are too small.
        shared: whether the payload is shared already.
    """

    marks: NDArray[np.int64]
    shared: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: pa.Table, least_bytes: int) -> "_Facts":
        sizes = np.array([size or 0 for size in rows[SIZE].to_pylist()], np.int64)
        marks = np.array([_number(text) for text in rows["source_sha256"].to_pylist()], np.int64) ^ sizes
        shared = rows[POINTER].is_valid().to_numpy()
        return cls(np.where(sizes < least_bytes, 0, marks), shared.astype(np.bool_))

    def is_to_share(self, repeated: NDArray[np.int64]) -> NDArray[np.bool_]:
        return _is_in(self.marks, repeated) & ~self.shared


def _is_in(marks: NDArray[np.int64], some: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each of the marks is among some, which are sorted."""
    if not len(some):
        return np.zeros(len(marks), np.bool_)
    found: NDArray[np.bool_] = some[np.minimum(np.searchsorted(some, marks), len(some) - 1)] == marks
    return found


def _number(sha256: Any) -> int:
    """The first 64 bits; 0 for what is none."""
    found = attempt(lambda: int.from_bytes(bytes.fromhex(sha256[:_PREFIX]), "big", signed=True))
    return 0 if isinstance(found, Fault) else found


def _repeated(marks: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The marks that more than one row has, sorted."""
    values, counts = np.unique(np.concatenate([_NONE, *marks]), return_counts=True)
    found: NDArray[np.int64] = values[(counts > 1) & (values != 0)]
    return found


@dataclass(slots=True)
class _Part:
    """A shard that is written anew: rows whose payload leaves it, bytes of these, and their names."""

    rows: int = 0
    payload_bytes: int = 0
    names: set[str] = field(default_factory=set)


class _Sharing:
    """Writes shards anew, and knows what that came to."""

    def __init__(
        self, archive: Archive, run: str, wanted: NDArray[np.int64], names: dict[int, str], least_bytes: int
    ) -> None:
        """Prepare.

        Args:
            archive: to be changed.
            run: writes the objects.
            wanted: marks of the rows to share, sorted.
            names: by mark, objects that may be of that content.
            least_bytes: smaller payloads stay in their rows.
        """
        self._images, self._run, self._wanted, self._names = archive.images, run, wanted, names
        self._least = least_bytes
        self._sound: set[str] = set()
        self._rows = self._payload_bytes = self._left = 0

    def done(self) -> StoredOnce:
        """What was done so far."""
        left = f"{self._left:,} shards are damaged, or another job changed them meanwhile" if self._left else None
        return StoredOnce(self._rows, self._payload_bytes, left)

    def share(self, shards: Sequence[Shard], committer: Committer, check: Callable[[], None] | None) -> None:
        """Write some shards anew, and commit them together."""
        receipts, parts = list[Receipt](), list[_Part]()
        for shard in shards:
            part = _Part()
            new = attempt(functools.partial(self._write, shard, part), passes=(Outage, Unwritable))
            if isinstance(new, Fault) and new.machine:
                raise StorageError(f"a shard of {self._images.url} cannot be written: {new.reason}")
            if isinstance(new, Shard) and part.rows:
                receipts.append(Receipt(0, add=new, remove=shard.path))
                parts.append(part)
            else:  # damage, which `verify` names
                self._left += 1
        if receipts:
            if check is not None:
                check()
            if self._are_there({name for part in parts for name in part.names}) and _committed(committer, receipts):
                self._rows += sum(part.rows for part in parts)
                self._payload_bytes += sum(part.payload_bytes for part in parts)
            else:
                self._left += len(receipts)

    def _write(self, shard: Shard, part: _Part) -> Shard | None:
        with open_shard(self._images, shard.path) as opened:
            rows = (self._shared(rows, part) for rows in rows_in_order(opened, IMAGES))
            return write_sorted(self._images, rows, IMAGES, ROW_GROUP_BYTES)

    def _shared(self, rows: pa.Table, part: _Part) -> pa.Table:
        """Rows of a shard with names in the place of the payloads that are to be shared."""
        facts = _Facts.of(rows, self._least)
        wanted = facts.is_to_share(self._wanted)
        if not wanted.any():
            return rows
        # A damaged payload stays where it is: there a replica mends it.
        wanted[wanted] = ~np.array(changed_rows(rows.filter(pa.array(wanted))), np.bool_)
        payloads: list[Any] = rows[PAYLOAD].to_pylist()
        pointers: list[Any] = rows[POINTER].to_pylist()
        contents: dict[str, bytes] = {}
        for row in np.flatnonzero(wanted):
            payload = payloads[row]
            pointers[row], payloads[row] = self._name(payload, self._names.get(int(facts.marks[row]))), b""
            contents[pointers[row]] = payload
            part.rows, part.payload_bytes = part.rows + 1, part.payload_bytes + len(payload)
        at_once(self._require, list(contents.items()))
        part.names |= contents.keys()
        return replaced(replaced(rows, PAYLOAD, payloads), POINTER, pointers)

    def _name(self, payload: bytes, there: str | None) -> str:
        """The name of a payload: the one that is there, if it is of the same bytes, or a new one."""
        new = name_of(payload, self._run)
        return there if there is not None and is_name(there) and sha256_in(there) == sha256_in(new) else new

    def _require(self, content: tuple[str, bytes]) -> None:
        """Write a payload, unless it is there and intact."""
        name, payload = content
        if name in self._sound:
            return
        is_new = run_in(name) == self._run
        if is_new or attempt(lambda: get(self._images, name), passes=(Outage,)) != payload:
            self._images.put(key_of(name), payload)
        self._sound.add(name)

    def _are_there(self, names: set[str]) -> bool:
        """Whether no object has gone meanwhile; if one has, all are looked for again where they are needed again."""
        there = all(at_once(self._images.exists, [key_of(name) for name in names]))
        if not there:
            self._sound.clear()
        return there


def _committed(committer: Committer, receipts: Sequence[Receipt]) -> bool:
    """Whether the new shards count; False when another job has changed one of the old ones."""
    try:
        committer.commit(receipts)
    except CommitConflict:
        return False
    return True
