"""`maepress compact`: join small shards."""

import sys
from typing import TYPE_CHECKING

from jobs.framework.job import DONE, Job
from jobs.framework.output import Output

if TYPE_CHECKING:
    from pipeline.maintain.settings import CompactSettings


def _settings() -> "type[CompactSettings]":
    from pipeline.maintain.settings import CompactSettings

    return CompactSettings


def _run(settings: "CompactSettings", output: Output) -> int:
    from pipeline.maintain.compact import compact
    from pipeline.monitoring.formatting import size

    result = compact(settings)
    output.result(result.to_dict())
    rows = [
        ("shards", f"{result.shards_before:,} -> {result.shards_after:,}"),
        ("files of rejections", f"{result.rejections_before:,} -> {result.rejections_after:,}"),
        ("written", size(result.bytes_written)),
    ]
    if result.gave_way:
        rows.append(("left for another job's change", f"{result.gave_way:,}"))
    output.table("", rows)
    return DONE


JOB: "Job[CompactSettings]" = Job(
    name="compact",
    summary="join small shards; nothing is pressed again",
    about="Joins small neighbouring shards, in bounded memory and copy on write: readers see the old ones or the "
    "new one. A vacuum removes the old ones later.",
    example="maepress compact s3://archive/photos --shard-mib 128",
    settings=_settings,
    run=_run,
    positionals=("archive",),
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
