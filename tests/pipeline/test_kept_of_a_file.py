"""From a folder into an archive and back: what files hold beside their pixels, through the real jobs."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from model.codec import Codec
from pipeline.archive.archive import Archive
from pipeline.archive.reader import with_metadata
from pipeline.archive.schema import IMAGES
from pipeline.archive.shards.row_hash import table_of
from pipeline.decode.run import DecodeSettings, decode
from pipeline.encode.run import EncodeSettings, encode
from pipeline.verify.row_checks import problem_with, problem_with_fidelity
from pipeline.verify.run import VerifySettings, verify
from tests.pipeline.containers import files
from tests.pipeline.containers.test_tiff import ASCII, DOUBLE, SHORT, facts, tiff
from tests.pipeline.making import compressed
from tests.pipeline.sources import photo

DENSITY = [(0xE0, b"JFIF\0\1\2\1\1\x2c\1\x2c\0\0"), (0xED, b"Photoshop 3.0\x008BIM"), (0xFE, b"scanned")]
FILM = b"a film behind the photograph" * 9
TEXT = [(b"cICP", bytes([12, 13, 0, 1])), (b"tEXt", b"Author\0Ada")]
CHUNK = (b"abcd", b"a chunk of somebody's")
PHOTO = photo(1, 160, 200)


def sources() -> dict[str, bytes]:
    png, webp = files.encoded(PHOTO, "PNG"), files.encoded(PHOTO, "WEBP", lossless=True)
    extended = (b"VP8X", bytes(4) + (199).to_bytes(3, "little") + (159).to_bytes(3, "little"))
    tags = [(274, SHORT, b"\6\0"), (33550, DOUBLE, bytes(24)), (42113, ASCII, b"0\0")]
    return {
        "scan.jpg": files.jpeg(DENSITY, FILM, image=PHOTO),
        "made.png": png[:33] + b"".join(map(files.chunk, TEXT)) + png[33:] + FILM,
        "w.webp": files.riff([extended, files.riff_chunks(webp)[-1], CHUNK]),
        "map.tif": tiff(*tags, pixels=np.asarray(PHOTO)),
        "raw.dng": tiff((50706, 1, b"\1\4\0\0"), pixels=np.asarray(PHOTO)),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Path:
    """A folder with `source` and `archive`."""
    made = tmp_path_factory.mktemp("kept-of-a-file")
    (made / "source").mkdir()
    for key, data in sources().items():
        (made / "source" / key).write_bytes(data)
    settings = EncodeSettings(
        source=str(made / "source"),
        archive=str(made / "archive"),
        model=str(tiny_model_folder),
        quality=20,
        executor="local",
    )
    assert encode(settings, quiet=True).rejected == 0
    return made


@pytest.mark.slow
def test_everything_beside_the_pixels_comes_back(folder: Path, tmp_path: Path) -> None:
    archive = str(folder / "archive")
    found = {row["key"]: row for batch in Archive.open(archive).scan(IMAGES.names) for row in batch.to_pylist()}
    assert {key: row["kept"] for key, row in found.items()} == dict.fromkeys(sources()) | {"raw.dng": "camera raw"}
    decode(DecodeSettings(archive=archive, dest=str(tmp_path), executor="local"), quiet=True)
    back = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert back.keys() == sources().keys()
    assert files.segments(back["scan.jpg"]) == DENSITY and back["scan.jpg"].endswith(b"\xff\xd9" + FILM)
    assert files.chunks(back["made.png"]) == TEXT and files.behind_iend(back["made.png"]) == FILM
    assert CHUNK in files.riff_chunks(back["w.webp"])
    assert facts(back["map.tif"]) == facts(sources()["map.tif"])
    assert back["raw.dng"] == sources()["raw.dng"]


def test_verify_compares_everything_beside_the_pixels_with_the_source(folder: Path) -> None:
    archive, source = str(folder / "archive"), str(folder / "source")
    settings = VerifySettings(archive=archive, source=source, sample="all", executor="local")
    result = verify(settings, quiet=True)
    assert (result.failed, result.compared) == (0, 4)


def test_a_row_whose_skeleton_is_not_its_sources_is_a_problem(tiny_codec: Codec) -> None:
    source = sources()["scan.jpg"]
    row = table_of([compressed(tiny_codec, "scan.jpg", source, quality=20)]).to_pylist()[0]
    (picture,) = tiny_codec.decompress([row["payload"]])

    assert problem_with_fidelity(row, with_metadata(picture, row), source) is None
    other = row | {"skeleton": compressed(tiny_codec, "b.jpg", files.jpeg([], image=PHOTO), quality=20)["skeleton"]}
    assert problem_with_fidelity(other, with_metadata(picture, other), source) == "its skeleton is not the source's"
    assert problem_with(row, [tiny_codec.fingerprint]) is None
    for damaged in (row["skeleton"][:-1], b"\x09" + row["skeleton"][1:]):
        assert "skeleton is damaged" in str(problem_with(row | {"skeleton": damaged}, [tiny_codec.fingerprint]))


def test_a_row_whose_source_would_be_kept_today_is_a_problem_that_says_why(tiny_codec: Codec) -> None:
    row = table_of([compressed(tiny_codec, "w.webp", sources()["w.webp"], quality=20)]).to_pylist()[0]
    (picture,) = tiny_codec.decompress([row["payload"]])
    source = sources()["raw.dng"]
    row |= {"source_sha256": hashlib.sha256(source).hexdigest()}
    said = "its source holds what only a kept file does (camera raw): an earlier version compressed it"
    assert problem_with_fidelity(row, picture, source) == said
