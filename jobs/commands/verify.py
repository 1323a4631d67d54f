"""`maepress verify`: check an archive's payloads, and decode a sample of them."""

import sys
from typing import TYPE_CHECKING

from jobs.framework.job import DONE, FAILED, Job
from jobs.framework.output import Output
from jobs.framework.ray_session import ray_session

if TYPE_CHECKING:
    from pipeline.verify.settings import VerifySettings


def _settings() -> "type[VerifySettings]":
    from pipeline.verify.settings import VerifySettings

    return VerifySettings


def _run(settings: "VerifySettings", output: Output) -> int:
    from pipeline.monitoring.formatting import duration, size
    from pipeline.verify.run import checked_archive, verify

    checked_archive(settings)  # before Ray starts, so that a mistyped place is answered at once
    with ray_session(output.progress):
        result = verify(settings, quiet=output.quiet)
    output.result(result.to_dict())
    rows: list[tuple[str, str | int]] = [
        ("payloads read and intact" if not result.failed else "payloads read", result.rows),
        ("part of the shards", f"{result.part} ({result.shards:,} shards)" if result.part else ""),
        ("bytes", size(result.payload_bytes)),
        ("decoded", result.decoded),
        ("compared with their source", result.compared),
        ("not compared: source gone, changed or unreadable", result.changed),
        ("original released", result.released),
        ("objects of the source", result.source_objects),
        ("left out by include and exclude", result.excluded),
        ("with other times, same bytes", result.same_bytes),
        ("absent from the archive", result.absent),
        ("rejected", result.rejected),
        ("unreadable", result.unread),
        ("changed since they were encoded", result.outdated),
        ("others than the released originals", result.reappeared),
        ("problems", result.failed),
        ("time", duration(result.seconds)),
    ]
    output.table("", [row for row in rows if row[1] or row[0] == "problems"])
    if result.repaired:
        output.table("mended", [(done,) for done in result.repaired])
    if result.problems:
        output.table("problems", [(problem.key, problem.problem) for problem in result.problems])
    for title, keys, count in (
        ("absent from the archive: encode the source again", result.absent_keys, result.absent),
        ("rejected, so not in the archive: see maepress status", result.rejected_keys, result.rejected),
        ("not compared, as they cannot be read", result.unread_keys, result.unread),
        ("changed since they were encoded: encode the source again", result.outdated_keys, result.outdated),
        (
            "others than the originals released under their keys: give them other keys, or see maepress release "
            "--withdraw",
            result.reappeared_keys,
            result.reappeared,
        ),
    ):
        if keys:
            more = [(f"... and {count - len(keys):,} more",)] if count > len(keys) else []
            output.table(title, [*((key,) for key in keys), *more])
    if result.unlisted:
        output.table("folders of the source that cannot be listed", list(result.unlisted.items()))
    return DONE if result.ok else FAILED


JOB: "Job[VerifySettings]" = Job(
    name="verify",
    about="Reads and checks every payload of an archive (checksum, header, hash of unchanged sources), and decodes a "
    "sample. With --source, the sample's PSNR and SSIMULACRA2 are measured again, and every object must be in the "
    "archive as it is now, by etag or else by SHA-256. The exit status is 1 if any check fails.",
    example="maepress verify s3://archive/photos --source s3://photos/2024 --sample 200",
    settings=_settings,
    run=_run,
    extra="archive",
    positionals=("archive",),
    metavars={"sample": "N|all", "part": "K/N", "repair_from": "REPLICA", "source": "SOURCE", "actors": "MIN:MAX"},
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
