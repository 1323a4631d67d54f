"""Encode: press what is new or changed in a source into an archive, committing as it goes.

    listing + archive --plan--> manifest --line--> receipts --commit--> archive

The driver sees plans and receipts, never images. A shard becomes visible only when the driver commits its receipt, so
whatever is killed, the same command continues from what is committed.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from model.codec import Codec
from pipeline.archive.archive import Archive
from pipeline.archive.commits import Committer
from pipeline.archive.heartbeat import Presence
from pipeline.archive.lease import Lease
from pipeline.archive.model_store import local_model
from pipeline.archive.run_id import new_run
from pipeline.archive.run_record import Summary
from pipeline.archive.shards import Receipt
from pipeline.encode.dataflow import Line
from pipeline.encode.settings import EncodeSettings
from pipeline.monitoring.log import Journal
from pipeline.monitoring.metrics import Meter
from pipeline.monitoring.progress import Progress
from pipeline.planning.manifest import Manifest
from pipeline.planning.planner import EncodePlan, PlanOptions, make_plan
from pipeline.planning.staleness import Staleness
from pipeline.storage.open import open_source

__all__ = ["EncodeResult", "EncodeSettings", "encode"]

COMMIT_SHARDS = 16
"""Finished shards that are committed at once, even when the time for it has not come."""


@dataclass(frozen=True, slots=True)
class EncodeResult:
    """What an encode did.

    Attributes:
        run: the run's name, as in the rows' `run` column.
        model: fingerprint of the model that pressed.
        latents: rows pressed.
        transcoded: rows whose JPEG is kept as JPEG XL, without loss.
        originals: rows whose source is kept byte for byte.
        kept: transcoded and originals by reason, most frequent first.
        rejected: objects refused in this run, each with its reason in the rejections table.
        unchanged: keys that needed nothing.
        rejected_before: keys refused in an earlier run and not changed since, which were not tried again.
        gone: rows whose key the source no longer has.
        retired: of these, rows that left the archive; the others stay.
        source_bytes: of the rows of this run.
        payload_bytes: of the rows of this run.
        pixels: of the rows of this run.
        seconds: from the first listing to the last commit.
    """

    run: str
    model: str
    latents: int
    transcoded: int
    originals: int
    kept: dict[str, int]
    rejected: int
    unchanged: int
    rejected_before: int
    gone: int
    retired: int
    source_bytes: int
    payload_bytes: int
    pixels: int
    seconds: float

    def to_dict(self) -> dict[str, object]:
        """The fields, with the ratio and the speed that follow from them."""
        return asdict(self) | {
            "ratio": self.source_bytes / self.payload_bytes if self.payload_bytes else None,
            "megapixels_per_second": self.pixels / 1e6 / self.seconds if self.seconds else None,
        }


def encode(settings: EncodeSettings, *, quiet: bool = False) -> EncodeResult:
    """Bring an archive up to date with a source.

    A row is pressed once: again only when its source's etag changed, or when `repress` is set and another model
    pressed it, or to another target. A different `model` than the archive's rows have is fine: every row names its own,
    and all of them live in the archive. Uses the Ray that is connected, or starts one.

    Args:
        settings: what, where and how.
        quiet: show no progress.

    Raises:
        MaepressError: in one line, for a source that is missing or empty, an archive that cannot be written, a model
            that cannot be read, encoders that the cluster cannot hold, or another job that changes the same keys.
    """
    return press(settings, Aim(), quiet=quiet)[0]


@dataclass(frozen=True, slots=True)
class Aim:
    """What a run does beside pressing what is new or changed; an encode does none of it.

    Attributes:
        job: the job's name, for the log.
        alone: take the archive's lease, so that of two runs one gives way before it begins.
        retire_share: see `PlanOptions`.
        stale_objects: see `PlanOptions`.
        stale_minutes: minutes after whose end no more stale rows are pressed, None for no such limit.
    """

    job: str = "encode"
    alone: bool = False
    retire_share: float | None = None
    stale_objects: int | None = None
    stale_minutes: float | None = None


def press(settings: EncodeSettings, aim: Aim, *, quiet: bool = False) -> tuple[EncodeResult, EncodePlan]:
    """Plan and work the plan off; `encode` says the rest.

    Args:
        settings: what, where and how.
        aim: what else.
        quiet: show no progress.
    """
    started = time.monotonic()
    source = open_source(settings.source)
    folder = local_model(settings.model)
    codec = Codec.load(folder)
    archive = Archive.create(settings.archive)
    run = new_run()
    tally = _Tally()
    with ExitStack() as stack:
        summary = stack.enter_context(Summary(archive.root, run, aim.job, settings))
        lease = stack.enter_context(Lease(archive.root, run, aim.job)) if aim.alone else None
        committer = archive.committer(run, aim.job)
        manifest = Manifest(archive.root, run)
        stack.callback(manifest.remove)
        stack.enter_context(Presence(archive.root, run))
        plan = make_plan(source, archive, manifest, scope_of(settings, codec.fingerprint, aim))
        if plan.units:
            if plan.objects:
                archive.put_model(codec.fingerprint, folder)
            line = Line(source, archive, codec.fingerprint, codec.coder, run, settings)
            progress = stack.enter_context(Progress(plan.objects, plan.source_bytes, quiet=quiet))
            stack.enter_context(line.watching(progress.encoded))
            deadline = started + 60 * aim.stale_minutes if aim.stale_minutes is not None else None
            receipts = _receipts(line, manifest, plan, deadline)
            watch = _Watch(run, plan)
            for receipt in _committed(receipts, committer, settings.commit_seconds, lease, watch):
                tally.add(receipt)
                progress.advance(
                    objects=receipt.rows + len(receipt.rejections),
                    bytes_in=receipt.source_bytes,
                    bytes_out=receipt.payload_bytes,
                    pixels=receipt.pixels,
                    rejected=len(receipt.rejections),
                )
        result = tally.result(run, codec.fingerprint, plan, time.monotonic() - started)
        summary.done(result.to_dict())
    return result, plan


def scope_of(settings: EncodeSettings, fingerprint: str, aim: Aim) -> PlanOptions:
    """What of the differences is to be done."""
    return PlanOptions(
        settings.shard_mib << 20,
        Staleness(fingerprint, settings.target().described() if settings.repress else None),
        settings.retry_rejected,
        aim.stale_objects,
        aim.retire_share,
    )


def _receipts(line: Line, manifest: Manifest, plan: EncodePlan, deadline: float | None) -> Iterator[Receipt]:
    """What has to be done, then stale rows until it is late; what is in work then is dropped, for another night."""
    for part in plan.required_parts:
        yield from line.run(manifest.read(part))
    for part in plan.optional_parts:
        if deadline is not None and time.monotonic() >= deadline:
            return
        for receipt in line.run(manifest.read(part)):
            yield receipt
            if deadline is not None and time.monotonic() >= deadline:
                return


class _Watch:
    """What operators see of a run: metrics and log."""

    def __init__(self, run: str, plan: EncodePlan) -> None:
        self._meter, self._journal = Meter(), Journal(run)
        self._meter.plan(plan.objects)
        self._journal.line("plan", objects=plan.objects, source_bytes=plan.source_bytes, shards=plan.units)

    def written(self, receipt: Receipt) -> None:
        self._meter.add(receipt)
        self._journal.add(receipt)

    def committed(self, batch: list[Receipt], seconds: float) -> None:
        self._meter.committed(len(batch), seconds)
        rows = sum(receipt.rows for receipt in batch)
        self._journal.line("commit", shards=len(batch), rows=rows, seconds=round(seconds, 2))


def _committed(
    receipts: Iterable[Receipt], committer: Committer, seconds: float, lease: Lease | None, watch: _Watch
) -> Iterator[Receipt]:
    """The receipts as they come, committed in batches on the way, and at the end whatever way it comes to it.

    When a later unit fails or the job is interrupted, what is finished is still committed: it is paid for.
    """

    def commit(batch: list[Receipt]) -> None:
        if lease:
            lease.check()
        begun = time.monotonic()
        committer.commit(batch)
        watch.committed(batch, time.monotonic() - begun)

    waiting: list[Receipt] = []
    last = time.monotonic()
    try:
        for receipt in receipts:
            waiting.append(receipt)
            watch.written(receipt)
            if len(waiting) >= COMMIT_SHARDS or time.monotonic() - last >= seconds:
                batch, waiting = waiting, []
                commit(batch)
                last = time.monotonic()
            yield receipt
    finally:
        if waiting:
            commit(waiting)


class _Tally:
    """Sums of receipts."""

    def __init__(self) -> None:
        self._retired = self._rows = self._latents = self._transcoded = self._rejected = 0
        self._kept: Counter[str] = Counter()
        self._source_bytes = self._payload_bytes = self._pixels = 0

    def add(self, receipt: Receipt) -> None:
        self._retired += receipt.retired
        self._rows += receipt.rows
        self._latents += receipt.latents
        self._transcoded += receipt.transcoded
        self._kept.update(dict(receipt.kept))
        self._rejected += len(receipt.rejections)
        self._source_bytes += receipt.source_bytes
        self._payload_bytes += receipt.payload_bytes
        self._pixels += receipt.pixels

    def result(self, run: str, model: str, plan: EncodePlan, seconds: float) -> EncodeResult:
        return EncodeResult(
            run,
            model,
            self._latents,
            self._transcoded,
            self._rows - self._latents - self._transcoded,
            dict(self._kept.most_common()),
            self._rejected,
            plan.unchanged,
            plan.rejected,
            plan.gone,
            self._retired,
            self._source_bytes,
            self._payload_bytes,
            self._pixels,
            seconds,
        )
