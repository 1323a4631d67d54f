"""`maepress restore`: back to an older version."""

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

    result = restore(settings)
    output.result(result.to_dict())
    content = f"{result.rows:,} images in {result.shards:,} shards"
    output.line(f"version {result.version} is version {result.restored} again: {content}")
    return DONE


JOB: "Job[RestoreSettings]" = Job(
    name="restore",
    summary="go back to an older version, rows and rejections alike",
    about="Makes an older version of an archive the current one. Nothing is lost: what came after stays in the "
    "history, and a restore can be undone by another. A later encode or sync presses again what that version lacks.",
    example="maepress restore s3://archive/photos 41",
    settings=_settings,
    run=_run,
    positionals=("archive", "version"),
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
