"""`maepress probe`: train a classifier on an archive's latents and test it on images held out."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from jobs.framework.job import DONE, Job
from jobs.framework.output import Output

if TYPE_CHECKING:
    from pipeline.probe.run import Outcome
    from pipeline.probe.settings import ProbeSettings


def _settings() -> "type[ProbeSettings]":
    from pipeline.probe.settings import ProbeSettings

    return ProbeSettings


def _run(settings: "ProbeSettings", output: Output) -> int:
    from pipeline.probe.run import probe

    found = probe(settings, notify=output.progress)
    output.result(found.to_dict())
    output.line(f"{found.learned:,} training images, {found.held_out:,} test images")
    if found.without_label:
        output.line(f"{found.without_label:,} images have no label by this rule and were left out")
    outcomes = {f"from latents ({found.content})": found.latents}
    if found.pixels is not None:
        outcomes["from decoded pixels"] = found.pixels
    for name, outcome in outcomes.items():
        output.line(f"\n{name}\n{outcome.report.to_text()}")
    rows = [(label, *(cell(outcome) for outcome in outcomes.values())) for label, cell in _FACTS.items()]
    output.table("", rows, ("", *outcomes))
    return DONE


def _seconds(spent: float, processor: float) -> str:
    return f"{spent:,.1f} s ({processor:,.1f} s of processor time)"


_FACTS: "dict[str, Callable[[Outcome], str]]" = {
    "accuracy": lambda outcome: f"{outcome.report.accuracy:.1%}",
    "reading, once": lambda outcome: _seconds(outcome.read_seconds, outcome.read_cpu_seconds),
    "learning": lambda outcome: _seconds(outcome.learn_seconds, outcome.learn_cpu_seconds),
    "multiply-adds per image": lambda outcome: f"{outcome.multiply_adds / 1e6:,.1f} M",
    "numbers per position": lambda outcome: f"{outcome.numbers:,}",
}


JOB: "Job[ProbeSettings]" = Job(
    name="probe",
    about="Trains a small head on the quantised latents of an archive's images and tests it on images held out, "
    "compared with the same head on decoded pixels at equal compute, with the time of both. Needs no cluster.",
    example="maepress probe s3://archive/photos --label-from-key '/(cat|dog)[^/]*$'",
    settings=_settings,
    run=_run,
    extra="archive",
    positionals=("archive",),
    metavars={"label_from_key": "folder|REGEX", "cache": "FOLDER"},
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
