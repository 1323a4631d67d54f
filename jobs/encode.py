"""`maepress encode`: press a folder or bucket of images into an archive."""

import sys
from typing import TYPE_CHECKING

from jobs.cluster import ray_session
from jobs.job import DONE, Job
from jobs.output import Output

if TYPE_CHECKING:
    from pipeline.encoding_settings import EncodeSettings


def _settings() -> "type[EncodeSettings]":
    from pipeline.encoding_settings import EncodeSettings

    return EncodeSettings


def _run(settings: "EncodeSettings", output: Output) -> int:
    from pipeline.encoding import encode
    from pipeline.storage import open_source

    open_source(settings.source)  # before Ray starts, so that a mistyped place is answered at once
    with ray_session():
        result = encode(settings, quiet=output.quiet)
    output.result(result.to_dict())
    output.table("", [*result.to_dict().items()])
    return DONE


JOB: "Job[EncodeSettings]" = Job(
    name="encode",
    summary="press what is new or changed into an archive",
    about="Presses a folder or bucket of images into an archive, and makes the archive when there is none. It commits "
    "as it goes: after any interruption the same command continues. Later it presses only what is new or has changed.",
    example="maepress encode s3://photos/2024 s3://archive/photos --model models/photos --quality 45",
    settings=_settings,
    run=_run,
    positionals=("source", "archive"),
    metavars={"model": "base|MODEL", "actors": "MIN:MAX"},
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
