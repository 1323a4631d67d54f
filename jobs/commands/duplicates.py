"""`maepress duplicates`: list images that an archive holds more than once."""

import sys
from typing import TYPE_CHECKING

from jobs.framework.job import DONE, Job
from jobs.framework.output import Output

if TYPE_CHECKING:
    from pipeline.duplicates.result import DuplicatesResult, Group
    from pipeline.duplicates.settings import DuplicatesSettings

NAMED = 8
"""Keys of a group that are printed; `--json` has up to 100."""


def _settings() -> "type[DuplicatesSettings]":
    from pipeline.duplicates.settings import DuplicatesSettings

    return DuplicatesSettings


def _run(settings: "DuplicatesSettings", output: Output) -> int:
    from pipeline.duplicates.run import duplicates

    found = duplicates(settings)
    output.result(found.to_dict())
    _show(found, output)
    return DONE


def _show(found: "DuplicatesResult", output: Output) -> None:
    from pipeline.monitoring.formatting import counted, size

    kinds = (("the same bytes", found.exact), (f"near (at most {found.distance} of 64 bits differ)", found.near))
    rows = [(name, s.groups, s.images, size(s.source_bytes), size(s.payload_bytes)) for name, s in kinds]
    output.table("", rows, ("duplicates", "groups", "images", "source bytes to save", "archive bytes to save"))
    if found.without_hash:
        output.line(f"{counted(found.without_hash, 'image')} of {found.rows:,} without a perceptual hash")
    for title, groups in (("the same bytes", found.exact_groups), ("near", found.near_groups)):
        _show_groups(title, groups, output)


def _show_groups(title: str, groups: "tuple[Group, ...]", output: Output) -> None:
    from pipeline.monitoring.formatting import size

    rows = []
    for number, group in enumerate(groups, 1):
        for copy in group.copies[:NAMED]:
            rows.append((str(number), f"{copy.width}x{copy.height}", size(copy.source_bytes), copy.key))
        if group.images > NAMED:
            rows.append((str(number), "", "", f"and {group.images - NAMED:,} more"))
    if rows:
        output.table(f"\n{title}", rows, ("group", "size", "source", "key"))


JOB: "Job[DuplicatesSettings]" = Job(
    name="duplicates",
    about="Lists the images that an archive holds more than once: those whose sources have the same bytes, and those "
    "whose pictures are nearly the same, such as copies in another size or quality. Nothing is decoded or changed.",
    example="maepress duplicates s3://archive/photos",
    settings=_settings,
    run=_run,
    positionals=("archive",),
    extra="archive",
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
