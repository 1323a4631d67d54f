"""The codec's public interface: pictures come back, as near as their quality allows."""

import pickle

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model import checkpoint
from model.bitstream.container import Colour, Header
from model.codec import MAX_PIXELS, Codec, Latents
from model.core.config import QUALITIES
from model.core.errors import DamagedPayload, MaepressError, UnsupportedImage, WrongModel
from model.core.picture import Picture
from model.layers.blocks import set_compute_dtype
from model.network.network import Network
from tests.conftest import TINY, photo_like

SIDES = (1, 15, 16, 17, 63, 64, 65)


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2)))


def largest_difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    return int(np.abs(a.astype(int) - b).max())


def same_numbers(a: Latents, b: Latents) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("z", "symbols", "indices"))


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_every_size_come_back(tiny_codec: Codec, channels: int) -> None:
    pictures = [Picture(photo_like(height, width, channels, seed=height)) for height in SIDES for width in SIDES]
    decoded = tiny_codec.decompress(tiny_codec.compress(pictures, 50))
    for picture, again in zip(pictures, decoded, strict=True):
        assert again.pixels.shape == picture.pixels.shape
        assert again.pixels.dtype == np.uint8
        assert psnr(picture.pixels, again.pixels) > 28, picture.pixels.shape


@pytest.mark.parametrize("size", [(1, 700), (700, 1)])
def test_pictures_of_one_row_or_column_come_back(tiny_codec: Codec, size: tuple[int, int]) -> None:
    picture = Picture(photo_like(*size))
    (again,) = tiny_codec.decompress(tiny_codec.compress([picture], 50))
    assert psnr(picture.pixels, again.pixels) > 30


def test_extreme_pictures_come_back(tiny_codec: Codec) -> None:
    rng = np.random.default_rng(0)
    extremes = [
        np.zeros((40, 40, 3), np.uint8),
        np.full((40, 40, 3), 255, np.uint8),
        rng.choice(np.array([0, 255], np.uint8), (40, 40, 3)),
        np.indices((40, 40)).sum(0)[..., None].repeat(3, 2).astype(np.uint8) % 2 * 255,
    ]
    for pixels in extremes:
        low, high = (tiny_codec.decompress(tiny_codec.compress([Picture(pixels)], q))[0].pixels for q in (0, 63))
        assert psnr(pixels, high) >= psnr(pixels, low) - 0.1 or np.array_equal(pixels, low)


def test_alpha_and_metadata_come_back_exactly(tiny_codec: Codec) -> None:
    alpha = np.random.default_rng(0).integers(0, 256, (33, 50)).astype(np.uint8)
    for channels in (1, 3):
        original = Picture(photo_like(33, 50, channels), alpha, icc=b"icc", exif=b"\0exif", xmp=b"<xmp/>" * 100)
        (again,) = tiny_codec.decompress(tiny_codec.compress([original], 20))
        assert np.array_equal(again.alpha, alpha)  # type: ignore[arg-type]
        assert (again.icc, again.exif, again.xmp) == (original.icc, original.exif, original.xmp)


def test_metadata_can_be_left_out(tiny_codec: Codec) -> None:
    original = Picture(photo_like(20, 20), icc=b"profile" * 10)
    (again,) = tiny_codec.decompress(tiny_codec.compress([original], 20, metadata=False))
    assert again.icc == b""


def test_the_decoded_numbers_are_the_encoded_ones(tiny_codec: Codec) -> None:
    pictures = [Picture(photo_like(50, 70, seed=i)) for i in range(3)] + [Picture(photo_like(9, 9, 1))]
    for quality in (0, 30, 63):
        analysed = tiny_codec.analyse(pictures, quality, check=False)
        restored = tiny_codec.restore([tiny_codec.coder.encode(latents) for latents in analysed])
        for before, after in zip(analysed, restored, strict=True):
            assert same_numbers(before, after)
            assert before.header == after.header


def test_a_batch_is_decoded_as_one_by_one(tiny_codec: Codec) -> None:
    pictures = [Picture(photo_like(60, 80, seed=i)) for i in range(5)]
    payloads = [payload for q in (3, 33, 60) for payload in tiny_codec.compress(pictures, q)]
    together, alone = tiny_codec.decompress(payloads), [tiny_codec.decompress([p])[0] for p in payloads]
    numbers = tiny_codec.restore(payloads)
    for i, payload in enumerate(payloads):
        assert same_numbers(numbers[i], tiny_codec.restore([payload])[0])
        assert largest_difference(together[i].pixels, alone[i].pixels) <= 1


def test_a_batch_is_encoded_about_as_one_by_one(tiny_codec: Codec) -> None:
    pictures = [Picture(photo_like(60, 80, seed=i)) for i in range(5)]
    for latents, picture in zip(tiny_codec.analyse(pictures, 33), pictures, strict=True):
        (alone,) = tiny_codec.analyse([picture], 33)
        # A float sum in another order may round a latent the other way, as an encoder may.
        assert np.mean(latents.symbols != alone.symbols) < 1e-3
        assert latents.psnr == pytest.approx(alone.psnr, abs=0.02)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_payloads_decode_to_the_same_numbers_with_any_number_of_threads(tiny_codec: Codec, threads: int) -> None:
    (latents,) = tiny_codec.analyse([Picture(photo_like(130, 150))], 45)
    payload = tiny_codec.coder.encode(latents)
    torch.set_num_threads(threads)
    assert same_numbers(tiny_codec.restore([payload])[0], latents)


