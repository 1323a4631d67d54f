"""`maepress encode`: encode a folder or bucket of images into an archive."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobs.framework.job import DONE, FAILED, Job
from jobs.framework.output import Cell, Output, complain
from jobs.framework.ray_session import ray_session

if TYPE_CHECKING:
    from pipeline.encode.run import EncodeResult
    from pipeline.encode.settings import EncodeSettings


def _settings() -> "type[EncodeSettings]":
    from pipeline.encode.settings import EncodeSettings

    return EncodeSettings


def _run(settings: "EncodeSettings", output: Output) -> int:
    from pipeline.encode.run import checked_source, encode

    checked_source(settings)  # before Ray starts, so that a mistake, or another run, is answered at once
    with ray_session(output.progress):
        result = encode(settings, quiet=output.quiet)
    output.result(result.to_dict())
    output.table("", in_words(result))
    hint_at_repress(result, output)
    reappeared = warn_of_reappeared(result.reappeared, result.reappeared_keys)
    return FAILED if complain(result.missing) or reappeared else DONE


def warn_of_reappeared(count: int, keys: Sequence[str]) -> bool:
    """Name objects that were not encoded as the originals of their rows were released; whether there are any."""
    if not count:
        return False
    some = ", ".join(map(repr, keys[:3])) + (" ..." if count > 3 else "")
    complain(
        f"{count:,} objects were not encoded, as their keys belong to images whose originals were released: "
        f"{some}; give them other keys, or see `maepress release --withdraw`"
    )
    return True


def hint_at_repress(result: "EncodeResult", output: Output) -> None:
    """Say which unchanged images another model, codec or target compressed, and what would compress them again."""
    if result.other_settings:
        output.line(
            f"\n{result.other_settings:,} of the unchanged images were compressed by another model or codec, with "
            "another effort, or to another target:\n--repress compresses them again"
        )


def in_words(result: "EncodeResult") -> list[tuple[str, Cell]]:
    """Rows of a table with the result; counts of zero are left out."""
    from pipeline.archive.model_name import named
    from pipeline.monitoring.formatting import duration, size

    counts: list[tuple[str, int]] = [
        ("compressed", result.latents + result.standard),
        ("kept as JPEG XL", result.transcoded),
        ("kept as JPEG XL of their samples", result.kept_pixels),
        ("kept unchanged", result.originals),
        ("rejected", result.rejected),
        ("unchanged", result.unchanged),
        ("rejected before", result.rejected_before),
        ("gone from the source", result.gone),
        ("retired", result.retired),
        ("released before", result.released),
        ("barred by an erasure", result.barred),
        ("newer than the source's inventory", result.newer),
        ("left out by include and exclude", result.excluded),
        ("rows that these leave out, and that stay", result.excluded_rows),
        ("folders that could not be listed", result.unlisted),
    ]
    rows: list[tuple[str, Cell]] = [pair for pair in counts if pair[1]]
    if result.standard:
        rows.append(("of these as", ", ".join(f"{codec} ({count:,})" for codec, count in result.codecs.items())))
    if result.kept:
        rows.append(("kept because", ", ".join(f"{reason} ({count:,})" for reason, count in result.kept.items())))
    if result.payload_bytes:
        ratio = result.source_bytes / result.payload_bytes
        rows.append(("bytes", f"{size(result.source_bytes)} -> {size(result.payload_bytes)} ({ratio:.1f}x)"))
        rows.append(("speed", f"{result.pixels / 1e6 / result.seconds:.1f} MP/s, {duration(result.seconds)}"))
    if result.stored_once:
        rows.append(("stored once from now on", f"{result.stored_once:,} ({size(result.stored_once_bytes)})"))
    if result.stored_once_left:
        rows.append(("not all is stored once yet", result.stored_once_left))
    return [*rows, ("model", named(result.model_name, result.model))] if result.model else rows


JOB: "Job[EncodeSettings]" = Job(
    name="encode",
    about="Encodes a folder or bucket of images into an archive, and creates the archive if there is none. It commits "
    "while it runs: after an interruption, the same command continues. Later runs encode only new and changed images. "
    "The exit status is 1 if anything of the source is not in the archive.",
    example="maepress encode s3://photos/2024 s3://archive/photos --model models/photos --quality 45",
    settings=_settings,
    run=_run,
    extra="archive",
    positionals=("source", "archive"),
    metavars={"model": "base|MODEL", "actors": "MIN:MAX"},
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
