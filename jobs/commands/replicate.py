"""`maepress replicate`: keep a second copy of an archive."""

import sys
from typing import TYPE_CHECKING

from jobs.framework.job import DONE, FAILED, Job
from jobs.framework.output import Output, complain

if TYPE_CHECKING:
    from pipeline.maintain.settings import ReplicateSettings


def _settings() -> "type[ReplicateSettings]":
    from pipeline.maintain.settings import ReplicateSettings

    return ReplicateSettings


def _run(settings: "ReplicateSettings", output: Output) -> int:
    from pipeline.maintain.replicate import replicate
    from pipeline.monitoring.formatting import size

    result = replicate(settings)
    output.result(result.to_dict())
    rows: list[tuple[str, str | int]] = [
        ("version", "" if result.version is None else str(result.version)),
        ("files of its tables", result.shards),
        ("copied", f"{result.copied:,} files, {size(result.copied_bytes)}"),
        ("removed", result.removed),
    ]
    output.table("", [row for row in rows if row[1] != "" and (row[1] or row[0] != "removed")])
    if result.problems:
        output.table(
            "the copy stays at its version before; mend these first (maepress verify --repair-from)",
            [(problem,) for problem in result.problems],
        )
    complain(*result.remarks)
    return DONE if result.ok else FAILED


JOB: "Job[ReplicateSettings]" = Job(
    name="replicate",
    about="Copies what is new in an archive to a second place, which is an archive itself: it can be decoded, and "
    "verify --repair-from mends the one with the other. Run it every night. Nothing in the copy is deleted unless "
    "--prune is given. The exit status is 1 if the archive has a file that is damaged; the copy then stays as it was.",
    example="maepress replicate s3://archive/photos /backup/photos",
    settings=_settings,
    run=_run,
    extra="archive",
    positionals=("archive", "dest"),
    scheduled=True,
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
