"""`maepress estimate`: predict what encoding a source would save and cost, and how long it would take."""

import sys
from typing import TYPE_CHECKING

from jobs.framework.job import DONE, Job
from jobs.framework.output import Cell, Output

if TYPE_CHECKING:
    from pipeline.estimate.byte_sampling import Interval
    from pipeline.estimate.run import EstimateResult
    from pipeline.estimate.settings import EstimateSettings


_LEAST_DOLLARS = 0.01


def _settings() -> "type[EstimateSettings]":
    from pipeline.estimate.settings import EstimateSettings

    return EstimateSettings


def _run(settings: "EstimateSettings", output: Output) -> int:
    from pipeline.estimate.run import estimate

    found = estimate(settings, notify=output.progress)
    output.result(found.to_dict())
    output.table(f"{found.source}, encoded to {found.target}", in_words(found), ("", "estimate", "95 % interval"))
    return DONE


def _dollars(amount: float) -> str:
    return f"{amount:,.2f} dollars" if amount >= _LEAST_DOLLARS else f"under {_LEAST_DOLLARS} dollars"


def in_words(found: "EstimateResult") -> list[tuple[Cell, ...]]:
    """Rows of a table with the estimate: a name, a value, its interval."""
    from pipeline.monitoring.formatting import duration, size

    def of_bytes(interval: "Interval") -> tuple[str, str]:
        share = f"{interval.value / found.source_bytes:.0%}"
        return f"{size(interval.value)} ({share})", f"{size(interval.low)} to {size(interval.high)}"

    def of_dollars(interval: "Interval") -> tuple[str, str | None]:
        if interval.high < _LEAST_DOLLARS:
            return f"under {_LEAST_DOLLARS} dollars", None
        return f"{interval.value:,.2f} dollars", f"{interval.low:,.2f} to {interval.high:,.2f}"

    def of_hours(interval: "Interval") -> tuple[str, str]:
        value, low, high = (duration(3600 * hours) for hours in (interval.value, interval.low, interval.high))
        return value, f"{low} to {high}"

    metric = "SSIMULACRA2" if found.target.startswith("min_ssimulacra2") else "PSNR"
    shares = ", ".join(f"{status} {share:.0%}" for status, share in found.shares.items() if share)
    rows: list[tuple[Cell, ...]] = [
        ("source", size(found.source_bytes), None),
        ("objects", f"{found.objects:,}", None),
        ("images encoded for this", f"{found.sampled:,}", "all of them" if found.census else None),
        ("bytes by outcome", shares, None),
        ("archive", *of_bytes(found.stored_bytes)),
        *((f"as {name}, same {metric}", *of_bytes(interval)) for name, interval in found.rival_bytes.items()),
        ("saved", *of_bytes(found.saved_bytes)),
        ("work, on one core", *of_hours(found.core_hours)),
        (f"time on {found.machine}", *of_hours(found.hours)),
        ("cost, once", *of_dollars(found.cost)),
        (f"{found.storage}, per month", f"{_dollars(found.month_now)} now", None),
        ("saved per month", *of_dollars(found.month_saved)),
    ]
    if found.pays_back_months is not None:
        rows.append(("pays back after", f"{found.pays_back_months:,.2g} months", None))
    return rows


JOB: "Job[EstimateSettings]" = Job(
    name="estimate",
    about="Encodes a sample from the whole key range and predicts size, saving, time and cost for the whole source, "
    "each with a 95 % interval, compared with no encoding, WebP and AVIF. Nothing is written, no cluster is needed.",
    example="maepress estimate s3://photos/2024 --min-psnr 38 --machine c7i.4xlarge-spot --machines 8",
    settings=_settings,
    run=_run,
    extra="archive",
    positionals=("source",),
    metavars={"model": "base|MODEL", "prices": "FILE", "storage": "NAME", "machine": "NAME"},
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
