"""`maepress history`: list the versions of an archive."""

import sys
from typing import TYPE_CHECKING

from jobs.framework.job import DONE, Job
from jobs.framework.output import Output

if TYPE_CHECKING:
    from pipeline.maintain.settings import HistorySettings


def _settings() -> "type[HistorySettings]":
    from pipeline.maintain.settings import HistorySettings

    return HistorySettings


def _run(settings: "HistorySettings", output: Output) -> int:
    from pipeline.maintain.history import history
    from pipeline.monitoring.formatting import size

    found = history(settings)
    output.result({"versions": [version.to_dict() for version in found]})
    rows = [
        (
            str(v.version),
            f"{v.time:%Y-%m-%d %H:%M:%S}",
            v.job,
            v.rows,
            v.retired,
            None if v.payload_bytes is None else size(v.payload_bytes),
            v.run,
        )
        for v in found
    ]
    output.table("", rows, ("version", "time (UTC)", "job", "rows", "retired", "bytes", "run"))
    return DONE


JOB: "Job[HistorySettings]" = Job(
    name="history",
    about="Lists the versions of an archive, latest first. `maepress restore` goes back to one of them.",
    example="maepress history s3://archive/photos",
    settings=_settings,
    run=_run,
    extra="archive",
    positionals=("archive",),
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
