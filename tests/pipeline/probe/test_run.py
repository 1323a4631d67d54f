"""A probe classifies images by their latents and compares the accuracy with pixels."""

import numpy as np
import pytest
from pydantic import ValidationError

from model.core.errors import MaepressError
from pipeline.archive.archive import Archive
from pipeline.probe.labels import labeller
from pipeline.probe.pixel_patches import mirrored, patches
from pipeline.probe.run import probe
from pipeline.probe.settings import ProbeSettings


def test_a_probe_reports_every_class_from_latents_and_from_pixels(small_archive: Archive) -> None:
    said: list[str] = []
    settings = ProbeSettings(archive=small_archive.url, epochs=3, held_out=0.4, keys="[abc]/*")
    found = probe(settings, notify=said.append)
    assert found.classes == {"a": 10, "b": 10, "c": 10} and found.without_label == 0
    assert found.learned + found.held_out == 30
    assert found.pixels is not None
    for outcome in (found.latents, found.pixels):
        assert list(outcome.report.classes) == ["a", "b", "c"]
        assert outcome.report.macro.support == found.held_out
        assert 0 <= outcome.report.accuracy <= 1 and outcome.learn_cpu_seconds > 0
    assert found.latents.numbers == 72 and found.pixels.numbers == 3 * 4**2
    assert said[0] == "reading latents" and "decoding pixels" in said


def test_the_latents_of_a_probe_can_be_kept(small_archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("kept")
    settings = ProbeSettings(
        archive=small_archive.url, epochs=1, held_out=0.4, content="sketch", pixels=False, cache=str(folder)
    )
    first = probe(settings.model_copy(update={"label_from_key": "^([abc])/"}))
    assert first.pixels is None and first.latents.cache_bytes == sum(p.stat().st_size for p in folder.iterdir())
    again = probe(settings.model_copy(update={"label_from_key": "^([abc])/"}))
    assert again.latents.report == first.latents.report


def test_rules_make_labels_of_keys() -> None:
    folder, pattern = labeller("folder"), labeller("/(cat|dog)[^/]*$")
    assert folder("train/hat/1.jpg") == "hat" and folder("hat/1.jpg") == "hat" and folder("1.jpg") is None
    assert pattern("a/cat_1.jpg") == "cat" and pattern("a/bird.jpg") is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_from_key": "(png)$"}, "finds only the label 'png'"),
        ({"label_from_key": "(nothing)"}, "finds no label"),
        ({"label_from_key": "([0-9]+)"}, "finds 30 labels for 30 images"),
        ({"held_out": 1e-9}, "none is left to test on"),
        ({"keys": "nothing"}, "nothing to learn from"),
    ],
)
def test_what_cannot_be_learned_is_said_in_one_line(
    small_archive: Archive, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(MaepressError, match=message):
        probe(ProbeSettings(archive=small_archive.url, content="sketch").model_copy(update=changes))


@pytest.mark.parametrize("rule", ["(", "no group", "(two)(groups)"])
def test_a_rule_that_makes_no_label_is_refused(rule: str) -> None:
    with pytest.raises(ValidationError, match=r"regular expression"):
        ProbeSettings(archive="a", label_from_key=rule)


def test_patches_are_the_shrunk_image_and_mirror_with_it() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    cut = patches(image, 32, 8)
    assert cut.shape == (2, 3, 192)
    shrunk = image.reshape(16, 4, 24, 4, 3).mean((1, 3))
    assert np.abs(cut[1, 2].reshape(8, 8, 3) - shrunk[8:, 16:]).max() <= 1
    assert np.array_equal(mirrored(cut.astype(np.float32), 8), patches(image[:, ::-1], 32, 8))
    assert patches(image[:50, :70], 32, 8).shape == (2, 3, 192)
