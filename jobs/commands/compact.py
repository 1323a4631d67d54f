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
        rows.append(("skipped because another job changed them", f"{result.gave_way:,}"))
    output.table("", rows)
    return DONE


JOB: "Job[CompactSettings]" = Job(
    name="compact",
    about="Joins small neighbouring shards in bounded memory. Readers see the old shards or the new one; a later "
    "vacuum removes the old ones.",
    example="maepress compact s3://archive/photos --shard-mib 128",
    settings=_settings,
    run=_run,
    extra="archive",
    positionals=("archive",),
    scheduled=True,
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
