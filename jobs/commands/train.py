"""`maepress train`: train a codec on images."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from jobs.framework.job import DONE, Job
from jobs.framework.output import Output
from jobs.framework.ray_session import ray_session

if TYPE_CHECKING:
    from pipeline.train.settings import TrainSettings


def _settings() -> "type[TrainSettings]":
    from pipeline.train.settings import TrainSettings

    return TrainSettings


def _run(settings: "TrainSettings", output: Output) -> int:
    from pipeline.archive.model_name import named
    from pipeline.sources.open import open_source
    from pipeline.train.run import checked_output, train

    open_source(settings.images)  # before Ray starts, so that a mistyped place is answered at once
    checked_output(settings)
    with ray_session(output.progress):
        result = train(settings, notify=output.progress)
    output.result(asdict(result))
    output.table(
        "",
        [
            ("model", named(result.name, result.fingerprint)),
            ("place", result.out),
            ("steps", result.steps),
            ("minutes", round(result.minutes, 1)),
        ],
    )
    if result.validation and not result.improved:
        output.line(
            "\nno step was better on the held-out images than the model that this run began with, so the model is\n"
            "that one: train longer, or on more images"
        )
    if result.validation:
        columns = list(result.validation[-1])
        output.table("validation", [[row.get(name) for name in columns] for row in result.validation], columns)
    return DONE


JOB: "Job[TrainSettings]" = Job(
    name="train",
    about="Trains a codec on a folder or bucket of images with any number of DDP workers. Without a limit it runs "
    "until it is interrupted; the same command continues where it stopped. MODEL is the best model by validation loss.",
    example="maepress train s3://photos/2024 --out models/photos --workers 2 --max-minutes 30",
    settings=_settings,
    run=_run,
    extra="train",
    positionals=("images",),
    metavars={"out": "MODEL", "init": "base|scratch|MODEL"},
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
