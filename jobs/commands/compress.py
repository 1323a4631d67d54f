"""`maepress compress`: compress one image into a `.mae` file."""

import sys
from typing import TYPE_CHECKING

from pydantic import Field

from jobs.framework.job import DONE, Job
from jobs.framework.output import Output
from jobs.framework.single_file import read_file, require_two_files, write_file
from model.core.effort import EFFORT_SETTING, Effort
from model.core.errors import MaepressError, UnsupportedImage
from model.core.model_files import MODEL_SETTING
from model.core.target import rounded_down
from pipeline.encode.target_settings import TargetSettings

if TYPE_CHECKING:
    from model.codec import Latents


class CompressSettings(TargetSettings):
    """Settings of `maepress compress`: image, file, model and target."""

    image: str = Field(description="the image to compress")
    out: str = Field(description="the file to write")
    model: str = Field("base", description=MODEL_SETTING)
    effort: Effort = Field(0, description=EFFORT_SETTING)
    overwrite: bool = Field(False, description="replace OUT if it is there and differs")


def _run(settings: CompressSettings, output: Output) -> int:
    from pipeline.images.limits import MAX_PIXELS, READING
    from pipeline.images.reading import Rejected
    from pipeline.images.sandbox.sandbox import shared

    require_two_files(settings.image, settings.out)
    source = read_file(settings.image)
    sandbox = shared(READING)
    sandbox.start()  # it gets ready on another core while torch is imported here
    # Imported here because torch takes two seconds, which `maepress --help` should not.
    from model.bitstream.container import METADATA
    from model.codec import Codec
    from pipeline.archive.model_store import local_model
    from pipeline.monitoring.formatting import size

    reading = sandbox.read(source, max_pixels=MAX_PIXELS)
    if isinstance(reading, Rejected):
        raise MaepressError(f"{settings.image} is no readable image: {reading.reason}")
    if reading.picture is None:
        raise UnsupportedImage(f"{settings.image} is of a kind that maepress does not compress: {reading.keep}")
    codec = Codec.load(local_model(settings.model))
    picture = reading.picture
    (latents,) = codec.analyse([picture], settings.target(), effort=settings.effort)
    if not latents.met:
        raise MaepressError(
            f"{settings.image} cannot be compressed to {settings.target().described()} by this model: "
            f"the nearest result is {_reached(latents)}"
        )
    payload = codec.coder.encode(latents, **{name: getattr(picture, name) for name in METADATA})
    write_file(settings.out, payload, overwrite=settings.overwrite)
    shape = f"{picture.width}x{picture.height}"
    gain = f"{size(len(source))} -> {size(len(payload))} ({len(source) / len(payload):.1f}x)"
    output.line(f"{settings.out}: {shape}, {gain}, {_reached(latents)}")
    return DONE


def _reached(latents: "Latents") -> str:
    """The quality and the measured fidelity of a compressed picture, as text."""
    assert latents.psnr is not None  # it is checked here
    words = f"quality {latents.header.fine_quality:g}, {rounded_down(latents.psnr, 2)} dB"
    if latents.ms_ssim is not None:
        words += f", MS-SSIM {rounded_down(latents.ms_ssim, 4)}"
    return words if latents.ssimulacra2 is None else f"{words}, SSIMULACRA2 {rounded_down(latents.ssimulacra2, 2)}"


JOB = Job(
    name="compress",
    about="Compresses one 8-bit image (JPEG, PNG, WebP ...) into a .mae file, with its ICC profile, EXIF and XMP. "
    "Decoding the file needs the same model.",
    example="maepress compress photo.jpg photo.mae --quality 45",
    settings=lambda: CompressSettings,
    run=_run,
    positionals=("image", "out"),
    metavars={"model": "base|MODEL"},
    has_json=False,
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
