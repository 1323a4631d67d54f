"""`maepress status`: count what an archive holds."""

import sys
from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any

from jobs.framework.job import DONE, Job
from jobs.framework.output import Cell, Output

if TYPE_CHECKING:
    from pipeline.maintain.settings import StatusSettings
    from pipeline.maintain.status import ArchiveStatus
    from pipeline.runs.checks import Checked


_MOST_VALUES = 8
"""Values that a line lists."""
_MOST_DAMAGE = 20
"""Problems that are listed."""


def _settings() -> "type[StatusSettings]":
    from pipeline.maintain.settings import StatusSettings

    return StatusSettings


def _run(settings: "StatusSettings", output: Output) -> int:
    from pipeline.maintain.status import status

    found = status(settings)
    output.result(found.to_dict())
    output.table(found.archive, in_words(found))
    if found.unfinished_erasures:
        output.line(
            f"\n{found.unfinished_erasures} erasures were interrupted: `maepress forget {found.archive}` ends them"
        )
    if found.rejections:
        output.table("\nrejected", list(found.rejections.items()))
        keys = list(found.rejected_keys.items())
        more = [("...", f"{found.rejected - len(keys):,} more")] if found.rejected > len(keys) else []
        output.table("\nrejected keys: no version of these, or an older one, is in the archive", [*keys, *more])
    if folders := found.left_out.get("unlisted_folders"):
        output.table(f"\nfolders that {found.left_out['run']} could not list", list(folders.items()))
    if found.checked.problems:
        damage = [(damaged.what, damaged.problem) for damaged in found.checked.problems[:_MOST_DAMAGE]]
        output.table("\ndamage known: maepress verify --repair-from REPLICA", damage)
    if found.versions:
        versions = [
            (v.version, f"{v.time:%Y-%m-%d %H:%M:%S}", v.operation, None if v.rows is None else f"{v.rows:,}", v.run)
            for v in found.versions
        ]
        output.table("\nversions", versions, ("version", "time (UTC)", "operation", "rows", "run"))
    if found.runs:
        columns = ("run", "job", "outcome", "took", "rows", "rejected", "bytes", "MP/s")
        output.table("\nruns", [_run_in_words(run) for run in found.runs], columns)
    elif settings.runs:
        output.line("\nruns: none is recorded; encode and sync record theirs when they end")
    return DONE


def _run_in_words(run: Mapping[str, Any]) -> tuple[Cell, ...]:
    """A run's record as a row of a table; a failed run has its error in place of the byte counts."""
    from pipeline.monitoring.formatting import duration, size

    head = (run["run"], run["job"], run["outcome"], duration(run["seconds"]))
    done = run["result"]
    if done is None:
        return (*head, None, None, run["error"], None)
    speed = done["megapixels_per_second"]
    return (
        *head,
        done["latents"] + done.get("standard", 0) + done["transcoded"] + done.get("kept_pixels", 0) + done["originals"],
        done["rejected"],
        f"{size(done['source_bytes'])} -> {size(done['payload_bytes'])}",
        None if speed is None else round(speed, 1),
    )


def in_words(found: "ArchiveStatus") -> list[tuple[str, Cell]]:
    """Rows of a table with the totals; counts of zero are left out."""
    from pipeline.archive.model_name import named
    from pipeline.monitoring.formatting import counted, size

    rows: list[tuple[str, Cell]] = [
        ("images", f"{found.rows:,} ({found.pixels / 1e6:,.1f} MP)"),
        ("compressed", found.latents + found.standard),
        ("of these as", _listed(found.codecs) if found.standard else ""),
        ("kept as JPEG XL", found.transcoded),
        ("kept as JPEG XL of their samples", found.kept_pixels),
        ("kept unchanged", found.originals),
        ("originals released", found.released),
        ("erased", found.erased),
        ("rejected", found.rejected),
        ("left out by include and exclude", found.left_out.get("excluded") or 0),
        ("folders not listed", found.left_out.get("unlisted") or 0),
        ("source", size(found.source_bytes)),
    ]
    if found.ratio is not None:
        rows.append(("archive", f"{size(found.shard_bytes)} in {counted(found.shards, 'shard')} ({found.ratio:.1f}x)"))
    if found.shards:
        rows.append(("checked", _checked_in_words(found.checked, found.shards)))
    for name, unit, values in (("PSNR", " dB", found.psnr), ("SSIMULACRA2", "", found.ssimulacra2)):
        if values["mean"] is not None and values["least"] is not None:
            low, middle, high = (f"{values[at]:.1f}" for at in ("p5", "p50", "p95"))
            spread = f"5 % below {low}, half below {middle}, 95 % below {high}"
            rows.append((name, f"{values['mean']:.1f}{unit} on average, {values['least']:.1f} at worst ({spread})"))
    models = {named(found.model_names.get(one, ""), one): count for one, count in found.models.items()}
    for name, counts in (("kept because", found.kept), ("targets", found.targets), ("models", models)):
        rows.append((name, _listed(counts)))
    rows.append(("qualities", _spread(found.qualities)))
    rows.append(("formats", _listed(found.formats)))
    return [row for row in rows if row[1]]


def _checked_in_words(checked: "Checked", shards: int) -> str:
    """When the shards were checked by `maepress verify --part`."""
    if checked.oldest is None:
        return "no shard yet (maepress verify --part K/N)"
    words = f"all shards since {checked.oldest:%Y-%m-%d %H:%M} UTC"
    if checked.never:
        words = f"since {checked.oldest:%Y-%m-%d %H:%M} UTC; {checked.never:,} of {shards:,} shards never"
    return f"{words}; {checked.damaged:,} damaged" if checked.damaged else words


def _listed(counts: Mapping[Any, int]) -> str:
    """The most frequent values with their counts."""
    words = [f"{value} ({count:,})" for value, count in islice(counts.items(), _MOST_VALUES)]
    return ", ".join([*words, f"{len(counts) - _MOST_VALUES:,} more"] if len(counts) > _MOST_VALUES else words)


def _spread(counts: Mapping[float, int]) -> str:
    """Numbers with their counts; of many numbers their range and their median."""
    if len(counts) <= _MOST_VALUES:
        return _listed({f"{value:g}": count for value, count in counts.items()})
    values = sorted(counts)
    below = list(accumulate(counts[value] for value in values))
    median = values[bisect_left(below, (below[-1] + 1) // 2)]
    return f"{values[0]:g} to {values[-1]:g}, median {median:g}"


JOB: "Job[StatusSettings]" = Job(
    name="status",
    about="Shows what an archive holds. It reads the tables only, no payloads.",
    example="maepress status s3://archive/photos --json",
    settings=_settings,
    run=_run,
    extra="archive",
    positionals=("archive",),
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
