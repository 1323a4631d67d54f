"""The comparison with a source: by bytes where times differ, and without what was released."""

from pathlib import Path

from model.codec import Codec
from pipeline.archive.archive import Archive
from pipeline.archive.ledgers.releases import ReleaseEntry
from pipeline.archive.schema import RELEASED
from pipeline.forget.run import forget
from pipeline.forget.settings import ForgetSettings
from pipeline.storage.open import open_target
from pipeline.verify.run import VerifySettings, verify
from tests.pipeline.making import add, compressed, image_file, original


def test_a_copy_with_other_times_is_compared_by_its_bytes_and_what_was_released_is_not_missed(
    tmp_path: Path, tiny_model_folder: Path, tiny_codec: Codec
) -> None:
    source, archive = open_target(str(tmp_path / "source")), Archive.create(str(tmp_path / "archive"))
    archive.put_model(tiny_codec.fingerprint, tiny_model_folder)
    files = {f"{i}.png": image_file("PNG", seed=i) for i in range(3)}
    add(archive, [compressed(tiny_codec, key, data, etag="of another disk") for key, data in files.items()])
    source.put("0.png", files["0.png"])
    archive.releases.record([ReleaseEntry("1.png", RELEASED, "e", 1, "0" * 64, "fine")], "run", 1)
    result = verify(VerifySettings(archive=archive.url, source=source.url, sample="all", executor="local"), quiet=True)
    assert result.problems == ()
    assert (result.decoded, result.compared, result.released, result.changed) == (3, 1, 1, 1)
    assert (result.outdated, result.absent) == (0, 0)
    assert not result.ok  # 2.png is neither there nor released


def test_objects_whose_keys_were_erased_are_not_missed_and_others_of_the_same_size_are(tmp_path: Path) -> None:
    source, archive = open_target(str(tmp_path / "source")), Archive.create(str(tmp_path / "archive"))
    add(archive, [original(key, b"source") for key in ("a", "b", "c")])
    forget(ForgetSettings(archive=archive.url, keys="a"))
    for key, data in (("a", b"source"), ("b", b"source"), ("c", b"sourcE")):
        source.put(key, data)
    result = verify(VerifySettings(archive=archive.url, source=source.url, executor="local"), quiet=True)
    assert (result.source_objects, result.absent, result.outdated_keys) == (3, 0, ("c",))


def test_another_object_under_a_released_key_is_named_as_what_no_encode_takes(tmp_path: Path) -> None:
    source, archive = open_target(str(tmp_path / "source")), Archive.create(str(tmp_path / "archive"))
    add(archive, [original(key, b"source") for key in ("a", "b", "c")])
    archive.releases.record([ReleaseEntry(key, RELEASED, "e", 6, "0" * 64, "fine") for key in ("a", "b")], "run", 1)
    for key, data in (("a", b"another"), ("b", b"source"), ("c", b"another")):
        source.put(key, data)
    result = verify(VerifySettings(archive=archive.url, source=source.url, executor="local"), quiet=True)
    assert (result.reappeared_keys, result.outdated_keys, result.same_bytes) == (("a",), ("c",), 1)
    assert (result.reappeared, result.outdated, result.ok) == (1, 1, False)
