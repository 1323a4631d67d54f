"""`maepress decompress`: decode one `.mae` file to an image."""

import sys

from pydantic import BaseModel, ConfigDict, Field

from jobs.framework.job import DONE, Job
from jobs.framework.output import Output
from jobs.framework.single_file import read_file, require_two_files, write_file
from model.core.errors import MaepressError


class DecompressSettings(BaseModel):
    """Settings of `maepress decompress`: file, image and model."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    file: str = Field(description="the .mae file")
    out: str = Field(
        description="the image to write; its suffix selects the format (.png, .jpg, .webp, .tif, .avif, .jxl)"
    )
    model: str | None = Field(
        None, description="the model that compressed it, or its folder [default: the shipped one that did]"
    )
    overwrite: bool = Field(False, description="replace OUT if it is there and differs")


def _run(settings: DecompressSettings, output: Output) -> int:
    # Imported here because torch takes two seconds, which `maepress --help` should not.
    from model.codec import Codec
    from pipeline.archive.model_store import local_model
    from pipeline.images.image_writer import AGAIN, SUFFIXES, format_of, write_as

    wanted = format_of(settings.out)
    if wanted is None:
        raise MaepressError(
            f"{settings.out} has no suffix of an image format: end it with {', '.join(SUFFIXES.values())}"
        )
    require_two_files(settings.file, settings.out)
    payload = read_file(settings.file)
    try:
        codec = Codec.load(local_model(settings.model or _shipped(payload)))
        (picture,) = codec.decompress([payload])
        made = write_as(picture, wanted)
    except (MaepressError, ValueError) as e:  # ValueError: a skeleton that is damaged
        raise MaepressError(f"{settings.file}: {e}") from e
    if made.instead:
        raise MaepressError(f"{settings.out}: {wanted} cannot hold this image's {made.instead}: write a .png")
    write_file(settings.out, made.data, overwrite=settings.overwrite)
    lost = ", ".join(name for name in made.lost if name != AGAIN)
    output.line(f"{settings.out}: {picture.width}x{picture.height}{lost and f', without {lost}'}")
    return DONE


def _shipped(payload: bytes) -> str:
    """The name of the shipped model that a file names; "base" for another's, whose error then names it."""
    from model.bitstream.container import read_header
    from model.core.model_files import shipped_model

    return shipped_model(read_header(payload).fingerprint) or "base"


JOB = Job(
    name="decompress",
    about="Decodes a .mae file to an image, with the ICC profile, EXIF and XMP of its source. "
    "It needs the model that compressed the file.",
    example="maepress decompress photo.mae photo.png",
    settings=lambda: DecompressSettings,
    run=_run,
    positionals=("file", "out"),
    metavars={"model": "base|MODEL"},
    has_json=False,
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
