"""Receipts of erasures, and the keys that they bar from coming back.

    ARCHIVE/erasures/RUN.json    {"run": ..., "state": "done", "salt": ..., "barred": [...], "models": [...], ...}

A receipt holds no key. Of each erased key it has an HMAC-SHA256 under a random salt, by which encode and sync recognise
the key in a source: the list does not say whom it is about. Who guesses a key and can read the archive can test the
guess, as every program that is to recognise the key can.
"""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.core.boundary import Fault, attempt
from pipeline.storage.base import Fetched, StorageError, Store

FOLDER = "erasures"
BEGUN, DONE = "begun", "done"
_MOST_BYTES = 256 << 20
_CHECKSUM = "sha256"
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """What one erasure did.

    Attributes:
        run: its name.
        state: "begun" or "done". One that has begun and is not done was interrupted: the next erasure finishes it.
        began: time, ISO 8601, UTC.
        ended: time; empty until it is done.
        salt: of the hashes, 64 hex digits.
        barred: HMAC-SHA256 of each erased key, 64 hex digits.
        images: rows that left the table of images.
        rejections: rows that left the table of rejections.
        releases: entries that left the ledger of releases.
        shards: files that were written anew without them.
        files: files that were removed: old shards, versions of the logs, plans of dead runs.
        records: records of runs from which keys were removed.
        models: fingerprints of the models in the archive that were adapted to its source while it may have held them.
        remarks: what the erasure could not do, one line each.
    """

    run: str
    state: str
    began: str
    salt: str
    barred: tuple[str, ...]
    ended: str = ""
    images: int = 0
    rejections: int = 0
    releases: int = 0
    shards: int = 0
    files: int = 0
    records: int = 0
    models: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class BarredKeys:
    """The keys that may not come back, known by their hashes.

    Attributes:
        hashes: by salt.
    """

    hashes: Mapping[bytes, frozenset[str]] = field(default_factory=dict)

    def __contains__(self, key: str) -> bool:
        return any(key_hash(salt, key) in known for salt, known in self.hashes.items())

    def __bool__(self) -> bool:
        return any(self.hashes.values())

    def mask(self, keys: Iterable[Any]) -> NDArray[np.bool_]:
        """For each key whether it is barred."""
        return np.fromiter((str(key) in self for key in keys), np.bool_)


def new_salt() -> str:
    """A random salt, 64 hex digits."""
    return secrets.token_hex(32)


def key_hash(salt: bytes, key: str) -> str:
    """The hash by which a key is recognised, 64 hex digits."""
    return hmac.digest(salt, key.encode("utf-8", "surrogatepass"), "sha256").hex()


class Erasures:
    """The receipts of one archive."""

    def __init__(self, root: Store) -> None:
        """Nothing is contacted yet.

        Args:
            root: of the archive.
        """
        self._store = root.child(FOLDER)

    def receipts(self) -> list[ErasureReceipt]:
        """All receipts, oldest first.

        Raises:
            StorageError: when one cannot be read or is damaged: keys that it bars could come back.
        """
        if not self._store.root_exists():
            return []
        names = [entry.key for entry in self._store.entries() if entry.key.endswith(".json")]
        return [self._receipt(got) for got in self._store.fetch(names, _MOST_BYTES)]

    def names(self) -> frozenset[str]:
        """The names of all receipts, damaged ones included."""
        there = self._store.entries() if self._store.root_exists() else iter(())
        return frozenset(entry.key for entry in there if entry.key.endswith(".json"))

    def named(self, name: str) -> ErasureReceipt | None:
        """The receipt of a name; None where there is none, or a damaged one."""
        found = attempt(lambda: self._receipt(self._store.fetch([name], _MOST_BYTES)[0]))
        return None if isinstance(found, Fault) else found

    def _receipt(self, got: object) -> ErasureReceipt:
        name = f"{self._store.url}/{getattr(got, 'key', '')}"
        if not isinstance(got, Fetched):
            raise StorageError(f"{name} cannot be read: {getattr(got, 'reason', '')}")
        try:
            facts = json.loads(got.data)
            if facts.pop(_CHECKSUM) != _digest(facts):
                raise ValueError
            values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in facts.items()}
            receipt = ErasureReceipt(**values)
            if not all(map(_HASH.fullmatch, (receipt.salt, *receipt.barred))):
                raise ValueError
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise StorageError(
                f"{name} is damaged, so erased images could come back: restore it, or remove it and run "
                "`maepress forget` with their keys again"
            ) from None
        return receipt

    def write(self, receipt: ErasureReceipt) -> None:
        """Write a receipt, or replace that of the same run.

        Raises:
            StorageError: when it cannot be written.
        """
        facts = receipt.to_dict()
        data = json.dumps(facts | {_CHECKSUM: _digest(facts)}, indent=1).encode()
        self._store.put(f"{receipt.run}.json", data)

    def barred(self) -> BarredKeys:
        """The keys that may not come back.

        Raises:
            StorageError: as `receipts` does.
        """
        return barred_by(self.receipts())


def remarks_on(root: Store) -> tuple[str, ...]:
    """What an erasure of an archive, or of a copy of one, could not do at its place, one line each."""
    held = root.may_hold_versions()
    if held is False:
        return ()
    if held is None:
        return (
            f"whether {root.url} keeps what was deleted (old versions, soft delete) cannot be asked: look there, and "
            "remove it",
        )
    return (f"{root.url} keeps, or kept, old versions of what was deleted: remove its noncurrent versions",)


def barred_by(receipts: Sequence[ErasureReceipt]) -> BarredKeys:
    """The keys that some receipts bar."""
    hashes: dict[bytes, set[str]] = {}
    for receipt in receipts:
        hashes.setdefault(bytes.fromhex(receipt.salt), set()).update(receipt.barred)
    return BarredKeys({salt: frozenset(known) for salt, known in hashes.items() if known})


def _digest(facts: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
