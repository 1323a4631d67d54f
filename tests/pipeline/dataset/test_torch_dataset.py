"""The data set: every image once per epoch, to exactly one of all ranks and workers."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader

from model.codec import Codec
from model.core.boundary import Fault
from model.core.errors import DamagedPayload, MaepressError
from pipeline.archive.archive import Archive
from pipeline.archive.reader import read_image
from pipeline.archive.schema import JXL, LATENT, ORIGINAL
from pipeline.dataset.row_groups import Wanted, row_groups
from pipeline.dataset.samples import Samples
from pipeline.dataset.torch_dataset import ArchiveImages, Sample
from pipeline.storage.base import StorageError
from tests.pipeline.making import add, image_file, original


def key_of(sample: Sample) -> str:
    return str(sample["key"])


def keys_in(archive: Archive) -> list[str]:
    return [row.key for row in archive.rows_by_key()]


def test_every_image_comes_once_decoded_as_the_archive_decodes_it(small_archive: Archive) -> None:
    samples = {s["key"]: s["image"] for s in ArchiveImages(small_archive, columns=["quality"])}
    assert sorted(samples) == keys_in(small_archive)
    for key in ("a/00.png", "b/01.png", "c/29.png"):
        picture = read_image(small_archive, key)
        assert not isinstance(picture, bytes) and np.array_equal(samples[key], picture.pixels)
    assert samples["j/kept.jpg"].shape == (160, 200, 3)
    assert samples["o/kept.png"].shape == (50, 70, 3)
    assert all(pixels.dtype == np.uint8 for pixels in samples.values())


def test_without_shuffling_images_come_shard_by_shard_in_order_of_key(small_archive: Archive) -> None:
    keys = [s["key"] for s in ArchiveImages(small_archive, content="sketch", shuffle=False)]
    expected = [row.key for shard in small_archive.shards() for row in small_archive.rows_by_key()
                if row.shard == shard.path and row.status == LATENT]  # fmt: skip
    assert keys == expected


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("world", [1, 2, 7])
def test_ranks_are_disjoint_and_together_everything(small_archive: Archive, world: int, shuffle: bool) -> None:
    parts = [
        [s["key"] for s in ArchiveImages(small_archive, content="sketch", rank=rank, world=world, shuffle=shuffle)]
        for rank in range(world)
    ]
    assert Counter(key for part in parts for key in part) == Counter(k for k in keys_in(small_archive) if k[0] in "abc")
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_equal_ranks_have_as_many_and_leave_out_others_each_epoch(small_archive: Archive) -> None:
    left_out = set()
    for epoch in range(6):
        seen = []
        for rank in range(4):
            dataset = ArchiveImages(small_archive, content="sketch", rank=rank, world=4, equal=True)
            dataset.set_epoch(epoch)
            part = [s["key"] for s in dataset]
            assert len(part) == 30 // 4
            seen += part
        assert len(seen) == len(set(seen))
        left_out |= {k for k in keys_in(small_archive) if k[0] in "abc"} - set(seen)
    assert len(left_out) > 30 % 4


def test_loader_workers_share_what_their_rank_sees_also_when_they_live_on(small_archive: Archive) -> None:
    dataset = ArchiveImages(small_archive, content="sketch", transform=key_of, rank=0, world=2)
    other = ArchiveImages(small_archive, content="sketch", transform=key_of, rank=1, world=2)
    loader = DataLoader(dataset, batch_size=None, num_workers=2, persistent_workers=True)
    epochs = []
    for epoch in range(2):
        dataset.set_epoch(epoch)
        other.set_epoch(epoch)
        epochs.append(list(loader))
        assert sorted([*epochs[-1], *other]) == [k for k in keys_in(small_archive) if k[0] in "abc"]
    assert epochs[0] != epochs[1]


def test_an_epoch_has_its_own_order_and_the_same_again(small_archive: Archive) -> None:
    dataset = ArchiveImages(small_archive, content="sketch", transform=key_of, seed=7)
    orders = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        orders.append(list(dataset))
    assert orders[0] == orders[2] != orders[1]
    assert list(ArchiveImages(small_archive, content="sketch", transform=key_of, seed=8)) != orders[0]


def test_a_small_buffer_shuffles_less_and_loses_nothing(small_archive: Archive) -> None:
    dataset = ArchiveImages(small_archive, content="sketch", transform=key_of, buffer_bytes=1)
    assert sorted(dataset) == [k for k in keys_in(small_archive) if k[0] in "abc"]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"keys": "a/*"}, 10),
        ({"keys": "*1.png"}, 3),
        ({"statuses": [JXL]}, 1),
        ({"keys": "[bj]/*"}, 11),
        ({"keys": "j/*", "statuses": [LATENT, JXL]}, 1),
    ],
)
def test_keys_and_statuses_choose(small_archive: Archive, options: dict[str, Any], count: int) -> None:
    dataset = ArchiveImages(small_archive, **options)
    assert dataset.rows == count == len(list(dataset))


def test_row_groups_without_wanted_rows_are_not_planned(small_archive: Archive) -> None:
    assert len(row_groups(small_archive, Wanted(keys="a/*"))) == 1
    assert len(row_groups(small_archive, Wanted(statuses=(JXL,)))) == 1
    assert len(row_groups(small_archive, Wanted())) == 4


@pytest.mark.parametrize(
    ("content", "stride", "channels"), [("sketch", 64, 8), ("prefix", 32, 72), ("latents", 16, 64)]
)
def test_latents_have_a_position_every_so_many_pixels(
    small_archive: Archive, content: Any, stride: int, channels: int
) -> None:
    samples = list(ArchiveImages(small_archive, content=content, columns=["width", "height"]))
    assert len(samples) == 30
    for sample in samples:
        rows, columns = -(-sample["height"] // stride), -(-sample["width"] // stride)
        assert sample["latents"].shape == (rows, columns, channels) and sample["latents"].dtype == np.float32


def test_a_prefix_is_the_symbols_of_the_first_pass_in_units_of_y_with_z_beside_them(
    small_archive: Archive, tiny_codec: Codec
) -> None:
    samples = list(ArchiveImages(small_archive, content="prefix", keys="*9.png"))
    assert len(samples) == 3
    for sample in samples:
        row = small_archive.row(sample["key"])
        assert row is not None
        (whole,), found = tiny_codec.restore([row["payload"]]), sample["latents"]
        steps = tiny_codec.quantisation_steps([whole.header.fine_quality])[0]
        for channel in range(64):
            symbols = whole.symbols[channel % 4 // 2 :: 2, channel % 2 :: 2, channel]
            rows, columns = symbols.shape
            assert np.allclose(found[:rows, :columns, channel], symbols * steps[channel], rtol=1e-5)
        assert np.array_equal(found[::2, ::2, 64:], whole.z)
        assert np.array_equal(found[1::2, 1::2, 64:], whole.z[: found.shape[0] // 2, : found.shape[1] // 2])


def test_what_was_committed_later_is_not_seen(tmp_path: Any, small_archive: Archive) -> None:
    import shutil

    copy = Archive.open(str(shutil.copytree(small_archive.url, tmp_path / "copy")))
    dataset = ArchiveImages(copy, content="sketch", transform=key_of)
    row = small_archive.row("a/00.png")
    assert row is not None
    add(copy, [row | {"key": "a/new.png"}], run="later")
    assert "a/new.png" not in list(dataset)
    assert "a/new.png" in list(ArchiveImages(copy, content="sketch", transform=key_of))


def test_a_damaged_row_is_named(tmp_path: Any, small_archive: Archive) -> None:
    import shutil

    copy = Archive.open(str(shutil.copytree(small_archive.url, tmp_path / "copy")))
    row = small_archive.row("a/00.png")
    assert row is not None
    add(copy, [row | {"key": "x/cut.png", "payload": row["payload"][:-9]}], run="later")
    with pytest.raises(DamagedPayload, match=r"'x/cut.png' in .* does not decode"):
        list(ArchiveImages(copy, content="prefix"))


@pytest.mark.parametrize("where", ["payload", "key"])
def test_a_damaged_page_ends_an_epoch_at_its_own_row_alone(
    where: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    pictures = {key: image_file("BMP", seed=seed, size=(40, 30)) for seed, key in enumerate(["aa", "bbXbb", "cc"])}
    add(archive, [original(key, data) for key, data in pictures.items()])
    path = Path(archive.images.absolute_url) / archive.shards()[0].path
    data = path.read_bytes()
    at = data.index(pictures["bbXbb"]) + 900 if where == "payload" else data.index(b"bbXbb") + 2
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    images = ArchiveImages(archive, shuffle=False)
    rows = [row for batch in images.batches(2) for row in batch]
    samples = Samples(archive, "image").pixels_or_faults(rows)
    assert [row["key"] for row in rows][::2] == ["aa", "cc"] and images.rows == 3
    assert [isinstance(sample, Fault) for sample in samples] == [False, True, False]
    read = iter(ArchiveImages(archive, shuffle=False, transform=key_of))
    with pytest.raises(DamagedPayload, match=r"'bb.bb' in .* its row is damaged"):
        list(read)
    assert list(ArchiveImages(archive, shuffle=False, transform=key_of, keys="[ac]*")) == ["aa", "cc"]


@pytest.mark.parametrize("column", ["status", "width"])
def test_no_flipped_bit_in_what_rows_are_chosen_by_makes_an_epoch_shorter_in_silence(
    column: str, tmp_path: Path
) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    picture = image_file("PNG", size=(64, 30))
    add(archive, [original(key, picture, width=64, height=30) for key in "abc"])
    path = Path(archive.images.absolute_url) / archive.shards()[0].path
    sound, facts = path.read_bytes(), pq.ParquetFile(path).metadata
    (chunk,) = [facts.row_group(0).column(n) for n in range(facts.num_columns) if facts.schema.column(n).name == column]
    begin, noticed = chunk.dictionary_page_offset or chunk.data_page_offset, 0
    for at in range(begin, begin + chunk.total_compressed_size):
        for bit in (0, 6):  # 64 becomes 0, as the width of what is no image
            path.write_bytes(sound[:at] + bytes([sound[at] ^ 1 << bit]) + sound[at + 1 :])
            try:
                assert list(ArchiveImages(archive, statuses=[ORIGINAL], transform=key_of, shuffle=False)) == [*"abc"]
            except MaepressError:
                noticed += 1
    assert noticed


def test_what_cannot_be_given_is_said_in_one_line(small_archive: Archive) -> None:
    with pytest.raises(MaepressError, match="no row of status latent whose key matches 'nothing'"):
        ArchiveImages(small_archive, content="prefix", keys="nothing")
    with pytest.raises(MaepressError, match="content 'pixels' is unknown: choose image, sketch, prefix, latents"):
        ArchiveImages(small_archive, content="pixels")  # type: ignore[arg-type]
    with pytest.raises(MaepressError, match="no column 'label'"):
        ArchiveImages(small_archive, columns=["label"])
    with pytest.raises(StorageError, match=r"'j/kept.jpg' in .* has no latents"):
        list(ArchiveImages(small_archive, content="prefix", statuses=[JXL]))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rank": 1}, "rank 1 of 1 is no part"),
        ({"rank": 4, "world": 4}, "rank 4 of 4 is no part"),
        ({"rank": -1, "world": 4}, "rank -1 of 4 is no part"),
        ({"rank": 0, "world": 0}, "rank 0 of 0 is no part"),
        ({"world": 4}, "give rank beside world"),
        ({"equal": True, "rank": 0, "world": 100}, "less than one for each of 100 ranks"),
        ({"seed": -1}, "seed -1 is negative"),
        ({"version": -1}, "no version -1"),
    ],
)
def test_a_part_that_would_be_read_as_nothing_or_twice_is_refused(
    small_archive: Archive, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(MaepressError, match=said):
        ArchiveImages(small_archive, **options)


def test_a_negative_epoch_is_refused_when_it_is_set(small_archive: Archive) -> None:
    with pytest.raises(MaepressError, match="epoch -1 is negative"):
        ArchiveImages(small_archive).set_epoch(-1)


def test_a_batch_of_a_fixed_size_is_what_torch_makes_of_transformed_samples(small_archive: Archive) -> None:
    def crop(sample: Sample) -> dict[str, Any]:
        return {"image": torch.from_numpy(sample["image"][:48, :48].copy()), "label": "abcjo".index(sample["key"][0])}

    batches = list(DataLoader(ArchiveImages(small_archive, transform=crop), batch_size=8))
    assert sum(len(batch["label"]) for batch in batches) == 32
    assert batches[0]["image"].shape == (8, 48, 48, 3) and batches[0]["image"].dtype == torch.uint8
