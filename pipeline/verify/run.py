"""Verify: check that an archive can return every image.

    keys --> driver: repeated keys, choice of the sample
    keys + listing of the source --> driver: objects that the archive lacks
    driver: logs of both tables, models, rejections, records of runs
    shards --> check every row (tasks) --> decode the sample (actors) --> findings

Every byte is read. Each shard must be the file that the log describes, each row must have its hash,
and checksum, header and row must agree; an original, and the JPEG of a transcode, must have the
SHA-256 of the source. Models are loaded from the archive itself. A sample of the compressed images
is decoded, and compared with the source if that is given. Then every object of the source must have
a row or a rejection, too.

With `part`, only some of the shards are read, the rest another night, and a record of the check is
written (`pipeline.runs.checks`). Logs, models and records are checked each time. A key that is in
two shards is noticed only by a check of all shards.
"""

import contextlib
import functools
import hashlib
import itertools
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import torch

from model.core.boundary import Fault, attempt
from model.core.errors import MissingPackage
from pipeline.archive.apart import require_source_apart
from pipeline.archive.archive import Archive
from pipeline.archive.log.log_check import LoggedFile
from pipeline.archive.models import Models
from pipeline.archive.reader import Row, RowDecoder
from pipeline.archive.schema import COMPRESSED, IMAGES, JXL, LATENT, PIXELS, STANDARD
from pipeline.archive.shards.merge_reader import SHARD
from pipeline.archive.shards.shard_reader import rows_of
from pipeline.execution.actor_errors import raise_in_first_call
from pipeline.execution.device import own_device
from pipeline.execution.local_resources import GPUS_PER_ACTOR, require_gpus
from pipeline.execution.packing import unpack
from pipeline.execution.shard_flow import run_shards
from pipeline.execution.shard_work import ShardWork, item_rows
from pipeline.monitoring.progress import Progress
from pipeline.runs.alone import checking
from pipeline.runs.checks import write_check
from pipeline.runs.name import new_run
from pipeline.sources.open import open_source
from pipeline.storage.listing.source_listing import SourceListing
from pipeline.storage.open import Fetched, FetchFailed, StorageError, Store
from pipeline.verify.archive_checks import Named, archive_problems, images_log
from pipeline.verify.part import parse_part
from pipeline.verify.repair import Repair
from pipeline.verify.result import Finding, Totals, VerifyResult
from pipeline.verify.row_checks import problem_with, problem_with_fidelity, problem_with_picture
from pipeline.verify.settings import VerifySettings
from pipeline.verify.shard_checks import ROW_CHANGED, ShardProblem, check_shard
from pipeline.verify.survey import KeySurvey, survey

__all__ = ["VerifyResult", "VerifySettings", "verify"]

_KINDS = {LATENT: "latents", STANDARD: "standard", JXL: "transcoded", PIXELS: "kept_pixels"}


def verify(settings: VerifySettings, *, quiet: bool = False) -> VerifyResult:
    """Check every byte of an archive, and decode a sample.

    The sample consists of the rows whose keys have the smallest SHA-256: the same every time, and
    spread over all keys. Problems raise nothing: see `VerifyResult.problems`. A small job runs in
    this process (`pipeline.execution.executors`); others use the Ray that is connected, or start
    one.

    Args:
        settings: archive, size of the sample, source and resources.
        quiet: show no progress.

    Raises:
        MaepressError: in one line, when there is no archive, or the source given does not exist, is
            empty, or is not apart from the archive; also when it writes while an erasure is at work.
    """
    archive = checked_archive(settings)
    repair = Repair(settings.archive, settings.repair_from) if settings.repair_from is not None else None
    writes = repair is not None or settings.part
    with checking(archive.root, new_run()) if writes else contextlib.nullcontext():
        return _verify(archive, repair, settings, quiet)


def _verify(archive: Archive, repair: Repair | None, settings: VerifySettings, quiet: bool) -> VerifyResult:
    started = time.monotonic()
    mended = repair.logs() if repair else []
    if repair is not None:
        archive = Archive.open(settings.archive)
    source = open_source(settings.source) if settings.source is not None else None
    part, began = parse_part(settings.part), datetime.now(UTC)
    files, named = images_log(archive)
    if part is not None:
        files = [file for file in files if part.has(file.shard.path)]
    listing = SourceListing(source, settings.globs()) if source else None
    facts = survey(archive, [file.shard for file in files], settings.sample, listing)
    totals = _look(archive, files, named, facts, source, settings, quiet)
    paths = {file.shard.path for file in files}
    if repair is not None and totals.failed:
        mended += repair.rest(files, totals.damage)
        damaged = {found.shard for found in totals.damage}
        now, named = images_log(archive)
        again = [file for file in now if file.shard.path in damaged or file.shard.path not in paths]
        if part is not None:  # new shards are those of the repair, or fall into this part as well
            again = [file for file in again if file.shard.path in damaged or part.has(file.shard.path)]
        second = survey(archive, [file.shard for file in again], "0", None)
        second = replace(second, sample=facts.sample, repeated=facts.repeated)
        totals.take_problems_of(_look(archive, again, named, second, None, settings, quiet))
        paths = (paths & {file.shard.path for file in now}) | {file.shard.path for file in again}
    if part is not None:
        write_check(archive.root, settings.part, began, paths, totals.damage, totals.failed)
    return totals.result(facts.source, time.monotonic() - started, settings.part, len(files), mended)


