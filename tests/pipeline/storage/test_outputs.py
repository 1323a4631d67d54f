"""A job goes on in its own folder, and never writes over what something else made."""

from pathlib import Path

import pytest

from pipeline.storage.open import StorageError, open_target
from pipeline.storage.outputs import Outputs

OUTPUTS = Outputs("train", ("model.safetensors", "config.json"), ("logs",), typical=("history", b'{"step": '))


@pytest.fixture
def images(tmp_path: Path) -> str:
    (tmp_path / "images").mkdir()
    return str(tmp_path / "images")


def test_a_fresh_folder_and_one_of_the_same_job_are_free(place: str, images: str) -> None:
    out = open_target(place)
    OUTPUTS.require_free(images, out, overwrite=False)
    OUTPUTS.mark(out)
    out.put("config.json", b"{}")
    out.put("logs/events", b"x")
    OUTPUTS.require_free(images, out, overwrite=False)
    with pytest.raises(StorageError, match="made by something else than `maepress tune`"):
        Outputs("tune", ("config.json",)).require_free(images, out, overwrite=False)


def test_something_else_under_the_same_names_is_named_and_only_overwritten_when_asked(place: str, images: str) -> None:
    out = open_target(place)
    out.put("notes.txt", b"mine")
    OUTPUTS.require_free(images, out, overwrite=False)
    out.put("logs/server.log", b"mine")
    with pytest.raises(StorageError, match=r"holds logs/, made by something else .* or --overwrite"):
        OUTPUTS.require_free(images, out, overwrite=False)
    OUTPUTS.require_free(images, out, overwrite=True)
    out.put("maepress.json", b"not JSON")
    out.put("config.json", b"{}")
    with pytest.raises(StorageError, match=r"holds config.json, logs/, "):
        OUTPUTS.require_free(images, out, overwrite=False)


def test_a_folder_from_before_there_were_marks_is_known_by_a_typical_file(place: str, images: str) -> None:
    out = open_target(place)
    out.put("config.json", b"{}")
    for data, free in ((b"", False), (b"step 1", False), (b'{"step": 7, "loss": 1}\n', True)):
        out.put("history", data)
        if free:
            OUTPUTS.require_free(images, out, overwrite=False)
        else:
            with pytest.raises(StorageError, match=r"holds config\.json"):
                OUTPUTS.require_free(images, out, overwrite=False)


def test_results_never_go_into_the_images(images: str) -> None:
    for url in (images, f"{images}/model", f"file://{images}/x"):
        with pytest.raises(StorageError, match="the images"):
            OUTPUTS.require_free(images, open_target(url), overwrite=True)
