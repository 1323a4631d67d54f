"""Encode: compress what is new or changed in a source into an archive, with commits on the way.

    listing + archive --plan--> manifest --dataflow--> receipts --commit--> archive

The driver handles plans and receipts, never images. A shard becomes visible only when the driver
commits its receipt, so after any crash the same command continues from the last commit.
"""

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from model.core.model_files import claimed_fingerprint, read_config
from pipeline.archive.apart import require_new_or_own, require_source_apart
from pipeline.archive.archive import Archive
from pipeline.archive.log.commits import Committer
from pipeline.archive.model_name import name_from
from pipeline.archive.model_store import local_model, require_model
from pipeline.archive.receipt import Receipt
from pipeline.encode.codec_settings import described
from pipeline.encode.result import EncodeResult, Totals
from pipeline.encode.settings import EncodeSettings
from pipeline.encode.store_once import StoredOnce, store_once
from pipeline.execution.executors import ray_is_connected, runs_here
from pipeline.execution.local_resources import GPUS_PER_ACTOR, require_gpus
from pipeline.monitoring.encode_counter import EncodeCounts
from pipeline.monitoring.log import RunLog
from pipeline.monitoring.metrics import RunMetrics
from pipeline.monitoring.progress import Progress
from pipeline.planning.manifest import Manifest
from pipeline.planning.planner import EncodePlan, PlanOptions, make_plan
from pipeline.planning.staleness import Staleness
from pipeline.planning.units import Piece
from pipeline.runs.alone import require_alone, source_name
from pipeline.runs.heartbeat import Heartbeat
from pipeline.runs.lease import Lease
from pipeline.runs.name import new_run
from pipeline.runs.record import RunRecord
from pipeline.sources.open import EmptySource, open_source
from pipeline.storage.open import Store, open_store

__all__ = ["EncodeResult", "EncodeSettings", "encode"]

COMMIT_SHARDS = 16
"""Number of finished shards that are committed at once, before the commit interval is over."""


def encode(settings: EncodeSettings, *, quiet: bool = False) -> EncodeResult:
    """Bring an archive up to date with a source.

    An image is compressed once. It is compressed again only when its source's etag changed, or when
    `repress` is set and its row was made by another model or codec, with another effort, or to
    another target. `model` may differ from the model of existing rows: every row names its model,
    and the archive holds all of them.
    A small job runs in this process (`pipeline.execution.executors`); others use the Ray that is
    connected, or start one.

    Args:
        settings: source, archive, model, target and limits.
        quiet: show no progress.

    Raises:
        MaepressError: in one line, for a source that is missing or empty, an archive that cannot be
            written, a model that cannot be read, encoders that the cluster cannot hold, or another
            job that changes the same keys.
    """
    require_gpus(settings.gpus_per_actor, GPUS_PER_ACTOR)
    return run_encode(settings, RunOptions(), quiet=quiet)[0]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options in which a sync differs from an encode, whose values are the defaults.

    Attributes:
        job: the job's name, for the log.
        exclusive: take the archive's lease, so that the second of two runs ends before it begins.
        retire_share: see `PlanOptions`.
        stale_objects: see `PlanOptions`.
        stale_minutes: minutes after the start when no more stale rows are begun, None for no limit.
    """

    job: str = "encode"
    exclusive: bool = False
    retire_share: float | None = None
    stale_objects: int | None = None
    stale_minutes: float | None = None


def run_encode(
    settings: EncodeSettings, options: RunOptions, *, quiet: bool = False
) -> tuple[EncodeResult, EncodePlan]:
    """Make a plan and carry it out: the work of both encode and sync.

    Args:
        settings: as of `encode`.
        options: those of the job.
        quiet: show no progress.

    Raises:
        MaepressError: as `encode` does.
    """
    started = time.monotonic()
    source = checked_source(settings)
    folder = local_model(settings.model) if settings.needs_model else None
    fingerprint = claimed_fingerprint(folder) if folder else ""  # the plan needs no more; the codec takes seconds
    archive = Archive.create(settings.archive)
    run = new_run()
    totals = Totals()
    with ExitStack() as stack:
        summary = stack.enter_context(
            # With the source's whole path, so that a decode can tell whether it would write into it.
            RunRecord(archive.root, run, options.job, settings.model_copy(update={"source": source.absolute_url}))
        )
        lease = stack.enter_context(Lease(archive.root, run, options.job)) if options.exclusive else None
        committer = archive.committer(run, options.job)
        manifest = Manifest(archive.root, run)
        stack.callback(manifest.remove)
        stack.enter_context(Heartbeat(archive.root, run, options.job, source_name(source)))
        require_alone(archive.root, source, run)
        plan = make_plan(source, archive, manifest, plan_options(settings, fingerprint, options))
        if plan.units:
            require_alone(archive.root, source, run)  # again: a run that began earlier may have been slower so far
            dataflow = _dataflow(plan, source, archive, folder, run, settings)
            if plan.objects and folder:
                archive.put_model(fingerprint, folder)
            progress = stack.enter_context(Progress(plan.objects, plan.source_bytes, quiet=quiet))
            stack.enter_context(dataflow.polling(progress.encoded))
            deadline = started + 60 * options.stale_minutes if options.stale_minutes is not None else None
            # Closed before Ray ends, as an error keeps suspended generators alive: Ray Data would then
            # wait for its workers without Ray.
            receipts = stack.enter_context(closing(_receipts(dataflow, manifest, plan, deadline)))
            reports = _Reports(run, plan)
            committed = _committed(receipts, committer, settings.commit_seconds, lease, reports)
            for receipt in stack.enter_context(closing(committed)):
                totals.add(receipt)
                progress.advance(
                    objects=receipt.rows + len(receipt.rejections),
                    bytes_in=receipt.source_bytes,
                    bytes_out=receipt.payload_bytes,
                    pixels=receipt.pixels,
                    rejected=len(receipt.rejections),
                )
        once = StoredOnce()
        if settings.store_once:
            once = store_once(archive, committer, lease.check if lease else None)
        name = name_from(read_config(folder)) if folder else ""
        result = totals.result(run, fingerprint, name, plan, once, time.monotonic() - started)
        summary.done(result.to_dict())
    return result, plan


def checked_source(settings: EncodeSettings) -> Store:
    """The source, if this run may begin: takes seconds, and needs neither Ray nor the model.

    Raises:
        MaepressError: when source and archive are not apart, the source is missing or empty,
            another run encodes it into the archive already, there is no such model, or the archive
            cannot be written, or be made as something else is there.
    """
    source = opened_source(settings)
    root = open_store(settings.archive)
    require_alone(root, source)
    if settings.needs_model:
        require_model(settings.model)
    root.check_target()
    require_new_or_own(root)
    return source


def opened_source(settings: EncodeSettings) -> Store:
    """The source, which may be empty only if originals were released.

    Raises:
        MaepressError: when source and archive are not apart, or the source is missing or empty.
    """
    require_source_apart(settings.source, settings.archive)
    try:
        return open_source(settings.source)
    except EmptySource:
        if Archive(settings.archive).releases.table() is None:
            raise
        return open_source(settings.source, may_be_empty=True)


def plan_options(settings: EncodeSettings, fingerprint: str, options: RunOptions) -> PlanOptions:
    """The planner's options of a run with the model `fingerprint`, which is empty for a run without a model."""
    return PlanOptions(
        settings.shard_mib << 20,
        Staleness(
            fingerprint,
            settings.target().described(),
            settings.repress,
            described(settings.codecs),
            settings.effort_of_model,
        ),
        settings.retry_rejected,
        ("read", "encode") if settings.keeps_unreadable else (),  # what was rejected there is kept now
        settings.globs(),
        options.stale_objects,
        options.retire_share,
    )


