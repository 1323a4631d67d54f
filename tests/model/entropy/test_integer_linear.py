"""Products in bytes give the integers of the float32 path, or are not used."""

import numpy as np
import pytest
import torch

from model.bitstream.coding_passes import PASSES, pass_map
from model.core.config import CodecConfig
from model.entropy import integer_linear
from model.entropy.integer_linear import IntegerLinear
from model.inference import window_coding
from model.inference.tiling import Window
from model.inference.window_coding import BatchQualities
from model.network.network import Network, finalise

CONFIG = CodecConfig(patch_channels=16, latent_channels=24, hyper_channels=8, hyper_width=16, scale_width=16)
needs_bytes = pytest.mark.skipif(not integer_linear._is_supported(), reason="a processor without 8-bit products")


def drawn(low: int, high: int, *shape: int) -> torch.Tensor:
    return torch.randint(low, high + 1, shape, generator=torch.Generator().manual_seed(sum(shape)))


@needs_bytes
def test_sums_are_rounded_down_and_clipped_as_in_integers() -> None:
    weight = drawn(-254, 254, 40, 70)
    layer = IntegerLinear.made(weight.float(), 7)
    assert layer is not None
    assert 0 < len(layer.again) <= 70
    x, row = drawn(0, 255, 500, 70), drawn(-9000, 9000, 40)
    given = torch.cat([x, x[:, layer.again]], 1).to(torch.uint8)
    expected = ((x @ weight.T + row) >> 7).clamp(0, 255)
    assert torch.equal(layer(given, row / 128).long(), expected)
    assert expected.float().std() > 50


@needs_bytes
def test_weights_that_fit_a_byte_are_given_once() -> None:
    layer = IntegerLinear.made(drawn(-127, 127, 8, 20).float(), 9)
    assert layer is not None
    assert len(layer.again) == 0


def test_a_weight_that_two_bytes_cannot_hold_stays_in_float() -> None:
    assert IntegerLinear.made(torch.full((8, 20), 255.0), 7) is None


@needs_bytes
def test_a_processor_whose_probe_differs_stays_in_float(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        IntegerLinear, "__call__", lambda self, x, row: torch.zeros(len(x), len(row), dtype=torch.uint8)
    )
    assert IntegerLinear.made(drawn(-100, 100, 8, 20).float(), 7) is None


@needs_bytes
def test_scale_indices_are_those_of_the_float_path() -> None:
    torch.manual_seed(0)
    network = Network(CONFIG)
    for name, parameter in network.scales.named_parameters():
        if "knots" in name or "bias" in name:
            torch.nn.init.normal_(parameter, std=2.0)
    finalise(network, torch.float32)
    model = window_coding.entropy_model(network)
    z, symbols = drawn(-20, 20, 2, 4, 5, 8).to(torch.int8), drawn(-6, 6, 2, 14, 18, 24).to(torch.int16)
    passes = torch.from_numpy(pass_map(14, 18, 24))

    def indices(fine_quality: float, in_bytes: bool) -> list[torch.Tensor]:
        model._in_bytes = in_bytes
        qualities = BatchQualities.of(network, [fine_quality] * 2, torch.device("cpu"))
        narrow = window_coding.narrow_features(network, z, qualities, Window(0, 0, 14, 18))
        assert (narrow.dtype == torch.uint8) == in_bytes
        known = [torch.where(passes < n, symbols, 0) for n in range(PASSES)]
        return [window_coding.scale_indices(network, n, narrow, known[n], qualities) for n in range(PASSES)]

    with torch.inference_mode():
        for fine_quality in (0.0, 37.5, 63.75):
            found, expected = indices(fine_quality, True), indices(fine_quality, False)
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
            assert len(np.unique(torch.stack(found))) > 20
