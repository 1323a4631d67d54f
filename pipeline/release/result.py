"""The verdict on one image, the result of a release, and its sums while it runs."""

from dataclasses import asdict, dataclass, field

LISTED_PROBLEMS = 1000
"""Images that a result names with the reason why they did not pass; further ones are only counted."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checks of one image found.

    Attributes:
        key: the source's key.
        etag: of the object as it was compared; empty where none could be read.
        source_bytes: of the row.
        source_sha256: of the row.
        facts: what was compared, in one line; of an image that did not pass, why not.
        passed: whether its original may be deleted.
        absent: whether the source has no object under the key.
        pixels: that were decoded.
    """

    key: str
    etag: str = ""
    source_bytes: int = 0
    source_sha256: str = ""
    facts: str = ""
    passed: bool = False
    absent: bool = False
    pixels: int = 0


@dataclass(frozen=True, slots=True)
class ReleaseResult:
    """The result of a release.

    Attributes:
        run: its name, as in the ledger.
        deletes: whether originals were to be deleted; False for a dry run.
        passed: images that passed all checks; their originals may go.
        passed_bytes: bytes of their originals.
        deleted: originals that are gone now.
        deleted_bytes: bytes of these.
        left: originals that passed and stayed, since they changed in the last moment, or could not be deleted.
        released_before: images whose originals an earlier release had deleted.
        failed: images that did not pass.
        problems: the first of `failed` and `left`, with the reason.
        unknown: keys of the list that the archive does not have; of a withdrawal, those that were never released.
        withdrawn: keys whose release was ended.
        conditional: whether the store itself compared the etag with each delete.
        keeps_versions: whether the source's bucket keeps what is deleted as an old version.
        seconds: from start to end.
    """

    run: str
    deletes: bool
    passed: int = 0
    passed_bytes: int = 0
    deleted: int = 0
    deleted_bytes: int = 0
    left: int = 0
    released_before: int = 0
    failed: int = 0
    problems: tuple[tuple[str, str], ...] = ()
    unknown: int = 0
    withdrawn: int = 0
    conditional: bool = False
    keeps_versions: bool = False
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every image that was asked for passed, and every original that was to go is gone."""
        return not (self.failed or self.left or self.unknown)

    def to_dict(self) -> dict[str, object]:
        """The fields, and `ok`."""
        return {"ok": self.ok} | asdict(self)


@dataclass(slots=True)
class Totals:
    """Sums of a release."""

    passed: int = 0
    passed_bytes: int = 0
    deleted: int = 0
    deleted_bytes: int = 0
    left: int = 0
    released_before: int = 0
    failed: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)

    @property
    def seen(self) -> int:
        """Images that were looked at."""
        return self.passed + self.failed + self.released_before

    def fail(self, verdict: Verdict) -> None:
        """Count an image that did not pass."""
        self.failed += 1
        self._name(verdict.key, verdict.facts)

    def leave(self, verdict: Verdict, reason: str) -> None:
        """Count an original that stayed although its image passed."""
        self.left += 1
        self._name(verdict.key, reason)

    def _name(self, key: str, reason: str) -> None:
        if len(self.problems) < LISTED_PROBLEMS:
            self.problems.append((key, reason))

    def values(self) -> dict[str, object]:
        """The sums, for a result."""
        return asdict(self) | {"problems": tuple(self.problems)}
