"""Standard codecs in place of the model, and `auto`: floors hold, nothing is larger than the best, all jobs read it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.web.viewer.catalogue import Catalogue
from maepress import read_image
from model.bitstream.container import Colour
from model.codec import Codec
from model.core.errors import MaepressError
from model.core.picture import Picture
from model.core.target import Target
from model.metrics.ms_ssim import ms_ssim
from model.metrics.psnr import psnr
from model.metrics.ssimulacra2 import ssimulacra2
from pipeline.archive import standard_payload
from pipeline.archive.archive import Archive
from pipeline.archive.models import Models
from pipeline.archive.reader import RowDecoder
from pipeline.archive.schema import COMPRESSED, LATENT, MISSED, STANDARD
from pipeline.dataset.torch_dataset import ArchiveImages
from pipeline.decode.run import DecodeSettings, decode
from pipeline.encode import stages
from pipeline.encode.codec_settings import parse_codecs
from pipeline.encode.run import encode
from pipeline.encode.settings import EncodeSettings
from pipeline.estimate.sample_encoder import encode_object
from pipeline.images.formats.codec_names import CODECS, STANDARD_NAMES
from pipeline.images.image_reader import read
from pipeline.images.limits import READING
from pipeline.images.reading import Reading
from pipeline.images.sandbox.sandbox import shared
from pipeline.images.standard_codecs import STANDARD as CODEC
from pipeline.maintain.settings import StatusSettings
from pipeline.maintain.status import status
from pipeline.release.checks import problem_with_decoded, problem_with_original
from pipeline.release.run import ReleaseSettings, release
from pipeline.storage.open import open_store
from pipeline.verify.run import VerifySettings, verify
from tests.conftest import photo_like
from tests.jobs.web.test_renditions import ask
from tests.pipeline.making import add, image_file

Row = dict[str, Any]


def encoded(pixels: Any, kind: str, **options: Any) -> bytes:
    """A file of pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


ICC = b"profile" * 20
EXIF = Image.Exif()
EXIF[0x0112] = 6
FILES = {
    "alpha.png": encoded(photo_like(90, 70, 4, 3), "PNG"),
    "flat.png": encoded(np.full((40, 64, 3), 90, np.uint8), "PNG"),
    "grey.png": encoded(photo_like(80, 96, 1, 2)[:, :, 0], "PNG"),
    "photo.png": encoded(photo_like(100, 120, 3, 1), "PNG", icc_profile=ICC, exif=EXIF),
    "turned.jpg": encoded(photo_like(96, 88, 3, 5), "JPEG", quality=97, exif=EXIF),
}
SLOW = (Target(min_ms_ssim=0.97), Target(quality=30))


def loaded() -> list[stages.Loaded]:
    """The files, read."""
    found = []
    for key, source in FILES.items():
        reading = read(source)
        assert isinstance(reading, Reading) and reading.picture is not None
        found.append(stages.Loaded(key, "etag", source, reading))
    return found


def rows_of(codec: Codec | None, target: Target, codecs: tuple[str, ...]) -> dict[str, Row]:
    """The rows that an encode makes of the files, by key."""
    items = stages.analyse(loaded(), codec, target, codecs=codecs)
    by = (codec.coder if codec else None, target, shared(READING), "run")
    made = stages.compress(items, *by, codecs=codecs)
    assert not made.rejections
    return {row["key"]: row for row in made.rows.to_pylist()}


def held(row: Row) -> int:
    """Bytes that a row takes."""
    return int(row["payload_bytes"]) + sum(len(row[name] or b"") for name in ("icc", "exif", "xmp", "skeleton"))


def picture_of(row: Row, archive: Archive) -> Picture:
    """What a row decodes to."""
    ((_, picture),) = RowDecoder(Models(archive)).pictures([row])
    assert isinstance(picture, Picture), picture
    return picture


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path, tiny_codec: Codec) -> Archive:
    """An archive with the small model and no row."""
    made = Archive.create(str(tmp_path_factory.mktemp("models") / "archive"))
    made.put_model(tiny_codec.fingerprint, tiny_model_folder)
    return made


