"""`maepress restore`: make an older version of an archive the current one."""

import sys
from typing import TYPE_CHECKING

from jobs.framework.job import DONE, Job
from jobs.framework.output import Output

if TYPE_CHECKING:
    from pipeline.maintain.settings import RestoreSettings


def _settings() -> "type[RestoreSettings]":
    from pipeline.maintain.settings import RestoreSettings

    return RestoreSettings


def _run(settings: "RestoreSettings", output: Output) -> int:
    from pipeline.maintain.restore import restore
    from pipeline.monitoring.formatting import counted

    result = restore(settings)
    output.result(result.to_dict())
    content = f"{counted(result.rows, 'image')} in {counted(result.shards, 'shard')}"
    if result.version == result.restored:
        output.line(f"version {result.version} is the current one already: {content}")
    else:
        output.line(f"version {result.version} now equals version {result.restored}: {content}")
    return DONE


JOB: "Job[RestoreSettings]" = Job(
    name="restore",
    about="Makes an older version of an archive the current one. Nothing is lost: later versions stay in the "
    "history, and another restore undoes this one. A later encode or sync adds what the restored version lacks.",
    example="maepress restore s3://archive/photos 41",
    settings=_settings,
    run=_run,
    extra="archive",
    positionals=("archive", "version"),
    scheduled=True,
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
