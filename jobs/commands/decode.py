"""`maepress decode`: write an archive's images to files."""

import contextlib
import sys
from typing import TYPE_CHECKING

from jobs.framework.job import DONE, FAILED, Job
from jobs.framework.output import Output
from jobs.framework.ray_session import ray_session

if TYPE_CHECKING:
    from pipeline.decode.result import DecodeResult
    from pipeline.decode.settings import DecodeSettings


def _settings() -> "type[DecodeSettings]":
    from pipeline.decode.settings import DecodeSettings

    return DecodeSettings


def _run(settings: "DecodeSettings", output: Output) -> int:
    from pipeline.decode.run import checked_archive, decode

    checked_archive(settings)  # before Ray starts, so that a mistyped place is answered at once
    joins_videos = settings.format == "mp4"  # in this process
    with contextlib.nullcontext() if joins_videos else ray_session(output.progress):
        result = decode(settings, quiet=output.quiet)
    output.result(result.to_dict())
    show(result, output)
    return FAILED if result.failed else DONE


def show(result: "DecodeResult", output: Output) -> None:
    """Print what was written, what the files lack, and what failed."""
    from pipeline.monitoring.formatting import duration, size

    rows: list[tuple[str, str | int]] = [
        ("written", f"{result.written:,} files, {size(result.bytes_written)}"),
        ("decoded", result.latents + result.standard),
        ("JPEGs from JPEG XL", result.transcoded),
        ("kept pictures, written anew", result.kept_pixels),
        ("written unchanged", result.originals),
        ("failed", result.failed),
        ("speed", f"{result.pixels / 1e6 / result.seconds:.1f} MP/s, {duration(result.seconds)}"),
    ]
    output.table("", [row for row in rows if row[1]])
    for title, counts in (("not in the files", result.losses), ("written in another format", result.instead)):
        if counts:
            output.table(title, list(counts.items()))
    if result.failed:
        output.table("failed", [(failure.key, failure.reason) for failure in result.failures])


JOB: "Job[DecodeSettings]" = Job(
    name="decode",
    about="Writes an archive's images to a folder or bucket: compressed ones decoded, the others byte for byte as "
    "their sources. Existing files that differ are kept unless --overwrite is given. An image that is not written is "
    "reported, the others are written, and the exit status is 1.",
    example="maepress decode s3://archive/photos restored --keys '2024/*' --format png",
    settings=_settings,
    run=_run,
    extra="archive",
    positionals=("archive", "dest"),
    metavars={"keys": "GLOB", "actors": "MIN:MAX"},
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