@pytest.mark.parametrize(
    "target",
    [Target(min_psnr=36), Target(min_ssimulacra2=60), *(pytest.param(t, marks=pytest.mark.slow) for t in SLOW)],
    ids=lambda target: target.described(),
)
def test_auto_takes_no_more_than_the_best_codec_alone_and_its_floor_holds_when_decoded(
    target: Target, tiny_codec: Codec, models: Archive
) -> None:
    alone = {name: rows_of(tiny_codec, target, (name,)) for name in CODECS}
    auto = rows_of(tiny_codec, target, CODECS)
    used = set()
    for item in loaded():
        row = auto[item.key]
        assert held(row) <= min(held(rows[item.key]) for rows in alone.values()), item.key
        if row["status"] not in COMPRESSED:
            continue
        used.add(row["codec"])
        assert row["candidates"] == ",".join(CODECS)
        picture, source = picture_of(row, models), item.reading.picture
        assert source is not None
        if target.min_psnr is not None:
            assert psnr(source.pixels, picture.pixels) >= target.min_psnr
        elif target.min_ms_ssim is not None:
            assert ms_ssim(source.pixels, picture.pixels) >= target.min_ms_ssim
        else:
            own = alone["mae"][item.key]
            least = target.min_ssimulacra2 if target.quality is None else None
            if least is None and own["status"] == LATENT:  # the fidelity that the model gives at the quality
                least = ssimulacra2(source.pixels, picture_of(own, models).pixels)
            assert ssimulacra2(source.pixels, picture.pixels) >= (least or 0) - 1e-9
    assert used


@pytest.mark.parametrize("name", STANDARD_NAMES)
def test_a_standard_codec_meets_its_floor_closely_and_all_else_comes_back(name: str, models: Archive) -> None:
    target = Target(min_psnr=38)
    rows = rows_of(None, target, (name,))
    kinds = {key: row["status"] for key, row in rows.items()}
    assert kinds["photo.png"] == kinds["grey.png"] == kinds["alpha.png"] == STANDARD
    for item in loaded():
        row = rows[item.key]
        if row["status"] != STANDARD:
            continue
        assert (row["codec"], row["model"], row["candidates"], row["target"]) == (name, None, name, "min_psnr 38")
        assert problem_with_original(row, item.source) is None
        assert problem_with_decoded(row, picture_of(row, models), item.source) is None
        lower = [quality for quality in CODEC[name].qualities if quality < row["quality"]]
        assert item.reading.picture is not None
        if row["psnr"] > 38.15 and lower:  # a lower quality of the codec would miss
            height, width, planes = item.reading.picture.pixels.shape
            file = CODEC[name].encode(item.reading.picture.pixels, lower[-1])
            below = shared(READING).decode_standard(name, file, width, height, grey=planes == 1)
            assert psnr(item.reading.picture.pixels, below) < 38


@pytest.fixture(scope="module")
def avif(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Archive]:
    """A source, and its archive by AVIF alone."""
    folder = tmp_path_factory.mktemp("avif")
    source = folder / "source"
    source.mkdir()
    for key, data in FILES.items():
        (source / key).write_bytes(data)
    encode(settings(folder, codec="avif"), quiet=True)
    return folder, Archive.open(str(folder / "archive"))


def settings(folder: Path, **more: Any) -> EncodeSettings:
    """Of an encode in this process."""
    fixed = {"source": str(folder / "source"), "archive": str(folder / "archive"), "executor": "local"}
    return EncodeSettings(**fixed | {"min_psnr": 36} | more)


def test_every_job_reads_an_archive_of_a_standard_codec(avif: tuple[Path, Archive], tmp_path: Path) -> None:
    folder, archive = avif
    assert not archive.models(), "a floor needs no model"
    found = status(StatusSettings(archive=archive.url))
    assert found.standard == found.codecs["avif"] >= 3 and not found.latents
    assert found.originals + found.transcoded + found.standard == len(FILES)
    checked = verify(
        VerifySettings(archive=archive.url, source=str(folder / "source"), sample="all", executor="local"), quiet=True
    )
    assert checked.ok and checked.decoded == checked.compared == checked.standard == found.standard
    part = verify(VerifySettings(archive=archive.url, part="1/1", executor="local"), quiet=True)
    assert part.ok and part.standard == found.standard
    back = tmp_path / "back"
    result = decode(DecodeSettings(archive=archive.url, dest=str(back), executor="local"), quiet=True)
    assert result.written == len(FILES) and result.standard == found.standard
    with Image.open(back / "photo.png") as image:
        assert image.info["icc_profile"] == ICC and image.getexif()[0x0112] == 6
    with Image.open(back / "alpha.png") as image, Image.open(io.BytesIO(FILES["alpha.png"])) as original:
        assert np.array_equal(np.asarray(image)[..., 3], np.asarray(original)[..., 3])
    picture = read_image(archive, "grey.png")
    assert isinstance(picture, Picture) and picture.pixels.shape == (80, 96, 1)


