"""Forget: erase the images of some keys from every version of an archive, and bar the keys.

    bar the keys --> rewrite shards, rejections, ledger --> delete older versions and their files --> traces --> receipt

Each step can be done again, so a run that was killed is finished by the next one: the receipt is written first, marked
as begun, and its hashes tell which keys are to go. The archive can be read at each moment. No other run may be at work
on it, because what a run has not committed yet cannot be told from the leftovers of one that was killed.

The erasure ends the archive's history: older versions cannot be restored afterwards.
"""

import socket
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa
from deltalake.exceptions import TableNotFoundError

from model.core.errors import MaepressError
from pipeline.archive.archive import Archive
from pipeline.archive.key_choice import KeyChoice
from pipeline.archive.ledgers.erasures import (
    BEGUN,
    DONE,
    BarredKeys,
    ErasureReceipt,
    barred_by,
    key_hash,
    new_salt,
    remarks_on,
)
from pipeline.archive.log.delta_table import open_table
from pipeline.archive.schema import LOG, REJECTIONS, RELEASES
from pipeline.forget.settings import ForgetSettings
from pipeline.forget.tables import cut_history, keys_in, remove_images, remove_rows, remove_unneeded
from pipeline.forget.traces import adapted_models, clean_records, remove_checks, remove_leftovers
from pipeline.runs.alone import ERASING
from pipeline.runs.heartbeat import ALIVE_SECONDS, Heartbeat, is_running_here, list_runs
from pipeline.runs.lease import SKEW_SECONDS, Lease, LeaseHeld
from pipeline.runs.name import new_run
from pipeline.storage.base import StorageError, Store

__all__ = ["ForgetResult", "ForgetSettings", "forget"]


