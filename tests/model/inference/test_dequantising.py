"""Latents decoded without synthesis are the input of the synthesis."""

from pathlib import Path

import numpy as np
import torch

from model import checkpoint
from model.codec import Codec
from model.core.picture import Picture
from tests.conftest import photo_like


def test_synthesis_of_the_latents_gives_the_pixels_of_the_decoder(tiny_codec: Codec, tiny_model_folder: Path) -> None:
    network = checkpoint.load(tiny_model_folder, "cpu").network
    pictures = [Picture(photo_like(height, width)) for height, width in ((64, 96), (50, 75))]
    payloads = [tiny_codec.compress([p], quality)[0] for p, quality in zip(pictures, (40, 12), strict=True)]
    decoded = tiny_codec.decompress(payloads)
    for latents, quality, picture in zip(tiny_codec.latents(payloads), (40, 12), decoded, strict=True):
        assert latents.dtype == np.float32 and latents.shape == (-(-picture.height // 16), -(-picture.width // 16), 64)
        with torch.inference_mode():
            image = network.synthesise(torch.from_numpy(latents)[None], torch.tensor([quality]))[0].numpy()
        difference = image[: picture.height, : picture.width].astype(int) - picture.pixels
        assert np.abs(difference).max() <= 1


def test_latents_do_not_depend_on_the_tiles(tiny_codec: Codec, tiny_model_folder: Path) -> None:
    small = Codec(checkpoint.load(tiny_model_folder, "cpu"), tile=4)
    (payload,) = tiny_codec.compress([Picture(photo_like(200, 144))], 40)
    (whole,), (tiled,) = tiny_codec.latents([payload]), small.latents([payload])
    assert np.allclose(whole, tiled, atol=1e-5)
