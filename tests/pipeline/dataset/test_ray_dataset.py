"""The Ray dataset has the same samples as the torch one."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from model.core.errors import MaepressError
from pipeline.archive.archive import Archive
from pipeline.dataset import ray_dataset
from pipeline.dataset.ray_dataset import read_archive
from pipeline.dataset.torch_dataset import ArchiveImages, Sample

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.mark.parametrize("content", [pytest.param("image", marks=pytest.mark.slow), "prefix"])
def test_every_row_is_the_sample_of_the_torch_data_set(small_archive: Archive, content: Any) -> None:
    name = "image" if content == "image" else "latents"
    rows = read_archive(small_archive, content=content, columns=["status", "width"], actors="1:1").take_all()
    expected = {s["key"]: s for s in ArchiveImages(small_archive, content=content, columns=["status", "width"])}
    assert sorted(row["key"] for row in rows) == sorted(expected)
    for row in rows:
        sample = expected[row["key"]]
        assert np.array_equal(row[name], sample[name]) and row[name].dtype == sample[name].dtype
        assert (row["status"], row["width"]) == (sample["status"], sample["width"])


def test_batches_for_torch_come_from_a_transform_to_one_shape(small_archive: Archive) -> None:
    def crop(sample: Sample) -> dict[str, Any]:
        return {"key": sample["key"], "label": ord(sample["key"][0]), "pixels": sample["image"][:48, :48]}

    dataset = read_archive(small_archive.url, keys="[abc]/*", transform=crop, actors="1:1").drop_columns(["key"])
    batches = list(dataset.iter_torch_batches(batch_size=8))
    assert sum(len(batch["label"]) for batch in batches) == 30
    assert batches[0]["pixels"].shape[1:] == (48, 48, 3)


@pytest.mark.slow
def test_a_name_that_only_some_samples_have_is_a_column_with_gaps(small_archive: Archive) -> None:
    """Names that the first of some samples lacked were lost in silence, and others ended the pass."""

    def labelled(sample: Sample) -> dict[str, Any]:
        number = int(sample["key"][2:4])
        return {"key": sample["key"]} | ({"label": number} if number % 2 else {"name": "even"})

    rows = read_archive(small_archive, content="sketch", transform=labelled, actors="1:1").take_all()
    assert len(rows) == 30
    for row in rows:
        number = int(row["key"][2:4])
        assert (row["label"], row["name"]) == ((number, None) if number % 2 else (None, "even"))


@pytest.mark.slow
def test_a_pass_goes_on_after_the_rows_that_were_taken(small_archive: Archive) -> None:
    expected = [s["key"] for s in ArchiveImages(small_archive, content="sketch", shuffle=False)]
    for skip in (0, 13):
        rows = read_archive(small_archive, content="sketch", actors="1:1", skip=skip).take_all()
        assert [row["key"] for row in rows] == expected[skip:]
    with pytest.raises(MaepressError, match="30 that match"):
        read_archive(small_archive, content="sketch", skip=30)


def test_nothing_to_read_is_said_before_ray_starts_anything(small_archive: Archive) -> None:
    with pytest.raises(MaepressError, match="nothing to learn from"):
        read_archive(small_archive, keys="nothing")
    with pytest.raises(MaepressError, match="-1 rows are to be left out"):
        read_archive(small_archive, skip=-1)
    with pytest.raises(MaepressError, match="'many' is not MIN:MAX"):
        read_archive(small_archive, actors="many")


def test_an_actor_without_a_gpu_decodes_on_the_cpu_though_torch_sees_one(
    small_archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    devices = []
    monkeypatch.setattr(ray_dataset, "Samples", lambda archive, content, device: devices.append(device))
    ray_dataset._Decoder(small_archive, "image", (), None, threads=1)
    assert devices == ["cpu"]


def test_an_actor_that_holds_a_gpu_decodes_there_or_reports_a_torch_that_cannot_use_it(
    small_archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.get_gpu_ids", lambda: [0])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    decoder = ray_dataset._Decoder(small_archive, "image", (), None, threads=1)
    with pytest.raises(MaepressError, match="--gpus-per-actor 0"):
        next(decoder(pa.table({})))
