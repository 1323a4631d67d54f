"""The result of an encode, and its sums while it runs."""

from collections import Counter
from dataclasses import asdict, dataclass
from itertools import islice

from pipeline.archive.receipt import Receipt, general
from pipeline.encode.store_once import StoredOnce
from pipeline.planning.planner import EncodePlan

NAMED = 20
"""Reasons and folders that a result names at most."""


@dataclass(frozen=True, slots=True)
class EncodeResult:
    """The result of an encode. The sums are over the rows that this run wrote.

    Attributes:
        run: the run's id, as in the column `run`.
        model: fingerprint of the model that compressed; empty for a run that needed none.
        model_name: what it is called; empty if it has no name.
        latents: rows that hold an image that the model compressed.
        standard: rows that hold one that a standard codec compressed.
        codecs: both by codec.
        transcoded: rows that hold a JPEG as JPEG XL, without loss.
        kept_pixels: rows that hold a kept picture's samples as JPEG XL, without loss (`keep`).
        originals: rows that hold their source byte for byte.
        kept: transcoded and originals by reason, most frequent first.
        rejected: objects rejected in this run; the rejections table holds each one's reason.
        rejections: these by reason, its numbers left out, most frequent first.
        unchanged: keys that needed nothing.
        other_settings: keys among these that another model or codec compressed, or to another target;
            `repress` compresses them again.
        rejected_before: keys rejected in an earlier run and not changed since, which were not tried
            again.
        gone: rows whose key the source no longer has, and whose original was not released.
        retired: rows among `gone` that this run removed; the others stay.
        released: rows whose original was deleted by a release; they stay.
        reappeared: objects that were not encoded, as the original of their row was deleted by a release, and the row
            would be overwritten.
        reappeared_keys: the first of them.
        barred: objects that were not encoded, as an erasure bars their keys.
        newer: rows that stay as they are, as they were encoded after the source's inventory was made.
        excluded: objects of the source that `include` and `exclude` left out.
        excluded_rows: rows of the archive that they would leave out; they stay.
        unlisted: number of folders of the source that could not be listed.
        unlisted_folders: the first of them, with the reasons.
        source_bytes: bytes of the sources.
        payload_bytes: bytes of the payloads.
        pixels: width times height of the images that were decoded; of others the size is only what a
            header claims.
        stored_once: rows whose payload left its shard, as equal sources have it (`store_once`).
        stored_once_bytes: bytes of these payloads.
        stored_once_left: why that is not done for all; None where it is.
        seconds: from the start to the last commit.
    """

    run: str
    model: str
    model_name: str
    latents: int
    standard: int
    codecs: dict[str, int]
    transcoded: int
    kept_pixels: int
    originals: int
    kept: dict[str, int]
    rejected: int
    rejections: dict[str, int]
    unchanged: int
    other_settings: int
    rejected_before: int
    gone: int
    retired: int
    released: int
    reappeared: int
    reappeared_keys: tuple[str, ...]
    barred: int
    newer: int
    excluded: int
    excluded_rows: int
    unlisted: int
    unlisted_folders: dict[str, str]
    source_bytes: int
    payload_bytes: int
    pixels: int
    stored_once: int
    stored_once_bytes: int
    stored_once_left: str | None
    seconds: float

    @property
    def missing(self) -> str | None:
        """What of the source is not in the archive, in one line; None when nothing is missing."""
        parts = []
        if self.rejected:
            reasons = ", ".join(f"{reason} ({count:,})" for reason, count in islice(self.rejections.items(), 3))
            more = f", {len(self.rejections) - 3} more reasons" if len(self.rejections) > 3 else ""
            parts.append(f"{self.rejected:,} rejected: {reasons}{more}")
        if self.rejected_before:
            parts.append(f"{self.rejected_before:,} rejected before (--retry-rejected tries them again)")
        if self.unlisted:
            (name, reason), *_ = self.unlisted_folders.items()
            folders, more = ("1 folder", "") if self.unlisted == 1 else (f"{self.unlisted:,} folders", ", ...")
            parts.append(f"{folders} cannot be listed: {name} ({reason}){more}")
        if not parts:
            return None
        return f"not all of the source is in the archive: {'; '.join(parts)}; `maepress status` lists them"

    def to_dict(self) -> dict[str, object]:
        """The fields, what is missing, and the ratio and the speed computed from them."""
        return asdict(self) | {
            "missing": self.missing,
            "ratio": self.source_bytes / self.payload_bytes if self.payload_bytes else None,
            "megapixels_per_second": self.pixels / 1e6 / self.seconds if self.seconds else None,
        }


class Totals:
    """Sums of receipts."""

    def __init__(self) -> None:
        self._retired = self._rows = self._latents = self._transcoded = self._kept_pixels = self._rejected = 0
        self._kept: Counter[str] = Counter()
        self._codecs: Counter[str] = Counter()
        self._standard = 0
        self._reasons: Counter[str] = Counter()
        self._source_bytes = self._payload_bytes = self._pixels = 0

    def add(self, receipt: Receipt) -> None:
        """Add a unit."""
        self._retired += receipt.retired
        self._rows += receipt.rows
        self._latents += receipt.latents
        self._standard += receipt.standard
        self._codecs.update(dict(receipt.codecs))
        self._transcoded += receipt.transcoded
        self._kept_pixels += receipt.kept_pixels
        self._kept.update(dict(receipt.kept))
        self._rejected += len(receipt.rejections)
        self._reasons.update(general(rejection.reason) for rejection in receipt.rejections)
        self._source_bytes += receipt.source_bytes
        self._payload_bytes += receipt.payload_bytes
        self._pixels += receipt.pixels

    def result(
        self, run: str, model: str, model_name: str, plan: EncodePlan, once: StoredOnce, seconds: float
    ) -> EncodeResult:
        """The sums, what the plan knew, and what became of equal sources."""
        return EncodeResult(
            run,
            model,
            model_name,
            self._latents,
            self._standard,
            dict(self._codecs.most_common()),
            self._transcoded,
            self._kept_pixels,
            self._rows - self._latents - self._standard - self._transcoded - self._kept_pixels,
            dict(self._kept.most_common()),
            self._rejected,
            dict(self._reasons.most_common(NAMED)),
            plan.unchanged,
            plan.other_settings,
            plan.rejected,
            plan.gone,
            self._retired,
            plan.released,
            plan.reappeared,
            plan.reappeared_keys,
            plan.barred,
            plan.newer,
            plan.excluded,
            plan.excluded_rows,
            len(plan.unlisted),
            dict(islice(plan.unlisted.items(), NAMED)),
            self._source_bytes,
            self._payload_bytes,
            self._pixels,
            once.rows,
            once.payload_bytes,
            once.left,
            seconds,
        )
