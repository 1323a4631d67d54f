"""A restored JPEG is written with its source's tables, near its source's size; hostile tables are one error."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from model.core.picture import Picture
from model.metrics.psnr import psnr
from pipeline.containers.contents import Columns, Part, Skeleton
from pipeline.containers.jpeg.jpeg import read
from pipeline.containers.jpeg.quantisation import QUANTISATION, quantisation_of
from pipeline.containers.skeleton_bytes import pack, unpack
from pipeline.images.image_writer import write_picture
from tests.conftest import photo_like
from tests.pipeline.containers.files import encoded, picture_of, restored

PHOTO = Image.fromarray(photo_like(160, 200))


def pixels_of(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [30, 75, 92])
def test_tables_and_sampling_of_the_source_come_back(quality: int, sampling: str) -> None:
    source = encoded(PHOTO, "JPEG", quality=quality, subsampling=sampling)
    again = restored(source)
    with Image.open(io.BytesIO(source)) as before, Image.open(io.BytesIO(again)) as after:
        assert before.quantization == after.quantization  # type: ignore[attr-defined]
        assert before.layer == after.layer  # type: ignore[attr-defined]


@pytest.mark.parametrize("quality", [40, 75, 90])
def test_a_noisy_decode_comes_back_near_the_sources_size_and_nearer_to_its_pixels(quality: int) -> None:
    source = encoded(PHOTO, "JPEG", quality=quality, subsampling="4:2:0", optimize=True)
    pixels = pixels_of(source)
    noise = np.random.default_rng(0).normal(0, 1.5, pixels.shape)
    decoded = np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)
    picture = replace(picture_of(source), pixels=decoded)
    small, large = write_picture(picture, "jpeg"), write_picture(replace(picture, skeleton=b""), "jpeg")
    assert 0.9 * len(source) < len(small) < 1.2 * len(source) < len(large)
    assert psnr(pixels, pixels_of(small)) > psnr(pixels, pixels_of(large))


@pytest.mark.parametrize(
    "options",
    [{"mode": "L"}, {"qtables": [[5] * 64, [9] * 64, [3] * 64]}, {"qtables": [[7] * 64]}, {"progressive": True}],
    ids=["grey", "three tables", "one table", "progressive"],
)
def test_other_kinds_come_back_with_their_tables(options: dict[str, object]) -> None:
    image = PHOTO.convert(str(options.get("mode", "RGB")))
    source = encoded(image, "JPEG", **{name: value for name, value in options.items() if name != "mode"})
    with Image.open(io.BytesIO(source)) as before, Image.open(io.BytesIO(restored(source))) as after:
        tables = [[image.quantization[part[3]] for part in image.layer] for image in (before, after)]  # type: ignore[attr-defined]
        assert tables[0] == tables[1]


def test_a_jpeg_of_rgb_or_of_unusual_sampling_comes_back_at_quality_95() -> None:
    source = encoded(PHOTO, "JPEG", keep_rgb=True, quality=50)
    stored = quantisation_of(read(source).skeleton, 3)
    assert stored is not None and (stored.sampling, stored.tables[0][0]) == ("4:4:4", 2)
    with Image.open(io.BytesIO(restored(source))) as image:
        assert image.quantization[0][0] == 2  # type: ignore[attr-defined]


def test_the_finest_tables_of_a_noisy_picture_do_not_overflow_the_writer() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8))
    source = encoded(noise, "JPEG", qtables=[[1] * 64] * 2, subsampling="4:4:4")
    assert len(restored(source)) > 600 * 600


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x22",
        b"\x22" + bytes([0] * 64),
        b"\x22" + bytes([1] * 63),
        b"\x22" + bytes([1] * 256),
        b"\x41" + bytes([1] * 128),
        b"\0" + bytes([1] * 128),
    ],
)
def test_tables_that_no_jpeg_has_are_an_error(content: bytes) -> None:
    skeleton = unpack(pack(Skeleton("jpeg", (Part(QUANTISATION, (content,)),))))
    picture = Picture(photo_like(64, 64), skeleton=pack(skeleton))
    with pytest.raises(ValueError, match="quantisation tables"):
        write_picture(picture, "jpeg")


def test_two_parts_of_tables_or_tables_of_another_kind_of_picture_are_no_trap() -> None:
    part = Part(QUANTISATION, (b"\x11" + bytes([3] * 64),))
    with pytest.raises(ValueError, match="quantisation tables"):
        quantisation_of(Skeleton("jpeg", (part, part)), 1)
    assert quantisation_of(Skeleton("jpeg", (part,)), 3) is None
    assert quantisation_of(Skeleton("jpeg", (part,)), 1) is not None
    assert part.data(Columns())
