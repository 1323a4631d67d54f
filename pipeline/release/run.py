"""Release: let originals go that the archive can replace.

    rows of the archive --check--> verdicts --intent--> ledger --delete, if unchanged--> source --outcome--> ledger

Without `delete` it only checks, and writes what it found into the ledger. With it, originals go in batches: the intent
of a batch is committed to the ledger before the first request, and the outcome after the last one. A run that is
killed between the two leaves entries that may be true, and rows whose original may be gone count as released. The same
command continues: what is gone is recognised, and what is still there is checked again.

While originals are deleted, the archive's lease is held, and no encode runs, whatever its source: nothing replaces a
row between its check and the deletion of its original.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import chain
from typing import Any

from model.core.boundary import Fault, attempt
from model.core.errors import MaepressError
from pipeline.archive.apart import require_source_apart
from pipeline.archive.archive import Archive
from pipeline.archive.key_choice import KeyChoice
from pipeline.archive.ledgers.releases import ReleaseEntry
from pipeline.archive.log.log_check import LoggedFile
from pipeline.archive.schema import CHECKED, FAILED, INTENDED, LEFT, RELEASED, WITHDRAWN
from pipeline.monitoring.progress import Progress
from pipeline.release.checks import ANOTHER
from pipeline.release.result import ReleaseResult, Totals, Verdict
from pipeline.release.settings import EVERY_KEY, ReleaseSettings
from pipeline.release.verdicts import Choice, choice_of, verdicts
from pipeline.runs.alone import RELEASING, checking, require_alone, source_name
from pipeline.runs.checks import checked
from pipeline.runs.heartbeat import Heartbeat
from pipeline.runs.lease import Lease
from pipeline.runs.name import new_run
from pipeline.sources.open import open_source
from pipeline.storage.base import Fetched, StorageError, Store
from pipeline.storage.open import open_store
from pipeline.storage.places import file_in_both, require_outside, store_at
from pipeline.verify.archive_checks import archive_problems, images_log

__all__ = ["ReleaseResult", "ReleaseSettings", "release"]

BATCH = 1000
"""Originals that are deleted between two commits to the ledger."""
_REPORT = 10_000
"""Verdicts of a dry run per commit to the ledger."""
_THREADS = 16
_RENAME = "give it another key, or see `maepress release --withdraw`"
"""What helps an object under a key that was released before: no encode takes it."""
_REAPPEARED = f"the object is another than the original that was released: {_RENAME}"
JOB = RELEASING
Undeletable = Callable[[str], str | None]
"""As `Store.undeletable` gives it."""


def release(settings: ReleaseSettings, *, quiet: bool = False) -> ReleaseResult:
    """Check that the archive can replace the originals in a source, and delete those that it can.

    A small job runs in this process (`pipeline.execution.executors`); others use the Ray that is connected, or start
    one. Images that do not pass raise nothing: see `ReleaseResult.problems`.

    Args:
        settings: source, archive and conditions. With `delete`, originals are deleted without asking: the command asks.
        quiet: show no progress.

    Raises:
        MaepressError: in one line, when there is no archive or source, objects of the source cannot be deleted one by
            one, the archive is damaged, or, with `delete`, while another job is at work on either.
    """
    started = time.monotonic()
    archive, source = checked_places(settings)
    run = new_run()
    with ExitStack() as stack:
        lease = stack.enter_context(Lease(archive.root, run, JOB)) if settings.delete or settings.withdraw else None
        ledger = _Ledger(archive, run, lease)
        if settings.withdraw:
            withdrawn, unknown = ledger.withdraw(settings)
            seconds = time.monotonic() - started
            return ReleaseResult(run, False, withdrawn=withdrawn, unknown=unknown, seconds=seconds)
        if settings.delete:
            stack.enter_context(Heartbeat(archive.root, run, JOB, source_name(source)))
            require_alone(archive.root, source, run)
        else:
            stack.enter_context(checking(archive.root, run))
        files = _sound_files(archive)
        choice = choice_of(settings, archive)
        unknown = _unknown(archive, choice)
        rows = sum(file.shard.rows for file in files)
        conditional = settings.delete and source.refuses_stale_deletes()
        progress = stack.enter_context(Progress(rows, sum(file.shard.size for file in files), quiet=quiet))
        undeletable = source.undeletable()
        found = stack.enter_context(closing(verdicts(archive, files, source, choice, settings)))
        totals, before = Totals(), archive.releases.released_keys()
        if settings.delete:
            _Deletion(source, undeletable, ledger, totals, before).run(_shown(found, progress, before))
        else:
            _report(_shown(found, progress, before), undeletable, ledger, totals, before)
    if settings.keys != EVERY_KEY and not (totals.seen or unknown):
        raise MaepressError(f"no key in {archive.url} matches {settings.keys!r}: nothing was released")
    return ReleaseResult(
        run,
        settings.delete,
        **totals.values(),  # type: ignore[arg-type]  # by name
        unknown=unknown,
        conditional=conditional,
        keeps_versions=source.keeps_versions(),
        seconds=time.monotonic() - started,
    )


def checked_places(settings: ReleaseSettings) -> tuple[Archive, Store]:
    """Archive and source, if they may be compared: takes seconds, and needs no Ray.

    Raises:
        MaepressError: when one is missing, they are not apart, or objects of the source cannot be deleted one by one.
    """
    require_source_apart(settings.source, settings.archive)
    archive = Archive.open(settings.archive)
    if settings.second_copy is not None:
        copy = open_store(settings.second_copy)
        require_outside(copy, "the second copy", archive.root, "the archive", "and would be lost with it")
        place = store_at(settings.source)
        require_outside(copy, "the second copy", place, "the source", "whose files are deleted")
        if (shared := file_in_both(copy, archive.root)) is not None:
            raise StorageError(
                f"the second copy {copy.url} is none: its {shared} is the archive's own file (a hard link), and would "
                "be lost with it: make one with `maepress replicate`"
            )
    source = open_source(settings.source, may_be_empty=True)
    if (problem := source.problem_with_deleting()) is not None:
        raise StorageError(f"nothing of {source.url} can be released: {problem}")
    return archive, source


def _sound_files(archive: Archive) -> list[LoggedFile]:
    """The shards of an archive whose log, models and records are sound.

    Raises:
        StorageError: when they are not: no original is deleted because of an archive that is damaged.
    """
    files, problems = images_log(archive)
    for what, problem in chain(problems, archive_problems(archive)):
        raise StorageError(
            f"{archive.url} is damaged ({what}: {problem}): nothing is released before `maepress verify` finds nothing"
        )
    known = checked(archive.root, [file.shard.path for file in files])
    for found in known.problems:
        raise StorageError(
            f"the last check of {archive.url} found damage ({found.what}: {found.problem}): repair it, and check again "
            "with `maepress verify`, before anything is released"
        )
    if known.damaged:  # in shards that its list of problems was too short for
        raise StorageError(
            f"the last check of {archive.url} found damage in {known.damaged:,} shards: repair it, and check again "
            "with `maepress verify`, before anything is released"
        )
    return files


def _unknown(archive: Archive, choice: Choice) -> int:
    """The number of keys of a list that the archive does not have."""
    if not choice.keys.known:
        return 0
    shards = [s for s in archive.shards() if choice.keys.may_be_between(s.first_key, s.last_key)]
    have = (table["key"].to_pylist() for table in archive.tables_by_key(shards))
    return len(choice.keys.known) - sum(key in choice.keys.known for keys in have for key in keys)


def _shown(found: Iterable[Verdict], progress: Progress, before: frozenset[str]) -> Iterator[Verdict]:
    """Verdicts as they come; no encode takes another object under a key that was released before."""
    for verdict in found:
        progress.advance(objects=1, bytes_in=verdict.source_bytes, pixels=verdict.pixels)
        again = verdict.facts == ANOTHER and verdict.key in before
        yield replace(verdict, facts=_REAPPEARED) if again else verdict


class _Ledger:
    """Writes entries of one run."""

    def __init__(self, archive: Archive, run: str, lease: Lease | None) -> None:
        self._archive, self._run, self._lease = archive, run, lease
        self._number = 0

    def record(self, entries: list[ReleaseEntry]) -> None:
        """Commit entries; raises when the lease is lost."""
        if self._lease:
            self._lease.check()
        if entries:
            self._number += 1
            self._archive.releases.record(entries, self._run, self._number)

    def withdraw(self, settings: ReleaseSettings) -> tuple[int, int]:
        """End the release of chosen keys. Returns their number, and that of keys of a list that were never released.

        Raises:
            MaepressError: when no key was ever released that matches. Those withdrawn before do: a run that was
                killed can be repeated.
        """
        keys = KeyChoice.of(settings.keys)
        columns = ("etag", "source_bytes", "source_sha256")
        count = matching = 0
        for table in self._archive.releases.latest(columns):
            chosen = [row for row in table.to_pylist() if row["state"] != LEFT and row["key"] in keys]
            rows = [row for row in chosen if row["state"] != WITHDRAWN]
            self.record([_withdrawn(row) for row in rows])
            count, matching = count + len(rows), matching + len(chosen)
        if not matching and settings.keys != EVERY_KEY:
            raise MaepressError(
                f"no key that was released from {self._archive.url} matches {settings.keys!r}: nothing was withdrawn"
            )
        return count, len(keys.known) - matching if keys.known else 0


def _withdrawn(row: Mapping[str, Any]) -> ReleaseEntry:
    return ReleaseEntry(
        row["key"], WITHDRAWN, row["etag"], row["source_bytes"], row["source_sha256"], "withdrawn by its owner"
    )


def _entry(verdict: Verdict, state: str, facts: str | None = None) -> ReleaseEntry:
    said = verdict.facts if facts is None else facts
    return ReleaseEntry(verdict.key, state, verdict.etag, verdict.source_bytes, verdict.source_sha256, said)


def _report(
    found: Iterable[Verdict], undeletable: Undeletable, ledger: _Ledger, totals: Totals, before: frozenset[str]
) -> None:
    """Write all verdicts to the ledger; an original that has to stay does not pass."""
    waiting: list[ReleaseEntry] = []
    for verdict in found:
        if verdict.passed and (why := undeletable(verdict.key)):
            verdict = replace(verdict, passed=False, facts=why)
        if not _counts(verdict, totals, before):
            continue
        waiting.append(_entry(verdict, CHECKED if verdict.passed else FAILED))
        if len(waiting) >= _REPORT:
            ledger.record(waiting)
            waiting = []
    ledger.record(waiting)


def _counts(verdict: Verdict, totals: Totals, before: frozenset[str]) -> bool:
    """Count a verdict. False for an image whose original was released before and is not there."""
    if verdict.absent and verdict.key in before:
        totals.released_before += 1
        return False
    if verdict.passed:
        totals.passed += 1
        totals.passed_bytes += verdict.source_bytes
    else:
        totals.fail(verdict)
    return True


class _Deletion:
    """Deletes the originals of images that passed, batch by batch."""

    def __init__(
        self, source: Store, undeletable: Undeletable, ledger: _Ledger, totals: Totals, before: frozenset[str]
    ) -> None:
        """Args: undeletable: of the source. before: keys that earlier runs released."""
        self._source, self._undeletable, self._ledger = source, undeletable, ledger
        self._totals, self._before = totals, before
        self._entries: list[ReleaseEntry] = []  # for the next commit

    def run(self, found: Iterable[Verdict]) -> None:
        """Take all verdicts."""
        batch: list[Verdict] = []
        for verdict in found:
            if not _counts(verdict, self._totals, self._before):
                continue
            if verdict.passed and (why := self._undeletable(verdict.key)):
                self._outcome(verdict, False, why)
            elif verdict.passed:
                batch.append(verdict)
            else:
                self._entries.append(_entry(verdict, FAILED))
            if len(batch) >= BATCH or len(self._entries) >= _REPORT:
                self._delete(batch)
                batch = []
        self._delete(batch)
        self._commit()

    def _commit(self) -> None:
        entries, self._entries = self._entries, []
        self._ledger.record(entries)

    def _delete(self, batch: list[Verdict]) -> None:
        """Record the intent, with the outcome of the batch before; then delete."""
        self._entries += [_entry(verdict, INTENDED) for verdict in batch]
        self._commit()
        with ThreadPoolExecutor(_THREADS) as pool:
            for verdict, (gone, reason) in zip(batch, pool.map(self._delete_one, batch), strict=True):
                self._outcome(verdict, gone, reason)

    def _delete_one(self, verdict: Verdict) -> tuple[bool | None, str]:
        """Whether an original is gone, None where that is unknown; and why it is not, or may not be."""
        try:
            gone = self._source.delete_unchanged(verdict.key, verdict.etag)
        except MaepressError as e:
            found = attempt(lambda: self._is_gone(verdict))
            return None if isinstance(found, Fault) else found, e.message
        remedy = _RENAME if verdict.key in self._before else "encode the source again"
        return gone, "" if gone else f"it changed after it was compared: {remedy}"

    def _is_gone(self, verdict: Verdict) -> bool | None:
        """Whether a delete without an answer was done; another object now tells nothing about the one before."""
        (got,) = self._source.fetch([verdict.key], verdict.source_bytes)
        if isinstance(got, Fetched) and got.etag == verdict.etag:
            return False
        return None if self._source.exists(verdict.key) else True

    def _outcome(self, verdict: Verdict, gone: bool | None, reason: str) -> None:
        if gone:
            self._totals.deleted += 1
            self._totals.deleted_bytes += verdict.source_bytes
            self._entries.append(_entry(verdict, RELEASED))
            return
        self._totals.leave(verdict, reason)
        if gone is None:
            return  # the intent stays the last word
        # The row of a key that was released before stays the only copy of what was deleted then.
        self._entries.append(_entry(verdict, RELEASED if verdict.key in self._before else LEFT, reason))
