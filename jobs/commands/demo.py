"""`maepress demo`: the main jobs on sample photographs, or the codec alone."""

import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from jobs.demo import MINUTES
from jobs.framework.job import DONE, Job
from jobs.framework.output import Output
from model.core.errors import MissingPackage
from model.core.extras import remedy, require

FOLDER = Path("demo")


class DemoSettings(BaseModel):
    """Settings of `maepress demo`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    minutes: float = Field(MINUTES, gt=0, description="minutes of training")
    s3: bool = Field(False, description="read and write s3:// on an S3 server that the demo starts")
    codec: bool = Field(False, description="only the codec: one photograph as .mae files")


def _run(settings: DemoSettings, output: Output) -> int:
    whole = not settings.codec
    try:
        require("demo", "the demo of archives")
    except MissingPackage:
        if settings.s3:
            raise
        whole = False
    if whole:
        from jobs.demo.steps import run_demo

        return run_demo(on_s3=settings.s3, minutes=settings.minutes)
    from jobs.demo.codec_alone import run

    run(FOLDER, output)
    if not settings.codec:
        output.line(f"\nthis was the codec alone; training and archives, on 220 photographs: {remedy('demo')}")
    return DONE


JOB = Job(
    name="demo",
    about="Trains a codec on 220 sample photographs, encodes them into an archive, verifies it and decodes it, each by "
    "the command that you would type, in under three minutes; everything is in the folder demo/. Where only the codec "
    "is installed, it shows the codec: one photograph as .mae files.",
    example="maepress demo --minutes 2",
    settings=lambda: DemoSettings,
    run=_run,
    positionals=(),
    has_json=False,
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
