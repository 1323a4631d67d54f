"""Decoding at a fraction of the size: sizes, fidelity, what it reads, and models without heads."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from model import checkpoint
from model.bitstream import container
from model.bitstream.container import Tag
from model.codec import Codec
from model.core.errors import DamagedPayload, MaepressError
from model.core.model_files import CONFIG, WEIGHTS
from model.core.picture import Picture
from model.core.reduction import DENOMINATORS, box_reduced, reduced_size
from model.metrics.psnr import psnr
from pipeline.train.heads import add_heads
from tests.conftest import photo_like

SCALES = [1 / d for d in DENOMINATORS]


@pytest.fixture(scope="module")
def folder(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with heads, fitted on pictures like photographs."""
    made = tmp_path_factory.mktemp("model")
    for name in (WEIGHTS, CONFIG):
        (made / name).write_bytes((tiny_model_folder / name).read_bytes())
    add_heads(made, (Picture(photo_like(96, 128, seed=n)) for n in range(12)))
    return made


@pytest.fixture(scope="module")
def codec(folder: Path) -> Codec:
    return Codec.load(folder)


@pytest.mark.parametrize("size", [(1, 1), (3, 65), (16, 17), (33, 90)])
@pytest.mark.parametrize("denominator", DENOMINATORS)
def test_box_reduction_is_that_of_pillow(size: tuple[int, int], denominator: int) -> None:
    for channels in (1, 3):
        pixels = photo_like(*size, channels)
        image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels).reduce(denominator)
        ours = box_reduced(pixels, denominator)
        assert ours.shape[:2] == reduced_size(*size, denominator)
        assert np.abs(ours.astype(int) - np.asarray(image).reshape(ours.shape)).max() <= 1


@pytest.mark.parametrize("scale", SCALES)
def test_a_reduced_picture_has_its_size_its_alpha_and_its_metadata(
    codec: Codec, tiny_codec: Codec, scale: float
) -> None:
    for height, width, channels in ((1, 1, 3), (50, 37, 3), (17, 70, 1), (64, 64, 3)):
        alpha = photo_like(height, width, 1, seed=5)[..., 0]
        original = Picture(photo_like(height, width, channels), alpha, b"icc", b"exif", b"xmp")
        payloads = codec.compress([original], 40)
        for decoder in (codec, tiny_codec):  # with and without heads
            (small,) = decoder.decompress(payloads, scale)
            assert small.pixels.shape == (*reduced_size(height, width, round(1 / scale)), channels)
            assert np.array_equal(small.alpha, box_reduced(alpha, round(1 / scale)))  # type: ignore[arg-type]
            assert (small.icc, small.exif, small.xmp) == (b"icc", b"exif", b"xmp")


def test_without_heads_a_reduced_picture_is_the_whole_one_reduced(tiny_codec: Codec) -> None:
    payloads = tiny_codec.compress([Picture(photo_like(70, 90))], 40)
    (whole,) = tiny_codec.decompress(payloads)
    for denominator in DENOMINATORS:
        (small,) = tiny_codec.decompress(payloads, 1 / denominator)
        assert np.array_equal(small.pixels, box_reduced(whole.pixels, denominator))


def test_reduced_pictures_are_near_the_reduced_original(codec: Codec) -> None:
    pixels = photo_like(128, 160, seed=99)
    payloads = codec.compress([Picture(pixels)], 50)
    grey = Picture(np.full_like(pixels, 128))
    for denominator, least in ((2, 28), (4, 28), (8, 28), (16, 20)):
        (small,) = codec.decompress(payloads, 1 / denominator)
        wanted = box_reduced(pixels, denominator)
        assert psnr(wanted, small.pixels) > max(least, psnr(wanted, box_reduced(grey.pixels, denominator)) + 3)


def test_reduced_pictures_do_not_depend_on_the_tiles(folder: Path) -> None:
    model = checkpoint.load(folder)
    whole, tiled = Codec(model, tile=96), Codec(model, tile=4)
    payloads = whole.compress([Picture(photo_like(150, 200))], 40)
    for scale in SCALES:
        (a,), (b,) = whole.decompress(payloads, scale), tiled.decompress(payloads, scale)
        assert np.abs(a.pixels.astype(int) - b.pixels).max() <= 1


def test_a_sixteenth_is_read_from_the_beginning_of_the_stream(codec: Codec) -> None:
    (payload,) = codec.compress([Picture(photo_like(128, 128))], 40)
    header, sections = container.read(payload)
    stream = sections[Tag.STREAM]
    at = len(stream) - 4 * (len(stream) // 8)  # words of the last pass
    changed = {Tag(t): s for t, s in sections.items()} | {Tag.STREAM: stream[:at] + bytes(len(stream) - at)}
    damaged = container.write(header, changed)
    (a,), (b,) = codec.decompress([payload], 1 / 16), codec.decompress([damaged], 1 / 16)
    assert np.array_equal(a.pixels, b.pixels)
    with pytest.raises(DamagedPayload):
        codec.decompress([damaged], 1 / 8)


def test_other_scales_are_refused(codec: Codec) -> None:
    payloads = codec.compress([Picture(photo_like(20, 20))], 40)
    for scale in (0, 1 / 3, 2, 1 / 32, -1):
        with pytest.raises(MaepressError, match="at a scale of 1, 1/2, 1/4, 1/8 or 1/16"):
            codec.decompress(payloads, scale)


def test_heads_change_neither_fingerprint_nor_payloads(codec: Codec, tiny_codec: Codec) -> None:
    picture = Picture(photo_like(40, 40))
    assert codec.fingerprint == tiny_codec.fingerprint
    assert codec.compress([picture], 30) == tiny_codec.compress([picture], 30)


@pytest.mark.parametrize("damage", ["shape", "name", "nan", "dtype"])
def test_heads_that_are_none_are_refused(folder: Path, tmp_path: Path, damage: str) -> None:
    tensors = load_file(folder / WEIGHTS)
    head = tensors["reduced.8"]
    changed = {
        "shape": {"reduced.8": head[:, 1:].contiguous()},
        "name": {"reduced.3": head.clone()},
        "nan": {"reduced.8": head * torch.nan},
        "dtype": {"reduced.8": head.to(torch.int32)},
    }
    save_file(tensors | changed[damage], tmp_path / WEIGHTS)
    (tmp_path / CONFIG).write_bytes((folder / CONFIG).read_bytes())
    with pytest.raises(MaepressError, match=r"reduced\.\d"):
        Codec.load(tmp_path)
