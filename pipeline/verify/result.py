"""The result of a verification, and its sums while it runs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.runs.checks import Damage
from pipeline.verify.source_comparison import SourceTotals

_COUNTERS = (
    *("rows", "latents", "standard", "transcoded", "kept_pixels", "originals", "payload_bytes"),
    *("decoded", "compared", "changed", "released", "failed"),
)
_OF_THE_SOURCE = (
    *("absent", "absent_keys", "rejected", "rejected_keys", "outdated", "outdated_keys"),
    *("reappeared", "reappeared_keys"),
    *("same_bytes", "unread", "unread_keys", "excluded", "unlisted"),
)
LISTED_PROBLEMS = 1000
"""Problems that a result lists; further ones are only counted."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem in one line, and what has it: a key, "shard PATH", "model FINGERPRINT", "images" ..."""

    key: str
    problem: str


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """The result of a verification.

    Attributes:
        rows: rows whose payload was read and checked.
        latents: rows that hold an image that the model compressed.
        standard: rows that hold one that a standard codec compressed.
        transcoded: rows that hold a JPEG as JPEG XL.
        kept_pixels: rows that hold a kept picture's samples as JPEG XL.
        originals: rows that hold their source byte for byte.
        payload_bytes: bytes of the payloads.
        decoded: sampled images that were decoded.
        compared: decoded images whose fidelity was measured against the source again.
        changed: decoded images not compared, because their source is gone, unreadable or has changed since.
        released: decoded images not compared, because their original was deleted by a release.
        failed: number of problems.
        problems: the first of them.
        seconds: from start to end.
        source_objects: objects of the source given; 0 without one.
        absent: objects of the source that have neither a row nor a rejection.
        rejected: objects of the source that were rejected as they are now.
        rejected_keys: the first of them.
        absent_keys: the first of them.
        outdated: objects of the source that changed since they were encoded.
        outdated_keys: the first of them.
        reappeared: objects that are others than the originals that a release deleted under their keys.
        reappeared_keys: the first of them.
        same_bytes: objects whose etag differs from the row's, as in a copy, and whose SHA-256 is the row's.
        unread: such objects that could not be read.
        unread_keys: the first of them, with the reasons.
        excluded: objects that the globs left out.
        unlisted: folders of the source that could not be listed, with the reasons.
        part: the part of the shards that was checked, as "3/30"; empty for all.
        shards: number of shards that were checked.
        repaired: what was mended, in words; the problems are those that are left.
    """

    rows: int
    latents: int
    standard: int
    transcoded: int
    kept_pixels: int
    originals: int
    payload_bytes: int
    decoded: int
    compared: int
    changed: int
    released: int
    failed: int
    problems: tuple[Problem, ...]
    seconds: float
    source_objects: int
    absent: int
    absent_keys: tuple[str, ...]
    rejected: int
    rejected_keys: tuple[str, ...]
    outdated: int
    outdated_keys: tuple[str, ...]
    reappeared: int
    reappeared_keys: tuple[str, ...]
    same_bytes: int
    unread: int
    unread_keys: tuple[str, ...]
    excluded: int
    unlisted: dict[str, str]
    part: str = ""
    shards: int = 0
    repaired: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no problem, and all of the source is in the archive and could be compared."""
        lacking = self.absent or self.rejected or self.outdated or self.reappeared
        return not (self.failed or lacking or self.unread or self.unlisted or self.changed)

    def to_dict(self) -> dict[str, object]:
        """The fields, and `ok`."""
        return {"ok": self.ok} | asdict(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one row: the counters that it increments, and its problem, if any.

    `shard` is the path of the shard with the problem; empty for what is not in a shard of images.
    """

    key: str
    counts: tuple[str, ...] = ()
    payload_bytes: int = 0
    pixels: int = 0
    problem: str | None = None
    shard: str = ""


class Totals:
    """Sums of findings."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._problems: list[Problem] = []
        self._damage: list[Damage] = []
        self._damaged: set[str] = set()

    def add(self, finding: Finding) -> None:
        """Count a finding."""
        self._counts.update(finding.counts)
        self._counts["payload_bytes"] += finding.payload_bytes
        if finding.problem is not None:
            self._counts["failed"] += 1
            if len(self._problems) < LISTED_PROBLEMS:
                self._problems.append(Problem(finding.key, finding.problem))
            if len(self._damage) < LISTED_PROBLEMS or finding.shard not in self._damaged:
                self._damage.append(Damage(finding.key, finding.problem, finding.shard))
                self._damaged.add(finding.shard)

    @property
    def failed(self) -> int:
        """Number of problems."""
        return self._counts["failed"]

    @property
    def damage(self) -> list[Damage]:
        """Problems with their shards: the first ones, and at least one of each shard that has any."""
        return self._damage

    def take_problems_of(self, again: "Totals") -> None:
        """After a repair: the problems are those of the second look; what was read and decoded stays counted."""
        self._problems, self._damage, self._damaged = again._problems, again._damage, again._damaged
        self._counts["failed"] = again._counts["failed"]

    def result(
        self, source: SourceTotals, seconds: float, part: str, shards: int, repaired: Sequence[str]
    ) -> VerifyResult:
        """The sums, with the problems in key order."""
        counts: dict[str, Any] = {name: self._counts[name] for name in _COUNTERS}
        return VerifyResult(
            **counts,
            problems=tuple(sorted(self._problems, key=lambda problem: problem.key)),
            seconds=seconds,
            source_objects=source.objects,
            **{name: getattr(source, name) for name in _OF_THE_SOURCE},
            part=part,
            shards=shards,
            repaired=tuple(repaired),
        )
