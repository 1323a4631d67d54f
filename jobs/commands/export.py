"""`maepress export`: leave maepress, with every key as a file in a standard format."""

import sys
from typing import TYPE_CHECKING

from jobs.commands.decode import show
from jobs.framework.job import DONE, FAILED, Job
from jobs.framework.output import Output
from jobs.framework.ray_session import ray_session

if TYPE_CHECKING:
    from pipeline.decode.settings import ExportSettings


def _settings() -> "type[ExportSettings]":
    from pipeline.decode.settings import ExportSettings

    return ExportSettings


def _run(settings: "ExportSettings", output: Output) -> int:
    from pipeline.decode.export import export
    from pipeline.decode.run import checked_archive

    checked_archive(settings)  # before Ray starts, so that a mistyped place is answered at once
    with ray_session(output.progress):
        result = export(settings, quiet=output.quiet)
    output.result(result.to_dict())
    show(result.decoded, output)
    output.line(f"what each file lacks: {result.losses_file} in {settings.dest}")
    return DONE if result.ok else FAILED


JOB: "Job[ExportSettings]" = Job(
    name="export",
    about="Leaves maepress: writes every key of an archive as a file in a standard format, with its metadata, and "
    "losses.jsonl, which names for each key its file and what that lacks. Files that are there already and are equal "
    "stay, so that the same command continues; others are never replaced unless --overwrite is given. The exit status "
    "is 0 only if every key has its file.",
    example="maepress export s3://archive/photos /mnt/photos",
    settings=_settings,
    run=_run,
    extra="archive",
    positionals=("archive", "dest"),
    metavars={"keys": "GLOB", "actors": "MIN:MAX"},
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