@dataclass(frozen=True, slots=True)
class ForgetResult:
    """The result of an erasure, or of its dry run.

    Attributes:
        keys: keys that are, or would be, erased now; those that the archive does not have are barred all the same.
        finished: erasures that were interrupted and are done now.
        receipt: what was done; of a dry run None.
        seconds: from start to end.
        absent: those of `keys` that the archive has nowhere and that no earlier erasure barred: perhaps mistyped.
    """

    keys: int
    finished: int
    receipt: ErasureReceipt | None
    seconds: float
    absent: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is left that the erasure could not do, and each key was there."""
        return not self.absent and (self.receipt is None or not self.receipt.remarks)

    def to_dict(self) -> dict[str, object]:
        """The fields as JSON values."""
        return {"ok": self.ok} | asdict(self)


def forget(settings: ForgetSettings) -> ForgetResult:
    """Erase images from every version of an archive, without asking, and bar their keys from coming back.

    Raises:
        MaepressError: in one line, when there is no archive, no key matches, another run is at work on the archive, or
            something cannot be read or written; the same command then continues.
    """
    started = time.monotonic()
    archive = Archive.open(settings.archive)
    if settings.dry_run:
        receipts = archive.erasures.receipts()
        keys, absent = _chosen(archive, settings.keys, barred_by(receipts))
        _require_work(archive, keys, receipts)
        return ForgetResult(len(keys), 0, None, time.monotonic() - started, absent)
    run = new_run()
    with Lease(archive.root, run, ERASING) as lease, Heartbeat(archive.root, run, ERASING):
        require_nobody(archive.root, run)
        others = _other_tables(archive)
        receipts = archive.erasures.receipts()
        pending = [receipt for receipt in receipts if receipt.state != DONE]
        keys, absent = _chosen(archive, settings.keys, barred_by(receipts))
        _require_work(archive, keys, receipts)
        salt = receipts[0].salt if receipts else new_salt()
        hashes = tuple(sorted(key_hash(bytes.fromhex(salt), key) for key in keys))
        receipt = ErasureReceipt(run, BEGUN, _now(), salt, hashes)
        if keys:
            archive.erasures.write(receipt)
        receipt = _erase(archive, others, replace(receipt), barred_by([*receipts, receipt]), lease.check)
        if keys:
            archive.erasures.write(receipt)
        for other in pending:
            archive.erasures.write(replace(other, state=DONE, ended=_now(), models=receipt.models))
    return ForgetResult(len(keys), len(pending), receipt, time.monotonic() - started, absent)


def _require_work(archive: Archive, keys: Collection[str], receipts: Iterable[ErasureReceipt]) -> None:
    if not keys and all(receipt.state == DONE for receipt in receipts):
        raise MaepressError(f"no key in {archive.url} matches: nothing was erased")


def _chosen(archive: Archive, text: str | None, barred: BarredKeys) -> tuple[frozenset[str], int]:
    """The keys to erase: those in any file of any table, and those that are named in full.

    Also the number of the latter that are in no file and were not barred before.
    """
    if text is None:
        return frozenset(), 0
    choice = KeyChoice.of(text)
    tables = (archive.images, archive.rejections, archive.releases.store)
    found = {key for store in tables for keys in keys_in(store) for key in keys if key in choice}
    named = {choice.glob} if choice.glob and not set("*?[") & set(choice.glob) else set()
    named |= choice.known
    return frozenset(found | named), sum(key not in barred for key in named - found)


def require_nobody(root: Store, run: str) -> None:
    """Give way to every other run that may be at work.

    Args:
        root: of the archive.
        run: name of this run.

    Raises:
        LeaseHeld: when there is one.
    """
    now = time.time()
    for other in list_runs(root):
        here = other.host == socket.gethostname() and other.process
        if other.run == run or not (is_running_here(other.process) if here else other.is_alive(now)):
            continue
        until = datetime.fromtimestamp(other.seen + ALIVE_SECONDS, UTC)
        remedy = f"this job can begin at {until:%Y-%m-%d %H:%M:%S} UTC"
        if other.seen > now + SKEW_SECONDS:  # by a clock that is wrong
            remedy = f"remove {root.url}/plans/{other.run}"
        raise LeaseHeld(
            f"{other.job} {other.run} on {other.host} is at work on {root.url}: let it end; if it is dead, {remedy}"
        )


def _erase(
    archive: Archive,
    others: dict[str, tuple[Store, pa.Schema]],
    receipt: ErasureReceipt,
    barred: BarredKeys,
    check: Callable[[], None],
) -> ErasureReceipt:
    """All steps after the keys are barred; for `others` see `_other_tables`."""
    run = receipt.run
    images, shards = remove_images(archive.images, archive.committer(run, ERASING), barred, check)
    counts = {name: remove_rows(store, schema, 2, barred, run, check) for name, (store, schema) in others.items()}
    files = 0
    for store in (archive.images, *(store for store, _ in others.values())):
        check()
        files += cut_history(store) + remove_unneeded(store)
    models = tuple(adapted_models(archive))  # before the records lose what they say
    records = clean_records(archive, barred) + remove_checks(archive)
    files += remove_leftovers(archive, run)
    return replace(
        receipt,
        state=DONE,
        ended=_now(),
        images=images,
        rejections=counts.get("rejections", 0),
        releases=counts.get("releases", 0),
        shards=shards,
        files=files,
        records=records,
        models=models,
        remarks=remarks_on(archive.root),
    )


def _other_tables(archive: Archive) -> dict[str, tuple[Store, pa.Schema]]:
    """The archive's tables beside that of images, as far as it has them, with their schemas.

    Raises:
        StorageError: when one has files and no log: nobody can write it anew without the keys.
    """
    tables = {"rejections": (archive.rejections, REJECTIONS), "releases": (archive.releases.store, RELEASES)}
    return {name: pair for name, pair in tables.items() if _exists(pair[0])}


def _exists(store: Store) -> bool:
    try:
        open_table(store)
    except TableNotFoundError:
        if store.root_exists() and any(not entry.key.startswith(LOG) for entry in store.entries()):
            raise StorageError(f"{store.url} has lost its log: restore its folder _delta_log, then erase") from None
        return False
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
