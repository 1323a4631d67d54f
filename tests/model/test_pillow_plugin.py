"""`.mae` files through Pillow."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model import pillow_plugin
from model.core.errors import MaepressError
from model.metrics.psnr import psnr
from model.metrics.ssimulacra2 import ssimulacra2
from tests.conftest import photo_like


@pytest.fixture(autouse=True)
def known_model(tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pillow_plugin, "_codecs", {})
    monkeypatch.setattr(pillow_plugin, "_preferred", [])
    pillow_plugin.use(tiny_model_folder)
    yield


def _image(mode: str) -> Image.Image:
    return Image.fromarray(photo_like(50, 70, 4)).convert(mode)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a_saved_image_opens_with_its_size_mode_and_nearly_its_pixels(mode: str, tmp_path: Path) -> None:
    image = _image(mode)
    image.save(tmp_path / "x.mae", quality=60)
    opened = Image.open(tmp_path / "x.mae")
    assert (opened.format, opened.mode, opened.size) == ("MAE", mode, image.size)
    difference = np.abs(np.asarray(opened).astype(int) - np.asarray(image))
    assert difference.mean() < 4
    if mode.endswith("A"):
        assert (np.asarray(opened)[..., -1] == np.asarray(image)[..., -1]).all()


@pytest.mark.parametrize(("mode", "clear", "saved"), [("L", 7, "LA"), ("RGB", (1, 2, 3), "RGBA")])
def test_a_transparent_colour_becomes_alpha(mode: str, clear: object, saved: str) -> None:
    """As PNG has it: one colour of a picture without alpha."""
    png, mae = io.BytesIO(), io.BytesIO()
    picture = _image(mode)
    picture.paste(clear, (0, 0, 20, 10))  # type: ignore[arg-type]  # a number or a triple, by the mode
    picture.save(png, "PNG", transparency=clear)
    with Image.open(png) as source:
        source.save(mae, "MAE", quality=20)
        expected = np.asarray(source.convert(saved))[..., -1]
    with Image.open(mae) as back:
        assert back.mode == saved
        assert np.array_equal(np.asarray(back)[..., -1], expected) and not expected[:10, :20].any() and expected.any()


def test_metadata_is_stored_in_the_file(tmp_path: Path) -> None:
    image = _image("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "x.mae", exif=exif, icc_profile=b"profile", xmp=b"<xmp/>")
    opened = Image.open(tmp_path / "x.mae")
    assert opened.getexif()[0x0112] == 6
    assert opened.info["icc_profile"] == b"profile"
    assert opened.info["xmp"] == b"<xmp/>"
    assert opened.size == image.size, "orientation is stored, not applied"


def test_opening_decodes_nothing_until_pixels_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _image("RGB").save(tmp_path / "x.mae")
    monkeypatch.setattr(pillow_plugin, "_codecs", {})
    opened = Image.open(tmp_path / "x.mae")
    assert opened.size == (70, 50)
    with pytest.raises(OSError, match=r"pillow_plugin\.use"):
        opened.load()


def test_more_quality_makes_a_larger_file() -> None:
    sizes = []
    for quality in (5, 30, 60):
        buffer = io.BytesIO()
        _image("RGB").save(buffer, "MAE", quality=quality)
        sizes.append(buffer.tell())
    assert sizes == sorted(set(sizes))


def test_images_are_saved_to_a_target() -> None:
    image = _image("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "MAE", min_psnr=33)
    opened = np.asarray(Image.open(buffer))
    assert psnr(np.asarray(image), opened) >= 33
    good = io.BytesIO()
    image.save(good, "MAE", min_ssimulacra2=40)
    assert ssimulacra2(np.asarray(image), np.asarray(Image.open(good))) >= 40
    small = io.BytesIO()
    image.save(small, "MAE", max_bpp=2.5)
    assert small.tell() * 8 <= 2.5 * image.width * image.height
    with pytest.raises(ValueError, match="exactly one of"):
        image.save(buffer, "MAE", quality=40, min_psnr=33)
    with pytest.raises(ValueError, match=r"reaches at most .* ask for less"):
        image.save(buffer, "MAE", min_psnr=90)


@pytest.mark.parametrize(("wanted", "size"), [((10, 10), (18, 13)), ((8, 7), (9, 7)), ((70, 26), (70, 50))])
def test_draft_decodes_at_the_smallest_scale_that_is_large_enough(
    wanted: tuple[int, int], size: tuple[int, int]
) -> None:
    buffer = io.BytesIO()
    _image("RGB").save(buffer, "MAE")
    opened = Image.open(buffer)
    assert (opened.draft("L", wanted) is None) == (size == (70, 50))
    assert (opened.mode, opened.size) == ("RGB", size)
    assert opened.draft("RGB", (1, 1)) is None or size == (70, 50), "a second call changes nothing"
    assert np.asarray(opened).shape == (*opened.size[::-1], 3)


def test_unsupported_images_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="CMYK"):
        _image("CMYK").save(tmp_path / "x.mae")
    with pytest.raises(ValueError, match="not 5x0"):
        Image.new("RGB", (5, 0)).save(tmp_path / "x.mae")
    with pytest.raises(ValueError, match="quality 99"):
        _image("RGB").save(tmp_path / "x.mae", quality=99)
    _image("RGB").save(tmp_path / "y.mae")
    data = bytearray((tmp_path / "y.mae").read_bytes())
    data[len(data) // 2] ^= 1
    with pytest.raises(OSError):
        Image.open(io.BytesIO(data))
    with pytest.raises(MaepressError, match="is no model"):
        pillow_plugin.use(tmp_path)


def test_effort_is_a_save_option_and_a_wrong_one_is_one_line() -> None:
    def saved(**options: object) -> bytes:
        file = io.BytesIO()
        _image("RGB").save(file, "MAE", quality=30, **options)
        return file.getvalue()

    assert saved() == saved(effort=0) != saved(effort=1)
    with pytest.raises(ValueError, match="effort 9 is out of range: choose 0 to 3"):
        saved(effort=9)
