"""`maepress release`: check that an archive can replace its originals, and delete those that it can."""

import sys
from typing import TYPE_CHECKING

from jobs.framework.asking import require_consent
from jobs.framework.job import DONE, FAILED, Job
from jobs.framework.output import Cell, Output
from jobs.framework.ray_session import ray_session

if TYPE_CHECKING:
    from pipeline.release.result import ReleaseResult
    from pipeline.release.settings import ReleaseSettings


def _settings() -> "type[ReleaseSettings]":
    from pipeline.release.settings import ReleaseSettings

    return ReleaseSettings


def _run(settings: "ReleaseSettings", output: Output) -> int:
    from pipeline.release.run import checked_places, release

    archive, source = checked_places(settings)  # before Ray starts, so that a mistyped place is answered at once
    if settings.withdraw:
        require_consent(f"treat what {archive.url} released as ordinary rows again", yes=settings.yes)
    elif settings.delete:
        kept = " (the bucket keeps old versions)" if source.keeps_versions() else ""
        require_consent(f"delete the originals in {source.url} that {archive.url} can replace{kept}", yes=settings.yes)
    with ray_session(output.progress):
        result = release(settings, quiet=output.quiet)
    output.result(result.to_dict())
    if settings.withdraw:
        never = f"; {result.unknown:,} keys of the list were never released" if result.unknown else ""
        output.line(f"{result.withdrawn:,} releases withdrawn{never}")
        return DONE if result.ok else FAILED
    if result.problems:
        output.table("did not pass, or stay", result.problems)
    output.table("", [row for row in _in_words(result) if row[1]])
    output.line(_totals(result))
    return DONE if result.ok else FAILED


def _in_words(result: "ReleaseResult") -> list[tuple[str, Cell]]:
    from pipeline.monitoring.formatting import duration

    versions = "deleted objects stay as old versions until a lifecycle rule of the bucket removes them"
    window = "checked directly before: an object that changes within that moment is lost"
    return [
        ("keys that the archive does not have", result.unknown),
        ("versioned bucket", versions if result.keeps_versions else ""),
        ("deletes", "" if not result.deletes else "compared by the store itself" if result.conditional else window),
        ("ledger", f"releases/, run {result.run}"),
        ("time", duration(result.seconds)),
    ]


def _totals(result: "ReleaseResult") -> str:
    from pipeline.monitoring.formatting import size

    if result.deletes:
        first = f"{result.deleted:,} originals deleted ({size(result.deleted_bytes)})"
    else:
        first = f"{result.passed:,} originals can go ({size(result.passed_bytes)})"
    counts = [
        (result.left, "stay though they passed"),
        (result.failed, "did not pass"),
        (result.released_before, "were released before"),
    ]
    words = ", ".join([first, *(f"{count:,} {text}" for count, text in counts if count)])
    return words if result.deletes else f"{words}; --delete deletes them"


JOB: "Job[ReleaseSettings]" = Job(
    name="release",
    about="Compares what an archive gives back with the originals in the source as they are now: the row's hash, the "
    "payload, the recorded fidelity and the floor, everything beside the pixels, the SHA-256 of the object; of kept "
    "files every byte. Without --delete nothing is deleted. With it, originals that pass are deleted if they are "
    "unchanged in that moment. Rows of deleted originals stay in the archive for good. What was found and done is in "
    "the archive's table releases/. The exit status is 1 if an image did not pass.",
    example="maepress release s3://photos/2024 s3://archive/photos --minimum-age 30d --delete",
    settings=_settings,
    run=_run,
    extra="archive",
    positionals=("source", "archive"),
    metavars={"keys": "GLOB|@FILE", "second_copy": "ARCHIVE", "minimum_age": "AGE", "actors": "MIN:MAX"},
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