def _look(
    archive: Archive,
    files: list[LoggedFile],
    named: list[Named],
    facts: KeySurvey,
    source: Store | None,
    settings: VerifySettings,
    quiet: bool,
) -> Totals:
    """Check some shards, and everything that is in no shard of images."""
    totals = Totals()
    for what, problem in itertools.chain(named, archive_problems(archive)):
        totals.add(Finding(what, problem=problem))
    for key in facts.repeated:
        totals.add(Finding(key, problem="its key is in the archive more than once"))
    if files:
        with (
            Progress(facts.rows, facts.payload_bytes, quiet=quiet) as progress,
            closing(_findings(archive, files, facts, source, settings)) as findings,
        ):
            for finding in findings:
                totals.add(finding)
                checked = int("rows" in finding.counts)
                progress.advance(objects=checked, bytes_in=finding.payload_bytes, pixels=finding.pixels)
    return totals


def checked_archive(settings: VerifySettings) -> Archive:
    """The archive, if it and the source given are apart: takes seconds, and needs no Ray.

    Raises:
        MaepressError: when there is no archive, they are not apart, or the record of a part cannot be
            written.
    """
    require_gpus(settings.gpus_per_actor, GPUS_PER_ACTOR)
    if settings.source is not None:
        if settings.part:
            raise StorageError("--part checks some shards, and --source needs all of them: leave one of the two out")
        require_source_apart(settings.source, settings.archive)
    if settings.repair_from is not None:
        archive = Archive(settings.archive)  # perhaps it cannot be opened before it is mended
        archive.root.check_readable()
        return archive
    archive = Archive.open(settings.archive)
    if settings.part:
        archive.root.check_target()
    return archive


def _findings(
    archive: Archive, files: list[LoggedFile], facts: KeySurvey, source: Store | None, settings: VerifySettings
) -> Generator[Finding, None, None]:
    to_decode = facts.rows if facts.sample is None else min(facts.rows, len(facts.sample))
    work = ShardWork(
        functools.partial(_check, archive=archive, models=frozenset(archive.models()), sample=facts.sample),
        _SampleDecoder,
        (archive, Models(archive), source),
        None,
        to_decode,
        # A payload that is only checked takes a small part of the time of one that is decoded.
        facts.payload_bytes * (0.1 + 3 * to_decode / max(1, facts.rows)),
    )
    described = [file.to_json() for file in files]
    return run_shards(described, work, settings.executor, settings.actors, settings.gpus_per_actor)


def _check(
    table: pa.Table, archive: Archive, models: frozenset[str], sample: frozenset[str] | None
) -> Iterator[pa.Table]:
    """Findings of shards and their rows; a sound row of the sample follows its finding, for decoding."""
    for cell in table["shard"]:
        file = LoggedFile.from_json(str(cell.as_py()))
        path = file.shard.path
        shard = f"shard {path}"
        for found in check_shard(archive.images, file, IMAGES):
            if isinstance(found, ShardProblem):
                yield item_rows(Finding(shard, problem=found.problem, shard=path))
                continue
            for row, changed in zip(rows_of(found.rows), found.changed, strict=True):
                if isinstance(row, Fault):
                    yield item_rows(Finding(shard, ("rows",), problem=row.reason, shard=path))
                    continue
                kind = _KINDS.get(row["status"], "originals")
                problem = _problem(problem_with, row, models) or (ROW_CHANGED if changed else None)
                size = row["payload_bytes"] or 0
                yield item_rows(Finding(str(row["key"]), ("rows", kind), size, problem=problem, shard=path))
                chosen = sample is None or row["key"] in sample
                if row["status"] in COMPRESSED and problem is None and chosen:
                    yield item_rows(row | {SHARD: path})


def _problem(check: Callable[..., str | None], *arguments: Any) -> str | None:
    """The problem that a check finds, or the error that ends it."""
    found = attempt(lambda: check(*arguments), passes=(MissingPackage,))
    return found.reason if isinstance(found, Fault) else found


def _is_the_one(got: Fetched, row: Row) -> bool:
    """Whether an object is the one that was encoded: by its etag, and in a copy with other times by its bytes."""
    return bool(got.etag == row["etag"] or hashlib.sha256(got.data).hexdigest() == row["source_sha256"])


@raise_in_first_call
class _SampleDecoder:
    """An actor with the archive's models: turns rows into findings, and passes findings on."""

    def __init__(self, archive: Archive, models: Models, source: Store | None, threads: int) -> None:
        torch.set_num_threads(threads)
        self._decoder = RowDecoder(models, own_device())
        self._source = source
        released = attempt(archive.releases.released_keys) if source is not None else frozenset[str]()
        self._released = frozenset[str]() if isinstance(released, Fault) else released  # its damage is named already

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        rows: list[Row] = []
        for cell in table["item"]:
            item = unpack(cell)
            if isinstance(item, Finding):
                yield item_rows(item)
            else:
                rows.append(item)
        for row, picture in self._decoder.pictures(rows):
            if isinstance(picture, str):
                yield item_rows(Finding(row["key"], problem=picture, shard=row.get(SHARD, "")))
                continue
            pixels = row["width"] * row["height"]
            counts: tuple[str, ...] = ("decoded",)
            problem = _problem(problem_with_picture, row, picture)
            if self._source is not None and problem is None:
                found = attempt(
                    functools.partial(self._source.fetch, [row["key"]], row["source_bytes"]), passes=(StorageError,)
                )
                got = found[0] if isinstance(found, list) else None
                if isinstance(found, Fault):
                    problem = f"its source cannot be fetched: {found.reason}"
                elif isinstance(got, Fetched) and _is_the_one(got, row):
                    counts, problem = ("decoded", "compared"), _problem(problem_with_fidelity, row, picture, got.data)
                elif isinstance(got, FetchFailed) and row["key"] in self._released:
                    counts = ("decoded", "released")
                else:
                    counts = ("decoded", "changed")
            yield item_rows(Finding(row["key"], counts, pixels=pixels, problem=problem, shard=row.get(SHARD, "")))