def test_standard_rows_are_images_for_learning_and_have_no_latents(avif: tuple[Path, Archive]) -> None:
    _, archive = avif
    samples = {sample["key"]: sample["image"] for sample in ArchiveImages(archive, shuffle=False)}
    assert samples.keys() == FILES.keys() and samples["photo.png"].shape == (100, 120, 3)
    with pytest.raises(MaepressError, match="no row of status latent"):
        ArchiveImages(archive, content="latents")
    with pytest.raises(MaepressError, match=r"is compressed as avif and has no latents"):
        next(iter(ArchiveImages(archive, content="sketch", statuses=[STANDARD], shuffle=False)))


def test_mae_files_of_standard_rows_are_files_of_their_sources_format(
    avif: tuple[Path, Archive], tmp_path: Path
) -> None:
    _, archive = avif
    wanted = DecodeSettings(archive=archive.url, dest=str(tmp_path), format="mae", keys="photo*", executor="local")
    result = decode(wanted, quiet=True)
    assert (tmp_path / "photo.png").exists()
    assert result.instead == {"png: compressed as avif, not by the model": 1}


def test_another_choice_of_codecs_is_renewed_with_repress_alone(tmp_path: Path, tiny_model_folder: Path) -> None:
    (tmp_path / "source").mkdir()
    for key in ("photo.png", "grey.png"):
        (tmp_path / "source" / key).write_bytes(FILES[key])
    first = encode(settings(tmp_path, codec="webp"), quiet=True)
    assert first.codecs == {"webp": 2} and not first.model
    again = encode(settings(tmp_path, codec="webp", repress=True), quiet=True)
    assert again.unchanged == 2 and not again.other_settings
    more = {"codec": "auto", "auto": "webp,avif,mae", "model": str(tiny_model_folder)}
    other = encode(settings(tmp_path, **more), quiet=True)
    assert other.other_settings == 2 and not other.codecs
    renewed = encode(settings(tmp_path, repress=True, **more), quiet=True)
    assert sum(renewed.codecs.values()) == 2 and renewed.payload_bytes <= first.payload_bytes
    assert encode(settings(tmp_path, repress=True, **more), quiet=True).unchanged == 2


def test_a_picture_that_no_allowed_codec_brings_to_its_floor_is_kept_with_the_reason() -> None:
    row = rows_of(None, Target(min_psnr=90), ("webp",))["photo.png"]
    assert (row["kept"], row["codec"], row["candidates"]) == (MISSED, None, "webp")


def test_a_limit_of_size_holds_and_auto_takes_the_nearest_to_the_source(tiny_codec: Codec) -> None:
    target = Target(max_bpp=3.0)
    allowed = ("mae", "webp")
    alone = [rows_of(tiny_codec, target, (name,))["photo.png"] for name in allowed]
    best = rows_of(tiny_codec, target, allowed)["photo.png"]
    assert all(row["payload_bytes"] <= 3.0 * 120 * 100 / 8 for row in (*alone, best) if row["status"] in COMPRESSED)
    assert best["ssimulacra2"] >= max(row["ssimulacra2"] or 0 for row in alone)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"codec": "webp"}, "no WEBP file"),
        ({"codec": "mae"}, "names no standard codec"),
        ({"codec": "tiff"}, "names no standard codec"),
        ({"width": 121}, "the payload has the size 120 x 100, not 121 x 100"),
        ({"width": 1 << 30}, "more than 178"),
        ({"payload": standard_payload.write(image_file("PNG"), None, Colour.RGB)}, "no AVIF file"),
        ({"payload": b"AVIF" * 9}, "not one of a standard codec"),
        ({"payload": None}, "lacks the payload"),
    ],
    ids=str,
)
def test_a_row_that_others_made_up_is_one_line_and_decodes_nothing(
    change: dict[str, Any], problem: str, avif: tuple[Path, Archive]
) -> None:
    _, archive = avif
    row = archive.row("photo.png")
    assert row is not None and row["status"] == STANDARD
    ((_, found),) = RowDecoder(Models(archive)).pictures([row | change])
    assert isinstance(found, str) and problem in found


