"""One image to a file and back."""

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from jobs.cli import main
from pipeline.images.limits import Limits
from tests.conftest import photo_like
from tests.pipeline.hostile import scan_bomb


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(photo_like(70, 100)).save(path)
    return path


def line(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """The one-line message for a mistake."""
    assert main([str(a) for a in argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("maepress: ")
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("maepress: ").strip()


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_an_image_comes_back_in_the_format_of_the_files_suffix(
    photo: Path, tmp_path: Path, tiny_model_folder: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mae, restored = tmp_path / "photo.mae", tmp_path / f"restored.{suffix}"
    assert main(["compress", str(photo), str(mae), "--model", str(tiny_model_folder), "--quality", "50"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{mae}: 100x70, ")
    recorded = float(said.split(" dB")[0].split()[-1])
    assert main(["decompress", str(mae), str(restored), "--model", str(tiny_model_folder)]) == 0
    with Image.open(photo) as before, Image.open(restored) as after:
        assert after.format == {"jpg": "JPEG"}.get(suffix, suffix.upper())
        difference = np.asarray(before, float) - np.asarray(after.convert("RGB"), float)
    psnr = 10 * np.log10(255**2 / np.mean(difference**2))
    assert psnr == pytest.approx(recorded, abs=0.01 if suffix == "png" else 4)
    assert mae.stat().st_size < photo.stat().st_size


def test_a_missing_image_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = line(capsys, "compress", tmp_path / "absent.png", tmp_path / "out.mae")
    assert "absent.png" in said


def test_a_file_that_is_not_an_image_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "page.jpg").write_text("<html>")
    assert "page.jpg is no readable image: " in line(capsys, "compress", tmp_path / "page.jpg", tmp_path / "out.mae")
    assert not (tmp_path / "out.mae").exists()


def test_an_image_that_decodes_for_minutes_is_refused_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipeline.images.limits.READING", Limits(seconds=1, memory=2 << 30))
    (tmp_path / "bomb.jpg").write_bytes(scan_bomb(3000, 8000))
    said = line(capsys, "compress", tmp_path / "bomb.jpg", tmp_path / "out.mae")
    assert said.endswith("bomb.jpg is no readable image: cannot be decoded: it took longer than 1 s")


def test_a_kind_that_is_not_coded_is_refused_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("CMYK", (8, 8)).save(tmp_path / "print.jpg")
    assert line(capsys, "compress", tmp_path / "print.jpg", tmp_path / "out.mae").endswith("mode CMYK")


def test_a_folder_that_is_no_model_is_named(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{tmp_path} is no model" in line(capsys, "compress", photo, tmp_path / "out.mae", "--model", tmp_path)


def test_a_floor_is_reached_and_printed(
    photo: Path, tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["compress", str(photo), str(tmp_path / "out.mae"), "--model", str(tiny_model_folder), "--min-psnr", "33"]
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert 33 <= float(said.split(" dB")[0].split()[-1]) <= 33.2


def test_a_floor_of_ssimulacra2_is_held_and_reported(
    photo: Path, tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = (str(photo), str(tmp_path / "out.mae"), "--model", str(tiny_model_folder))
    assert main(["compress", *where, "--min-ssimulacra2", "40"]) == 0
    assert 40 <= float(capsys.readouterr().out.split("SSIMULACRA2 ")[1]) < 45


def test_a_floor_that_the_model_does_not_reach_is_answered_with_the_nearest(
    photo: Path, tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how = ("--model", tiny_model_folder, "--min-psnr", 90)
    said = line(capsys, "compress", photo, tmp_path / "out.mae", *how)
    assert "photo.png cannot be compressed to min_psnr 90 by this model: the nearest result is quality 63.75" in said
    assert not (tmp_path / "out.mae").exists()


@pytest.mark.parametrize("name", ["folder/", ".", ".."])
def test_a_folder_in_place_of_a_file_is_refused_before_anything_is_read(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = f"{tmp_path}/{name}"
    assert line(capsys, "compress", photo, out) == f"{out} is a folder: give the path of a file"
    assert line(capsys, "compress", out, tmp_path / "out.mae") == f"{out} is a folder: give the path of a file"


def test_two_targets_at_once_are_refused(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how = ("--quality", 40, "--max-bpp", 1)
    said = line(capsys, "compress", photo, tmp_path / "out.mae", *how)
    assert said == "--quality and --max-bpp exclude each other: give exactly one of them"


def test_a_quality_out_of_range_is_refused(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = line(capsys, "compress", photo, tmp_path / "out.mae", "--quality", 99)
    assert said == "--quality 99: must be at most 63"


def test_a_file_that_cannot_be_written_is_named(
    photo: Path, tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    target = tmp_path / "file" / "out.mae"
    assert "cannot be written" in line(capsys, "compress", photo, target, "--model", tiny_model_folder)


def test_a_photographs_exif_comes_back_in_a_tiff(
    photo: Path, tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tags = Image.Exif()
    tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = b"ASCII\0\0\0a walk"
    source, mae, restored = tmp_path / "a.jpg", tmp_path / "a.mae", tmp_path / "a.tif"
    Image.open(photo).save(source, exif=tags, comment=b"by hand")
    model = ["--model", str(tiny_model_folder)]
    assert main(["compress", str(source), str(mae), *model]) == 0
    capsys.readouterr()
    assert main(["decompress", str(mae), str(restored), *model]) == 0
    assert capsys.readouterr().out.strip() == f"{restored}: 100x70, without comments and texts"
    with Image.open(restored) as image:
        assert image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment].endswith(b"a walk")


def test_a_format_that_cannot_hold_the_image_is_refused_with_the_reason(
    photo: Path, tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide, clear, long = tmp_path / "wide.png", tmp_path / "clear.png", tmp_path / "long.png"
    cicp = bytes([12, 16, 0, 1])  # Display P3
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"cICP", cicp)
    with Image.open(photo) as image:
        image.save(wide, pnginfo=chunks)
        image.convert("RGBA").save(clear)
        xmp = PngImagePlugin.PngInfo()
        xmp.add_itxt("XML:com.adobe.xmp", "x" * 70_000)
        image.save(long, pnginfo=xmp)
    for source, reason in ((wide, "colour tag"), (clear, "alpha"), (long, "metadata")):
        mae, out = source.with_suffix(".mae"), source.with_suffix(".jpg")
        assert main(["compress", str(source), str(mae), "--model", str(tiny_model_folder)]) == 0
        capsys.readouterr()
        said = line(capsys, "decompress", mae, out, "--model", tiny_model_folder)
        assert said == f"{out}: jpeg cannot hold this image's {reason}: write a .png"
        assert not out.exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "empty"])
def test_a_damaged_payload_is_refused_and_nothing_is_written(
    photo: Path, tmp_path: Path, tiny_model_folder: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mae = tmp_path / "photo.mae"
    assert main(["compress", str(photo), str(mae), "--model", str(tiny_model_folder)]) == 0
    capsys.readouterr()
    data = bytearray(mae.read_bytes())
    data[len(data) // 2] ^= 1
    payloads = {"cut": bytes(data[:-9]), "flipped": bytes(data), "foreign": b"GIF89a....", "empty": b""}
    mae.write_bytes(payloads[damage])
    said = line(capsys, "decompress", mae, tmp_path / "out.png", "--model", tiny_model_folder)
    assert str(mae) in said
    assert not (tmp_path / "out.png").exists()


def test_the_wrong_model_is_refused_with_both_names(
    photo: Path, tmp_path: Path, tiny_model_folder: Path, other_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from model.codec import Codec

    mae = tmp_path / "photo.mae"
    assert main(["compress", str(photo), str(mae), "--model", str(tiny_model_folder)]) == 0
    capsys.readouterr()
    said = line(capsys, "decompress", mae, tmp_path / "out.png", "--model", other_model_folder)
    assert Codec.load(tiny_model_folder).fingerprint in said
    assert Codec.load(other_model_folder).fingerprint in said


def test_a_suffix_that_names_no_format_is_refused_before_anything_is_decoded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = line(capsys, "decompress", tmp_path / "absent.mae", tmp_path / "out.xyz")
    assert "out.xyz" in said
    assert ".png" in said


def test_what_is_there_already_is_only_replaced_when_asked(
    photo: Path, tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(tiny_model_folder)]
    pressed, restored = tmp_path / "photo.mae", tmp_path / "photo.png"
    for _ in range(2):  # equal files are fine
        assert main(["compress", str(photo), str(pressed), *model]) == 0
    capsys.readouterr()
    payload = pressed.read_bytes()
    assert "is there already and differs" in line(capsys, "compress", photo, pressed, "--quality", 9, *model)
    restored.write_bytes(photo.read_bytes())  # the original
    assert "is there already and differs" in line(capsys, "decompress", pressed, restored, *model)
    assert (pressed.read_bytes(), restored.read_bytes()) == (payload, photo.read_bytes())
    assert main(["decompress", str(pressed), str(restored), *model, "--overwrite"]) == 0
    assert main(["compress", str(photo), str(pressed), "--quality", "9", *model, "--overwrite"]) == 0
    assert pressed.read_bytes() != payload and restored.read_bytes() != photo.read_bytes()


def test_the_file_that_is_read_is_never_written(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "a.png"
    copy.write_bytes(photo.read_bytes())
    (tmp_path / "link.png").symlink_to(copy)
    monkeypatch.chdir(tmp_path)
    for out in ("a.png", "./a.png", f"file://{copy}", "link.png"):
        for job in ("compress", "decompress"):
            assert f"{out} is the file that is read" in line(capsys, job, copy, out, "--overwrite")
    assert copy.read_bytes() == photo.read_bytes()
