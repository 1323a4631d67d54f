"""`maepress sync`: make an archive match its source; the nightly job."""

import sys
from typing import TYPE_CHECKING

from jobs.commands.encode import hint_at_repress, in_words, warn_of_reappeared
from jobs.framework.job import DONE, FAILED, Job
from jobs.framework.output import Cell, Output, complain
from jobs.framework.ray_session import ray_session

if TYPE_CHECKING:
    from pipeline.planning.planner import EncodePlan
    from pipeline.sync.settings import SyncSettings


def _settings() -> "type[SyncSettings]":
    from pipeline.sync.settings import SyncSettings

    return SyncSettings


def _run(settings: "SyncSettings", output: Output) -> int:
    from pipeline.encode.run import checked_source
    from pipeline.sync.run import sync

    if settings.dry_run:
        result = sync(settings, quiet=output.quiet)
        output.table("planned", _plan_in_words(result.plan), ("", "images", "bytes"))
    else:
        checked_source(settings)  # before Ray starts, so that a mistake, or another run, is answered at once
        with ray_session(output.progress):
            result = sync(settings, quiet=output.quiet)
        if result.adapted:
            output.line(result.adapted.described())
        if result.done:
            output.table("", in_words(result.done))
            hint_at_repress(result.done, output)
    output.result(result.to_dict())
    reappeared = warn_of_reappeared(result.plan.reappeared, result.plan.reappeared_keys)
    failed = complain(result.warning, result.done.missing if result.done else None)
    return FAILED if failed or reappeared else DONE


def _plan_in_words(plan: "EncodePlan") -> list[tuple[Cell, ...]]:
    from pipeline.monitoring.formatting import size

    rows: list[tuple[str, int, int | None]] = [
        ("encode new images", plan.new, plan.new_bytes),
        ("encode changed images", plan.changed, plan.changed_bytes),
        ("encode again", plan.stale, plan.stale_bytes),
        ("retire", plan.retire, plan.gone_bytes if plan.retire else 0),
        ("unchanged", plan.unchanged, None),
        ("of these by another model or target", plan.other_settings, None),
        ("encode again in a later run", plan.stale_left, None),
        ("keep although the source is gone", plan.withheld, plan.gone_bytes),
        ("rejected before", plan.rejected, None),
        ("released before", plan.released, None),
        ("barred by an erasure", plan.barred, None),
        ("newer than the source's inventory", plan.newer, None),
        ("left out by include and exclude", plan.excluded, None),
        ("keep although these leave it out", plan.excluded_rows, None),
        ("folders that cannot be listed", len(plan.unlisted), None),
        ("shards to write", plan.units, None),
    ]
    always = 4  # the first four are shown even if they are zero
    return [
        (name, count, None if bytes_ is None else size(bytes_))
        for i, (name, count, bytes_) in enumerate(rows)
        if count or i < always
    ]


JOB: "Job[SyncSettings]" = Job(
    name="sync",
    about="Makes an archive match its source: encodes new and changed images, retires rows whose source is gone "
    "(unless these are suspiciously many), and, with --repress, encodes again what was encoded with another model or "
    "target. CONFIG holds the settings by name, at least source and archive. "
    "The exit status is 1 if rows were not retired or anything of the source is not in the archive, and 75 if another "
    "run is at work on the archive.",
    example="maepress sync nightly.yaml --dry-run",
    settings=_settings,
    run=_run,
    extra="archive",
    positionals=(),
    metavars={"model": "base|MODEL", "actors": "MIN:MAX", "source": "SOURCE", "archive": "ARCHIVE"},
    by_config=True,
    scheduled=True,
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
