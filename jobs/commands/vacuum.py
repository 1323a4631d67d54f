"""`maepress vacuum`: remove files that are no longer needed."""

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from jobs.framework.job import DONE, Job
from jobs.framework.output import Output

if TYPE_CHECKING:
    from pipeline.maintain.settings import VacuumSettings


def _settings() -> "type[VacuumSettings]":
    from pipeline.maintain.settings import VacuumSettings

    return VacuumSettings


def _run(settings: "VacuumSettings", output: Output) -> int:
    from pipeline.maintain.vacuum import vacuum
    from pipeline.monitoring.formatting import size

    result = vacuum(settings)
    output.result(result.to_dict())
    rows = [
        ("shards", f"{result.shards:,}"),
        ("files of rejections", f"{result.rejections:,}"),
        ("bytes of both", size(result.shard_bytes)),
        ("plans of dead runs", f"{result.plans:,}"),
        ("unfinished files and uploads", f"{result.unfinished:,}"),
    ]
    if result.payloads or result.payloads_left:
        rows.append(("payloads that rows shared", result.payloads_left or f"{result.payloads:,}"))
        rows.append(("bytes of these", size(result.payload_bytes)))
    if result.spared_for:
        rows.append(("files kept for running jobs", ", ".join(result.spared_for)))
    output.table("would be removed" if settings.dry_run else "removed", rows)
    if result.next_in_hours is not None:
        when = datetime.now(UTC) + timedelta(hours=result.next_in_hours)
        output.line(
            f"\n{result.waiting:,} replaced files ({size(result.waiting_bytes)}) are younger than "
            f"{settings.hours:g} hours\nand stay for `maepress restore`; the first can go at {when:%Y-%m-%d %H:%M} UTC"
        )
    return DONE


JOB: "Job[VacuumSettings]" = Job(
    name="vacuum",
    about="Removes shards that were replaced long ago, and files that killed runs left. Versions older than the given "
    "hours cannot be restored afterwards. Safe while other jobs run.",
    example="maepress vacuum s3://archive/photos --hours 72 --dry-run",
    settings=_settings,
    run=_run,
    extra="archive",
    positionals=("archive",),
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