def test_verify_names_a_payload_that_was_changed(avif: tuple[Path, Archive], tmp_path: Path) -> None:
    row = avif[1].row("photo.png")
    assert row is not None
    damaged = bytearray(row["payload"])
    damaged[len(damaged) // 2] ^= 4
    archive = Archive.create(str(tmp_path / "archive"))
    add(archive, [{name: value for name, value in row.items() if name != "row_sha256"} | {"payload": bytes(damaged)}])
    found = verify(VerifySettings(archive=archive.url, executor="local"), quiet=True)
    assert [problem.key for problem in found.problems] == ["photo.png"]
    assert "checksum does not match" in found.problems[0].problem


def test_every_flipped_bit_of_a_payload_is_noticed() -> None:
    payload = standard_payload.write(b"a file", np.arange(12, dtype=np.uint8).reshape(3, 4), Colour.RGB)
    assert standard_payload.read(payload).file == b"a file"
    for bit in range(8 * len(payload)):
        damaged = bytearray(payload)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(MaepressError):
            standard_payload.read(bytes(damaged))


def test_payloads_without_alpha_are_files_that_other_programs_open(avif: tuple[Path, Archive]) -> None:
    row = avif[1].row("photo.png", ("payload",))
    assert row is not None
    with Image.open(io.BytesIO(row["payload"])) as image:
        assert (image.format, image.convert("RGB").size) == ("AVIF", (120, 100))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"auto": "mae,avif"}, "--auto names the codecs of --codec auto"),
        ({"codec": "auto", "auto": "mae,heic"}, "'heic' is no codec: choose some of mae,jxl,webp,avif"),
        ({"codec": "png"}, "'mae', 'jxl', 'avif', 'webp' or 'auto'"),
    ],
    ids=str,
)
def test_a_choice_that_is_none_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EncodeSettings(source="a", archive="b", **given)


def test_lists_of_codecs_are_sets_and_empty_means_all() -> None:
    assert parse_codecs("avif, mae,avif") == ("mae", "avif") and parse_codecs("") == CODECS


def test_release_and_the_viewer_know_standard_rows(avif: tuple[Path, Archive]) -> None:
    folder, archive = avif
    asked = ReleaseSettings(source=str(folder / "source"), archive=archive.url, executor="local")
    found = release(asked, quiet=True)
    assert found.passed == len(FILES) and not found.failed
    shown, _ = ask(Catalogue(archive.url), ["alpha.png"], 1 << 20)
    with Image.open(io.BytesIO(shown.data)) as image:
        assert image.mode == "RGBA"


def test_an_estimate_counts_what_the_codec_would_store(avif: tuple[Path, Archive]) -> None:
    folder, archive = avif
    source = open_store(str(folder / "source"))
    (entry,) = (entry for entry in source.entries() if entry.key == "photo.png")
    made = encode_object(entry, source, shared(READING), None, Target(min_psnr=36), (), ("avif",))
    row = archive.row("photo.png")
    assert row is not None and (made.status, made.stored) == (STANDARD, held(row))


@pytest.mark.slow
def test_ray_makes_the_same_rows_as_this_process(
    local_ray: None, avif: tuple[Path, Archive], tiny_model_folder: Path, tmp_path: Path
) -> None:
    more: dict[str, Any] = {"source": str(avif[0] / "source"), "codec": "auto", "auto": "mae,webp"}
    for executor in ("local", "ray"):
        archive = str(tmp_path / executor)
        wanted = settings(tmp_path, archive=archive, executor=executor, model=str(tiny_model_folder), **more)
        encode(wanted, quiet=True)
    columns = ("key", "status", "codec", "candidates", "payload", "kept")
    rows = [Archive.open(str(tmp_path / executor)).scan(columns) for executor in ("local", "ray")]
    here, there = ([row for batch in batches for row in batch.to_pylist()] for batches in rows)
    assert here == there and {row["candidates"] for row in here} == {"mae,webp"}
    without = settings(tmp_path, archive=str(tmp_path / "none"), executor="ray", source=more["source"], codec="webp")
    assert encode(without, quiet=True).standard >= 3, "without a model, encoders load none"
