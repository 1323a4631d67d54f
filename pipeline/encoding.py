"""Encode: press what is new or changed in a source into an archive, committing as it goes.

    listing + archive --plan--> manifest --line--> receipts --commit--> archive

The driver sees plans and receipts, never images. A shard becomes visible only when the driver commits its receipt, so
whatever is killed, the same command continues from what is committed.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from model.codec import Codec
from pipeline.archive import Archive, IndexRow
from pipeline.commits import Committer
from pipeline.encoding_settings import EncodeSettings
from pipeline.line import Line
from pipeline.manifest import Manifest
from pipeline.models import local_model
from pipeline.plan import Plan, make_plan
from pipeline.progress import Progress
from pipeline.schema import LATENT
from pipeline.shards import Receipt
from pipeline.storage import open_source

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
        originals: rows whose source is kept byte for byte.
        rejected: objects refused in this run, each with its reason in the rejections table.
        unchanged: keys that needed nothing.
        rejected_before: keys refused in an earlier run and not changed since, which were not tried again.
        gone: rows whose key the source no longer has; they stay in the archive.
        source_bytes: of the rows of this run.
        payload_bytes: of the rows of this run.
        pixels: of the rows of this run.
        seconds: from the first listing to the last commit.
    """

    run: str
    model: str
    latents: int
    originals: int
    rejected: int
    unchanged: int
    rejected_before: int
    gone: int
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

    A row is pressed once: again only when its source's etag changed, or when `repress` is set and another model or
    quality pressed it. A different `model` than the archive's rows have is fine: every row names its own, and all of
    them live in the archive. Uses the Ray that is connected, or starts one.

    Args:
        settings: what, where and how.
        quiet: show no progress.

    Raises:
        MaepressError: in one line, for a source that is missing or empty, an archive that cannot be written, a model
            that cannot be read, encoders that the cluster cannot hold, or another job that changes the same keys.
    """
    started = time.monotonic()
    source = open_source(settings.source)
    folder = local_model(settings.model)
    codec = Codec.load(folder)
    archive = Archive.create(settings.archive)
    run = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    committer = archive.committer(run)
    manifest = Manifest(archive.root, run)
    tally = _Tally()
    try:
        plan = make_plan(source, archive, manifest, settings, _staleness(codec.fingerprint, settings))
        if plan.objects:
            archive.put_model(codec.fingerprint, folder)
            line = Line(source, archive, codec.fingerprint, codec.coder, run, settings)
            with Progress(plan.objects, plan.source_bytes, quiet=quiet) as progress, line.watching(progress.encoded):
                receipts = (receipt for pieces in manifest.parts() for receipt in line.run(pieces))
                for receipt in _committed(receipts, committer, settings.commit_seconds):
                    tally.add(receipt)
                    progress.add(receipt)
    finally:
        manifest.remove()
    return tally.result(run, codec.fingerprint, plan, time.monotonic() - started)


def _staleness(fingerprint: str, settings: EncodeSettings) -> Callable[[IndexRow], bool]:
    """Whether a row is pressed again although its source is the same. Never an original: pressing made no gain."""

    def is_stale(row: IndexRow) -> bool:
        pressed_so = row.model == fingerprint and row.quality == settings.quality
        return settings.repress and row.status == LATENT and not pressed_so

    return is_stale


def _committed(receipts: Iterable[Receipt], committer: Committer, seconds: float) -> Iterator[Receipt]:
    """The receipts as they come, committed in batches on the way, and at the end whatever way it comes to it.

    When a later unit fails or the job is interrupted, what is finished is still committed: it is paid for.
    """
    waiting: list[Receipt] = []
    last = time.monotonic()
    try:
        for receipt in receipts:
            waiting.append(receipt)
            if len(waiting) >= COMMIT_SHARDS or time.monotonic() - last >= seconds:
                batch, waiting = waiting, []
                committer.commit(batch)
                last = time.monotonic()
            yield receipt
    finally:
        if waiting:
            committer.commit(waiting)


class _Tally:
    """Sums of receipts."""

    def __init__(self) -> None:
        self._rows = self._latents = self._rejected = self._source_bytes = self._payload_bytes = self._pixels = 0

    def add(self, receipt: Receipt) -> None:
        self._rows += receipt.rows
        self._latents += receipt.latents
        self._rejected += len(receipt.rejections)
        self._source_bytes += receipt.source_bytes
        self._payload_bytes += receipt.payload_bytes
        self._pixels += receipt.pixels

    def result(self, run: str, model: str, plan: Plan, seconds: float) -> EncodeResult:
        return EncodeResult(
            run,
            model,
            self._latents,
            self._rows - self._latents,
            self._rejected,
            plan.unchanged,
            plan.rejected,
            plan.gone,
            self._source_bytes,
            self._payload_bytes,
            self._pixels,
            seconds,
        )