class Dataflow(Protocol):
    """The stages of an encode, configured for one run."""

    def polling(self, show: Callable[[EncodeCounts], None]) -> AbstractContextManager[None]:
        """Within a `with` block, report counts of what is encoded to `show`."""

    def run(self, pieces: Iterable[Piece]) -> Generator[Receipt, None, None]:
        """Run all stages on whole units, and yield their receipts in order."""


def _dataflow(
    plan: EncodePlan, source: Store, archive: Archive, model: Path | None, run: str, settings: EncodeSettings
) -> Dataflow:
    """The stages in this process or on Ray, with the model in a local folder, or without one."""
    from model.codec import Codec  # imports torch, which takes a second

    codec = Codec.load(model) if model else None
    if runs_here(
        settings.executor,
        objects=plan.objects,
        source_bytes=plan.source_bytes,
        actors=settings.actors,
        gpus=settings.gpus_per_actor,
    ):
        from pipeline.encode.local_dataflow import LocalDataflow

        return LocalDataflow(source, archive, codec, run, settings)
    from pipeline.encode.dataflow import EncodeDataflow  # imports Ray, which takes a second

    fingerprint, coder = (codec.fingerprint, codec.coder) if codec else (None, None)
    return EncodeDataflow(source, archive, fingerprint, coder, run, settings)


def _receipts(
    dataflow: Dataflow, manifest: Manifest, plan: EncodePlan, deadline: float | None
) -> Generator[Receipt, None, None]:
    """Receipts of the required parts, then of the optional ones until the deadline."""
    for part in plan.required_parts:
        yield from dataflow.run(manifest.read(part))
    for part in plan.optional_parts:
        if deadline is not None and time.monotonic() >= deadline:
            return
        with closing(dataflow.run(manifest.read(part))) as receipts:
            for receipt in receipts:
                yield receipt
                if deadline is not None and time.monotonic() >= deadline:
                    return


class _Reports:
    """Reports a run's events to the metrics and to the log."""

    def __init__(self, run: str, plan: EncodePlan) -> None:
        self._metrics = RunMetrics() if ray_is_connected() else None  # Ray exports them
        self._log = RunLog(run)
        if self._metrics:
            self._metrics.planned(plan.objects)
        self._log.event("plan", objects=plan.objects, source_bytes=plan.source_bytes, shards=plan.units)

    def written(self, receipt: Receipt) -> None:
        if self._metrics:
            self._metrics.written(receipt)
        self._log.rejections(receipt.rejections)

    def committed(self, batch: list[Receipt], seconds: float) -> None:
        if self._metrics:
            self._metrics.committed(len(batch), seconds)
        rows = sum(receipt.rows for receipt in batch)
        self._log.event("commit", shards=len(batch), rows=rows, seconds=round(seconds, 2))


def _committed(
    receipts: Iterable[Receipt], committer: Committer, seconds: float, lease: Lease | None, reports: _Reports
) -> Generator[Receipt, None, None]:
    """Pass receipts on, and commit them in batches: after some seconds or shards, and at the end.

    When a later unit fails or the job is interrupted, the finished units are still committed, as
    their work is done.
    """

    def commit(batch: list[Receipt]) -> None:
        if lease:
            lease.check()
        begun = time.monotonic()
        committer.commit(batch)
        reports.committed(batch, time.monotonic() - begun)

    waiting: list[Receipt] = []
    last = time.monotonic()
    try:
        for receipt in receipts:
            waiting.append(receipt)
            reports.written(receipt)
            if len(waiting) >= COMMIT_SHARDS or time.monotonic() - last >= seconds:
                batch, waiting = waiting, []
                commit(batch)
                last = time.monotonic()
            yield receipt
    finally:
        if waiting:
            commit(waiting)