def test_payloads_decode_to_the_same_numbers_with_bfloat16_branches(tiny_model_folder: object) -> None:
    codecs = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = checkpoint.load(str(tiny_model_folder))
        codecs[dtype] = Codec(model)
        set_compute_dtype(model.network, dtype)
    pictures = [Picture(photo_like(100, 90)), Picture(photo_like(64, 64, 1))]
    for writer in codecs.values():
        for quality in (10, 55):
            analysed = writer.analyse(pictures, quality)
            payloads = [writer.coder.encode(latents) for latents in analysed]
            for reader in codecs.values():
                assert all(map(same_numbers, reader.restore(payloads), analysed))
                for picture, latents in zip(reader.decompress(payloads), analysed, strict=True):
                    wanted = pictures[analysed.index(latents)].pixels
                    assert psnr(wanted, picture.pixels) == pytest.approx(latents.psnr, abs=0.1)


def test_more_quality_takes_more_bytes_and_loses_less(tiny_codec: Codec) -> None:
    picture = Picture(photo_like(128, 160))
    analysed = [tiny_codec.analyse([picture], quality)[0] for quality in range(0, QUALITIES, 9)]
    sizes = [len(tiny_codec.coder.encode(latents)) for latents in analysed]
    fidelities = [latents.psnr or 0 for latents in analysed]
    assert sizes == sorted(set(sizes))
    assert fidelities == sorted(set(fidelities))
    assert sizes[-1] > 4 * sizes[0]
    assert fidelities[-1] > fidelities[0] + 4


@pytest.mark.parametrize("channels", [1, 3])
def test_the_measured_psnr_is_that_of_what_the_decoder_outputs(tiny_codec: Codec, channels: int) -> None:
    for quality in (5, 60):
        picture = Picture(photo_like(70, 50, channels))
        (latents,) = tiny_codec.analyse([picture], quality)
        (again,) = tiny_codec.decompress([tiny_codec.coder.encode(latents)])
        assert latents.psnr == pytest.approx(psnr(picture.pixels, again.pixels), abs=1e-9)


def test_psnr_is_left_out_when_it_is_not_asked_for(tiny_codec: Codec) -> None:
    assert tiny_codec.analyse([Picture(photo_like(20, 20))], 5, check=False)[0].psnr is None


def test_the_two_halves_together_are_compress(tiny_codec: Codec) -> None:
    picture = Picture(photo_like(40, 60), np.full((40, 60), 7, np.uint8))
    (latents,) = tiny_codec.analyse([picture], 33)
    assert tiny_codec.coder.encode(pickle.loads(pickle.dumps(latents))) == tiny_codec.compress([picture], 33)[0]


def test_latents_between_processes_are_small_integers(tiny_codec: Codec) -> None:
    (latents,) = tiny_codec.analyse([Picture(photo_like(64, 64))], 33)
    assert [a.dtype.name for a in (latents.z, latents.symbols, latents.indices)] == ["int8", "int16", "uint8"]


def test_read_only_pixels_are_compressed_without_a_warning(tiny_codec: Codec, recwarn: pytest.WarningsRecorder) -> None:
    pixels = photo_like(32, 48)
    pixels.flags.writeable = False
    tiny_codec.compress([Picture(pixels)], 20)
    # Files that earlier tests left open are collected, with such a warning, at any time.
    assert not [warning for warning in recwarn if not issubclass(warning.category, ResourceWarning)]


def test_an_empty_list_gives_an_empty_list(tiny_codec: Codec) -> None:
    assert tiny_codec.compress([], 3) == []
    assert tiny_codec.decompress([]) == []


@pytest.mark.parametrize("quality", [-1, QUALITIES])
def test_qualities_out_of_range_are_refused(tiny_codec: Codec, quality: int) -> None:
    with pytest.raises(MaepressError, match=f"quality {quality} is out of range"):
        tiny_codec.compress([Picture(photo_like(8, 8))], quality)


def test_images_beyond_the_limit_are_refused_before_anything_is_allocated(tiny_codec: Codec) -> None:
    endless = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (MAX_PIXELS // 1000 + 1, 1000, 3))
    with pytest.raises(UnsupportedImage, match="cut the image into parts"):
        tiny_codec.compress([Picture(endless)], 3)


def test_verify_tells_the_header_and_refuses_damage(tiny_codec: Codec) -> None:
    (payload,) = tiny_codec.compress([Picture(photo_like(20, 30, 1))], 12)
    assert tiny_codec.verify(payload) == Header(tiny_codec.fingerprint, 30, 20, 12, Colour.GREY)
    with pytest.raises(DamagedPayload):
        tiny_codec.verify(payload[:-1] + bytes([payload[-1] ^ 1]))


def test_another_models_payload_is_refused_with_both_names(tiny_codec: Codec, tmp_path: object) -> None:
    torch.manual_seed(7)
    folder = str(tmp_path)
    for name, data in checkpoint.serialise(Network(TINY)).items():
        with open(f"{folder}/{name}", "wb") as file:
            file.write(data)
    other = Codec.load(folder)
    (payload,) = tiny_codec.compress([Picture(photo_like(20, 20))], 12)
    for use in (lambda: other.decompress([payload]), lambda: other.verify(payload)):
        with pytest.raises(WrongModel) as error:
            use()
        assert tiny_codec.fingerprint in str(error.value)
        assert other.fingerprint in str(error.value)
