"""Refined latents: smaller files at the same fidelity, whatever the tiles and threads; decoding is as ever."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from model import checkpoint
from model.codec import Codec
from model.core.errors import MaepressError
from model.core.picture import Picture
from model.core.target import Target
from model.inference import refinement
from model.inference.refinement import Refinement
from model.layers.blocks import set_compute_dtype
from model.layers.quality import tradeoff
from model.metrics.psnr import psnr
from model.metrics.ssimulacra2 import ssimulacra2
from model.network.loss import Distortion, distortion
from tests.conftest import photo_like

PHOTOGRAPH = Path(__file__).parents[3] / "jobs" / "demo" / "astronaut.webp"


@pytest.fixture(scope="module")
def base() -> Codec:
    return Codec.load("base")


@pytest.fixture(scope="module")
def photograph() -> Picture:
    return Picture(np.array(Image.open(PHOTOGRAPH).convert("RGB").crop((160, 40, 288, 168))))


@pytest.fixture
def tiny(tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> checkpoint.Checkpoint:
    """A small model in float32, whose pictures have many blocks."""
    monkeypatch.setattr(refinement, "BLOCK", 8)
    model = checkpoint.load(tiny_model_folder)
    set_compute_dtype(model.network, torch.float32)
    return model


def objective(codec: Codec, picture: Picture, quality: int, effort: int, kind: Distortion) -> float:
    """What training minimises, for the payload and the decoder's pixels: bits per pixel + lambda * distortion."""
    (payload,) = codec.compress([picture], quality, effort=effort)
    (decoded,) = codec.decompress([payload])
    one, other = (torch.from_numpy(p.pixels[None]).float() / 255 for p in (decoded, picture))
    bpp = 8 * len(payload) / (picture.width * picture.height)
    return bpp + float(tradeoff(torch.tensor([quality])) * distortion(kind, one, other))


def equal(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> bool:
    return bool((a == b).all())


@pytest.mark.parametrize("quality", [16, pytest.param(36, marks=pytest.mark.slow)])
def test_each_effort_lowers_the_objective_of_a_photograph_further(
    base: Codec, photograph: Picture, quality: int
) -> None:
    none, one, three = (objective(base, photograph, quality, effort, "perceptual") for effort in (0, 1, 3))
    assert one < 0.997 * none
    assert three < 0.997 * one


def test_a_model_for_psnr_is_refined_for_squared_error(photograph: Picture) -> None:
    codec = Codec.load("base-psnr")
    none, two = (objective(codec, photograph, 24, effort, "mse") for effort in (0, 2))
    assert two < 0.998 * none


def test_no_effort_is_the_encode_without_refinement(
    base: Codec, photograph: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("refined")

    monkeypatch.setattr(refinement, "refined", never)
    for target in (20, Target(min_psnr=30), Target(max_bpp=1)):
        assert base.compress([photograph], target) == base.compress([photograph], target, effort=0)
    with pytest.raises(AssertionError, match="refined"):
        base.compress([photograph], 20, effort=1)


@pytest.mark.parametrize(
    "target",
    [
        Target(min_psnr=32),
        Target(min_ssimulacra2=65),
        pytest.param(Target(min_ms_ssim=0.97), marks=pytest.mark.slow),
        Target(max_bpp=0.8),
    ],
)
def test_targets_hold_on_what_the_decoder_gives_and_floors_take_fewer_bytes(
    base: Codec, photograph: Picture, target: Target
) -> None:
    (plain,), (refined,) = (base.analyse([photograph], target, effort=effort) for effort in (0, 1))
    payload = base.coder.encode(refined)
    (decoded,) = base.decompress([payload])
    assert refined.met and refined.psnr == psnr(photograph.pixels, decoded.pixels)
    if target.min_psnr is not None:
        assert refined.psnr >= target.min_psnr
    if target.min_ssimulacra2 is not None:
        assert refined.ssimulacra2 == ssimulacra2(photograph.pixels, decoded.pixels) >= target.min_ssimulacra2
    if target.max_bpp is not None:
        assert len(payload) <= target.max_bpp * photograph.width * photograph.height / 8
    else:
        saved = len(base.coder.encode(plain)) - len(payload)
        assert saved > 0 if target.min_ssimulacra2 is not None else saved >= 0


def test_a_floor_never_takes_more_than_without_effort(base: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    picture, target = Picture(photo_like(70, 90, seed=4)), Target(min_psnr=34)
    monkeypatch.setattr(refinement, "refined", lambda network, area, how: area.y + 1.5 / area.qualities.gain)
    assert base.compress([picture], target, effort=2) == base.compress([picture], target)


@pytest.mark.parametrize(
    ("size", "tile"),
    [((150, 233), 8), *(pytest.param(*given, marks=pytest.mark.slow) for given in (((333, 200), 12), ((70, 400), 16)))],
)
def test_the_result_does_not_depend_on_the_tiles(tiny: checkpoint.Checkpoint, size: tuple[int, int], tile: int) -> None:
    pictures = [Picture(photo_like(*size, seed=tile)), Picture(photo_like(*size, 1, seed=tile))]
    whole = Codec(tiny, tile=1 << 12).compress(pictures, 30, effort=1)
    assert whole == Codec(tiny, tile=tile).compress(pictures, 30, effort=1)
    assert whole != Codec(tiny, tile=tile).compress(pictures, 30)


def test_a_picture_comes_out_the_same_again_alone_in_a_batch_and_on_two_threads(
    tiny: checkpoint.Checkpoint,
) -> None:
    codec = Codec(tiny)
    pictures = [Picture(photo_like(150, 170, seed=seed)) for seed in range(3)]
    one_by_one = [codec.compress([picture], 40, effort=1)[0] for picture in pictures]
    assert codec.compress(pictures, 40, effort=1) == one_by_one
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert codec.compress(pictures, 40, effort=1) == one_by_one
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 40, 1), (17, 16, 3)])
def test_any_picture_decodes_after_refinement(base: Codec, shape: tuple[int, int, int]) -> None:
    picture = Picture(photo_like(*shape), photo_like(*shape[:2], 1)[..., 0])
    (latents,) = base.analyse([picture], 25, effort=2)
    payload = base.coder.encode(latents)
    (again,) = base.restore([payload])
    assert np.array_equal(again.symbols, latents.symbols) and np.array_equal(again.indices, latents.indices)
    (decoded,) = base.decompress([payload])
    assert decoded.pixels.shape == shape and latents.psnr == psnr(picture.pixels, decoded.pixels)


def test_weights_get_no_gradient_and_the_next_encode_is_as_before(tiny: checkpoint.Checkpoint) -> None:
    codec, picture = Codec(tiny), Picture(photo_like(60, 60))
    before = codec.compress([picture], 30)
    codec.compress([picture], 30, effort=1)
    assert all(p.grad is None and not p.requires_grad for p in tiny.network.parameters())
    assert codec.compress([picture], 30) == before


@pytest.mark.parametrize("effort", [-1, 4, True, 1.5, "2"])
def test_an_effort_out_of_range_is_one_line(tiny: checkpoint.Checkpoint, effort: int) -> None:
    with pytest.raises(MaepressError, match=r"effort .* is out of range: choose 0 to 3"):
        Codec(tiny).compress([Picture(photo_like(20, 20))], 30, effort=effort)


def test_more_effort_is_more_steps() -> None:
    steps = [0 if (how := Refinement.of(effort, "mse")) is None else how.steps for effort in range(4)]
    assert steps[0] == 0 and steps == sorted(set(steps))
