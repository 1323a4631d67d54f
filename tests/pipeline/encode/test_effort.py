"""`--effort` reaches the model through every job that encodes, and a row remembers it."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from model.codec import Codec
from model.core.target import Target
from pipeline.archive.archive import Archive
from pipeline.encode import stages
from pipeline.encode.run import encode
from pipeline.encode.settings import EncodeSettings
from pipeline.estimate.sample_encoder import encode_object
from pipeline.images.image_reader import read
from pipeline.images.limits import READING
from pipeline.images.reading import Reading
from pipeline.images.sandbox.sandbox import shared
from pipeline.storage.base import Entry
from pipeline.storage.open import open_store
from tests.conftest import photo_like
from tests.pipeline.encode.test_codecs import encoded

PHOTOGRAPH = encoded(photo_like(72, 80, 3, 1), "PNG")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.png").write_bytes(PHOTOGRAPH)
    return folder


def row(archive: str) -> dict[str, object]:
    found = Archive.open(archive).row("a.png", ["effort", "payload"])
    assert found is not None
    return found


def test_a_row_remembers_its_effort_and_repress_renews_it(
    source: Path, tmp_path: Path, tiny_model_folder: Path
) -> None:
    def run(effort: int, *, repress: bool = False) -> tuple[int, dict[str, object]]:
        archive = str(tmp_path / "archive")
        settings = EncodeSettings(
            source=str(source),
            archive=archive,
            model=str(tiny_model_folder),
            quality=30,
            effort=effort,
            repress=repress,
            executor="local",
        )
        return encode(settings, quiet=True).other_settings, row(archive)

    _, plain = run(0)
    assert plain["effort"] is None
    others, unchanged = run(2)
    assert others == 1 and unchanged == plain
    _, renewed = run(2, repress=True)
    assert renewed["effort"] == 2 and renewed["payload"] != plain["payload"]
    assert run(2) == (0, renewed)


@pytest.mark.parametrize(("codecs", "remembered"), [(("webp",), None), (("mae", "webp"), 1)])
def test_standard_codecs_have_no_effort(tiny_codec: Codec, codecs: tuple[str, ...], remembered: int | None) -> None:
    settings = EncodeSettings(source="a", archive="b", codec="auto", auto=",".join(codecs), effort=1)
    reading = read(PHOTOGRAPH)
    assert isinstance(reading, Reading)
    how = {"codecs": codecs, "effort": settings.effort_of_model}
    items = stages.analyse([stages.Loaded("k", "e", PHOTOGRAPH, reading)], tiny_codec, Target(quality=30), **how)  # type: ignore[arg-type]
    made = stages.compress(items, tiny_codec.coder, Target(quality=30), shared(READING), "run", **how)  # type: ignore[arg-type]
    assert made.rows["effort"].to_pylist() == [remembered]


def test_an_estimate_encodes_with_the_effort(source: Path, tiny_codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = []
    efforts = []

    def watched(*arguments: object, effort: int, **more: object) -> object:
        efforts.append(effort)
        return stages.analyse(*arguments, effort=effort, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("pipeline.estimate.sample_encoder.analyse", watched)
    for effort in (0, 2):
        entry = Entry("a.png", len(PHOTOGRAPH), "")
        given = (entry, open_store(str(source)), shared(READING), tiny_codec, Target(quality=30), ())
        stored.append(encode_object(*given, effort=effort).stored)
    assert efforts == [0, 2] and stored[0] != stored[1]


@pytest.mark.parametrize("effort", [-1, 4, 1.5])
def test_an_effort_out_of_range_is_refused_before_anything_starts(effort: float) -> None:
    with pytest.raises(ValidationError, match="effort"):
        EncodeSettings(source="a", archive="b", effort=effort)  # type: ignore[arg-type]
