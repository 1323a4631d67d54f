"""Trials of the entropy networks start from the model, whatever they add, and measure what it would code."""

import io
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from bench import dependent_quantisation, entropy_trials, quantiser_bound
from bench.entropy_variants import VARIANTS, Variant
from model import checkpoint
from model.network.network import Network
from tests.conftest import photo_like

QUALITY = torch.tensor([9, 44])


@pytest.fixture(scope="module")
def network(tiny_model_folder: Path) -> Network:
    return checkpoint.load(tiny_model_folder).network


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.from_numpy(np.stack([photo_like(64, 128, seed=seed) for seed in range(2)])).float() / 255


def test_the_baseline_codes_what_the_network_codes(network: Network, image: torch.Tensor) -> None:
    with torch.no_grad():
        y = network.analysis(image)
        z = network.hyper_latent(y, QUALITY, QUALITY)
        ours, theirs = Variant(network).code(y, z, QUALITY, estimate=True), network.analyse(image, QUALITY)
    assert torch.equal(ours.symbols, theirs.symbols.float()) and torch.equal(ours.index, theirs.indices.float())
    assert torch.allclose(ours.latent, theirs.latent, atol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_starts_as_the_baseline_and_learns(name: str, network: Network, image: torch.Tensor) -> None:
    y = network.analysis(image).detach()
    z = network.hyper_latent(y, QUALITY, QUALITY)
    variant, baseline = VARIANTS[name](network), Variant(network)
    with torch.no_grad():
        ours, theirs = (v(y, z, QUALITY, estimate=True) for v in (variant, baseline))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-3)
    before = [p.detach().clone() for p in variant.trained()]
    trial = entropy_trials.Trial(name, variant, 1e-3, in_pixels=True)
    crops = entropy_trials.Crops(y, (image * 255).to(torch.uint8))
    for step in range(3):
        trial.step(crops, z, QUALITY, step, 3)
    assert trial.seconds > 0
    moved = [not torch.equal(a, b) for a, b in zip(before, variant.trained(), strict=True)]
    assert np.mean(moved) > 0.9
    assert all(not p.requires_grad for p in variant.network.synthesis.parameters())


def test_latents_are_written_and_variants_compared(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("CROP", 64), ("SIDE", 64), ("SHRINK", 1.0), ("BATCH", 4)):
        monkeypatch.setattr(entropy_trials, name, value)
    (tmp_path / "images").mkdir()
    for i in range(12):
        file = io.BytesIO()
        Image.fromarray(photo_like(96, 96, seed=i)).save(file, "PNG")
        (tmp_path / f"images/{i:02d}.png").write_bytes(file.getvalue())
    (tmp_path / "recipe.yaml").write_text("sets:\n  all: {keys: ['*'], crops: 1}\nvalidation_share: 0.2\n")
    file_of_latents = tmp_path / "latents.safetensors"
    arguments = [str(tmp_path / "recipe.yaml"), str(tmp_path / "images"), str(file_of_latents)]
    assert entropy_trials.main(["latents", *arguments, "--crops", "8", "--model", str(tiny_model_folder)]) == 0
    train = ["train", str(file_of_latents), "--variants", "baseline", "carry", "--steps", "3", "--batch", "4"]
    assert entropy_trials.main(train) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["8", "before", *2 * ["after", "baseline", "carry"]]
    assert quantiser_bound.main([str(file_of_latents)]) == 0
    assert "eight states" in capsys.readouterr().out


def test_latents_of_a_model_that_was_replaced_are_refused(
    tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "latents.safetensors"
    save_file({"y.train.0": torch.zeros(1)}, file, {"model": str(tiny_model_folder), "fingerprint": "0" * 16})
    for main in (quantiser_bound.main, dependent_quantisation.main):
        assert main([str(file)]) == 2
    assert entropy_trials.main(["train", str(file)]) == 2
    assert capsys.readouterr().err.count("holds latents of another model") == 3


def test_the_bound_of_a_gaussian_is_the_known_one() -> None:
    values = np.random.default_rng(0).normal(0, 2.0, 200_000)
    # D = 1/12 at this slope, R = log2(sigma^2 / D) / 2
    known = 0.5 * math.log2(12 * 2.0**2) + entropy_trials.STEP_BITS / 12
    assert quantiser_bound.least_cost(values, 2.0) == pytest.approx(known, rel=0.01)


def test_the_path_of_dependent_quantisation_is_the_best_of_all() -> None:
    rng, length, least = np.random.default_rng(1), 5, 3
    residual, index = rng.normal(0, 1.2, (1, length)), rng.integers(1, 8, (1, length))
    costs, offsets = rng.uniform(0.5, 4, (64, 8)).cumsum(1), rng.uniform(0, 0.2, (64, 3)) * [0, 1, 1]
    symbols, moved = np.zeros((1, length)), np.zeros((1, length))
    weight = np.full((1, length), 6.0)
    table = dependent_quantisation.NEXT
    dependent_quantisation._best_paths(residual, index, weight, least, costs, offsets, table, symbols, moved)

    def cost(sizes: tuple[int, ...]) -> float:
        state, total = 0, 0.0
        for size, r, k in zip(sizes, residual[0], index[0], strict=True):
            shift = state % 2 / 2 if k >= least else offsets[k, min(size, 2)]
            total += costs[k, size] + 6.0 * (abs(r) - max(size - shift, 0.0)) ** 2
            state = table[state, size % 2] if k >= least else state
        return float(total)

    found = cost(tuple(np.abs(symbols[0]).astype(int)))
    assert (index[0] >= least).any() and (index[0] < least).any() and (symbols != 0).any()
    assert found == pytest.approx(min(cost(sizes) for sizes in itertools.product(range(5), repeat=length)))
    assert found == pytest.approx(
        float(costs[index[0], np.abs(symbols[0]).astype(int)].sum() + 6 * ((residual - moved) ** 2).sum())
    )
