"""Payloads that rows share: objects beside the shards, named by their SHA-256 and by the run that wrote them.

    images/_contents/3f/3f0a...9c-20261129T021500-123-5ac0ffee     the bytes of a payload
    images/part-....parquet                                    rows with an empty `payload`, and that name in `same_as`

No row depends on another one. An object is written before the rows that name it, and never changed;
who moves, copies or drops rows leaves it alone, and only those delete it who have looked into all
shards that are there (`pipeline.archive.shards.payload_references`). A run that shares payloads takes the
name of an object from a row of the present version, or makes a new one: so an object that no shard
names is never named again, and whoever deletes it cannot come too late. A folder whose name begins
with "_" is none of Delta's, so other tools leave it alone, too.

This is a way to store a row, and no other row: what is read is whole (`pipeline.archive.shards.shard_file`),
with the payload in its place and no `same_as`, and that is what the row's hash covers. So a wrong
pointer, a missing object and a damaged one each are a row whose hash does not hold.
"""

import functools
import hashlib
import re
from typing import Any

import pyarrow as pa
import pyarrow.compute

from model.core.boundary import Fault, attempt
from pipeline.storage.at_once import at_once
from pipeline.storage.base import Outage, Readable, StorageError, Unwritable

pc: Any = pyarrow.compute  # its stubs refuse most mixes of columns and plain values

PAYLOAD, SIZE, POINTER = "payload", "payload_bytes", "same_as"
"""The columns of IMAGES that matter here."""
FOLDER = "_contents"
"""Below `images/`."""
LEAST_BYTES = 4096
"""Smaller payloads stay in their rows: an object of their own would cost more than it saves."""
_MOST_BYTES = 2 << 30
"""Shared payloads of one row group: a small shard of others could name a large object in each of its rows."""
_DIGITS = 64
_NAME = re.compile("[0-9a-f]{64}-[0-9A-Za-z-]{1,64}")


def name_of(payload: bytes, run: str) -> str:
    """The name of a payload that a run writes."""
    return f"{hashlib.sha256(payload).hexdigest()}-{run}"


def sha256_in(name: str) -> str:
    """The SHA-256 in a name."""
    return name[:_DIGITS]


def run_in(name: str) -> str:
    """The run in a name."""
    return name[_DIGITS + 1 :]


def key_of(name: str) -> str:
    """The object of a name, relative to `images/`."""
    return f"{FOLDER}/{name[:2]}/{name}"


def name_in(key: str) -> str:
    """The name of an object."""
    return key.rpartition("/")[2]


def is_name(text: object) -> bool:
    """Whether a value can be the name of a payload. Archives may come from others: no other is made a path."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def get(images: Readable, name: object, most_bytes: int | None = None) -> bytes:
    """A payload.

    Raises:
        Outage: when the store is to blame.
        StorageError: when it is missing, larger than `most_bytes`, or damaged.
    """
    if not is_name(name):
        raise StorageError(f"the row names no shared payload: {str(name)[:40]!r}")
    key = key_of(str(name))
    data = images.get(key, most_bytes)
    if hashlib.sha256(data).hexdigest() != sha256_in(str(name)):
        raise StorageError(f"{images.url}/{key} is damaged: its SHA-256 is not the one in its name")
    return data


def made_whole(rows: pa.Table, images: Readable, *, strict: bool) -> pa.Table:
    """Rows with the payloads that they share in their places.

    Args:
        rows: as they are stored, with the columns PAYLOAD, SIZE and POINTER.
        images: the root of the table.
        strict: a payload that cannot be had is an error. Otherwise its rows stay as they are stored.

    Raises:
        Outage: when the store is to blame.
        StorageError: with `strict`.
    """
    # As bytes, because of damage that leaves no UTF-8.
    texts: list[bytes | None] = rows[POINTER].cast(pa.binary()).to_pylist()
    pointers = [None if text is None else text.decode(errors="replace") for text in texts]
    payloads: list[Any] = rows[PAYLOAD].to_pylist()
    sizes: list[Any] = rows[SIZE].to_pylist()
    wanted: dict[str, int] = {}
    for pointer, payload, size in zip(pointers, payloads, sizes, strict=True):
        if pointer is not None and not payload:
            wanted[pointer] = max(size or 0, wanted.get(pointer, 0))
    if not wanted:
        return rows
    found = _payloads(wanted, sum(size or 0 for size in sizes), images)
    faults = [got.reason for got in found.values() if isinstance(got, Fault)]
    if strict and faults:
        raise StorageError(f"a payload that rows share cannot be read: {faults[0]}")
    missing = [True] * len(pointers)
    for row, pointer in enumerate(pointers):
        got = None if payloads[row] or pointer is None else found[pointer]
        if isinstance(got, bytes):
            payloads[row], missing[row] = got, False
    others = pc.if_else(pa.array(missing), rows[POINTER], pa.scalar(None, rows.schema.field(POINTER).type))
    return replaced(rows, PAYLOAD, payloads).set_column(
        rows.schema.get_field_index(POINTER), rows.schema.field(POINTER), others
    )


def replaced(rows: pa.Table, name: str, values: list[Any]) -> pa.Table:
    """The rows with other values of a column."""
    at = rows.schema.get_field_index(name)
    return rows.set_column(at, rows.schema.field(at), pa.array(values, rows.schema.field(at).type))


def _payloads(wanted: dict[str, int], total: int, images: Readable) -> dict[str, bytes | Fault]:
    """Payloads by name, read concurrently; a fault in the place of each that cannot be had."""
    if total > _MOST_BYTES:
        fault = Fault(f"rows that are read together claim {total / 2**30:.1f} GiB of payloads")
        return dict.fromkeys(wanted, fault)
    return dict(at_once(functools.partial(_one, images), list(wanted.items())))


def _one(images: Readable, item: tuple[str, int]) -> tuple[str, bytes | Fault]:
    name, size = item
    return name, attempt(lambda: get(images, name, size), passes=(Outage, Unwritable))
