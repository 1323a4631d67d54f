"""`maepress decompress`: decode one `.mae` file to an image."""

import sys

from pydantic import BaseModel, ConfigDict, Field

from jobs.framework.job import DONE, Job
from jobs.framework.output import Output
from jobs.framework.single_file import read_file, require_two_files, write_file
from model.core.errors import MaepressError


class DecompressSettings(BaseModel):
    """Settings of `maepress decompress`: file, image and model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    from pipeline.images.image_writer import SUFFIXES, format_for, format_of, write_picture

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
    except MaepressError as e:
        raise MaepressError(f"{settings.file}: {e}") from e
    if format_for(picture, wanted) != wanted:
        raise MaepressError(f"{settings.out}: {wanted} cannot hold this image (alpha, or its size): write a .png")
    write_file(settings.out, write_picture(picture, wanted), overwrite=settings.overwrite)
    output.line(f"{settings.out}: {picture.width}x{picture.height}")
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
