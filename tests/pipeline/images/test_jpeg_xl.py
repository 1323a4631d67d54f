"""Transcodes of real JPEG files: the same bytes come back, or there is no transcode."""

import io
from pathlib import Path

import pytest
from PIL import Image, ImageCms

from model.core.errors import DamagedPayload
from pipeline.images.formats.jpeg_xl import JPEG_START, to_jpeg, to_jxl
from tests.conftest import photo_like


def jpeg(mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photo_like(120, 160)).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    return exif


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 90},
        {"quality": 95, "subsampling": 0},
        {"quality": 75, "progressive": True},
        {"quality": 90, "restart_marker_blocks": 4},
        {
            "quality": 90,
            "exif": rotated(),
            "icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
            "xmp": b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>",
            "comment": b"hello",
        },
        {"mode": "L", "quality": 90},
    ],
)
def test_the_same_bytes_come_back(options: dict[str, object]) -> None:
    source = jpeg(**options)  # type: ignore[arg-type]
    jxl = to_jxl(source)
    assert jxl is not None
    assert to_jpeg(jxl) == source


def test_bytes_after_the_end_come_back_too_or_there_is_no_transcode() -> None:
    source = jpeg(quality=90) + b"trailing bytes of a camera" * 9
    jxl = to_jxl(source)
    assert jxl is None or to_jpeg(jxl) == source


@pytest.mark.parametrize("source", [b"", b"\xff\xd8\xff", jpeg(quality=90)[:-300], jpeg("CMYK", quality=90)])
def test_a_file_that_is_not_strictly_a_jpeg_has_no_transcode(source: bytes) -> None:
    assert to_jxl(source) is None


def test_a_damaged_transcode_is_reported_as_damaged() -> None:
    jxl = to_jxl(jpeg(quality=90))
    assert jxl is not None
    with pytest.raises(DamagedPayload, match="no JPEG XL transcode"):
        to_jpeg(jxl[:-40])


def test_every_jpeg_at_hand_comes_back_or_is_refused(shared_data: Path) -> None:
    """Fuzzed, cut, CMYK, progressive, with odd markers; and a few photographs."""
    files = [p for p in sorted((shared_data / "awkward").rglob("*")) if p.is_file() and p.stat().st_size < 200_000]
    files += sorted((shared_data / "clothing" / "test").rglob("*.jpg"))[:10]
    sources = [data for data in (p.read_bytes() for p in files) if data.startswith(JPEG_START)]
    pairs = [(source, to_jxl(source)) for source in sources]
    assert all(to_jpeg(jxl) == source for source, jxl in pairs if jxl is not None)
    assert sum(jxl is not None for _, jxl in pairs) > 20
