"""`maepress tune`: search for the best training settings."""

import shlex
import sys
from typing import TYPE_CHECKING

from jobs.framework.job import DONE, Job
from jobs.framework.output import Cell, Output
from jobs.framework.ray_session import ray_session

if TYPE_CHECKING:
    from pipeline.tune.settings import TuneSettings


def _settings() -> "type[TuneSettings]":
    from pipeline.tune.settings import TuneSettings

    return TuneSettings


def _run(settings: "TuneSettings", output: Output) -> int:
    from pipeline.sources.open import open_source
    from pipeline.tune.run import BEST, checked_output, tune_training

    open_source(settings.images)  # before Ray starts, so that a mistyped place is answered at once
    checked_output(settings)
    with ray_session(output.progress):
        result = tune_training(settings, output.progress)
    output.result(result.to_dict())
    names = sorted(result.trials[0].drawn)
    rows: list[tuple[Cell, ...]] = [
        (*(t.drawn[n] for n in names), t.loss, t.minutes, t.steps, "early" if t.ended_early else "")
        for t in result.trials
    ]
    output.table("trials, best first", rows, (*names, "loss", "minutes", "steps", "ended"))
    command = ("maepress", "train", settings.images, "--out", "MODEL", "--config", f"{settings.out}/{BEST}")
    output.line(f"train with it: {shlex.join(command)}")
    return DONE


JOB: "Job[TuneSettings]" = Job(
    name="tune",
    about="Runs many short trainings with random settings and stops the worst ones early. Writes the table of trials, "
    "their curves, and the best settings as a configuration file for train.",
    example="maepress tune s3://photos/2024 --out tuning --trials 12 --minutes 5",
    settings=_settings,
    run=_run,
    extra="train",
    positionals=("images",),
    metavars={
        "out": "DIR",
        "init": "base|scratch|MODEL",
        "learning_rate": "LOW:HIGH",
        "batch": "N,N",
        "crop": "N,N",
        "width": "N,N",
    },
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
