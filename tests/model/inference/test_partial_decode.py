"""Decoding the first part of a payload alone gives the same as decoding all of it."""

from collections.abc import Sequence

import numpy as np
import pytest

from model.codec import Codec, Latents
from model.core.errors import DamagedPayload, WrongModel
from model.core.picture import Picture
from model.inference.partial_decode import Prefix
from tests.conftest import photo_like

SIZES = ((64, 96), (100, 75), (16, 16), (7, 130), (64, 96))


def first_pass(whole: Latents) -> np.ndarray:
    """The symbols of the first pass in the layout of `Prefix`, written from docs/format.md."""
    h, w, channels = whole.symbols.shape
    out = np.zeros((-(-h // 2), -(-w // 2), channels), whole.symbols.dtype)
    for i, j, c in np.ndindex(h, w, channels):
        if (i + c % 4 // 2) % 2 == 0 and (j + c % 2) % 2 == 0:
            out[i // 2, j // 2, c] = whole.symbols[i, j, c]
    return out


def assert_same(prefixes: Sequence[Prefix], wholes: Sequence[Latents]) -> None:
    for prefix, whole in zip(prefixes, wholes, strict=True):
        assert prefix.header == whole.header
        assert np.array_equal(prefix.z, whole.z)
        assert np.array_equal(prefix.symbols, first_pass(whole))


def compressed(codec: Codec, qualities: Sequence[int]) -> list[bytes]:
    return [
        codec.compress([Picture(photo_like(*size, seed=i))], quality)[0]
        for i, (size, quality) in enumerate(zip(SIZES, qualities, strict=True))
    ]


def test_prefixes_of_any_sizes_and_qualities_equal_those_of_whole_payloads(tiny_codec: Codec) -> None:
    payloads = compressed(tiny_codec, (40, 3, 63, 20, 40))
    assert_same(tiny_codec.prefixes(payloads), tiny_codec.restore(payloads))


def test_escapes_of_the_first_pass_are_in_the_prefix(tiny_codec: Codec) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    noise[:16, :16] = 255
    (latents,) = tiny_codec.analyse([Picture(noise)], 63)
    latents.symbols[0, 0, 0] = 9999
    latents.symbols[1, 1, 3] = -12345
    payload = tiny_codec.coder.encode(latents)
    (prefix,) = tiny_codec.prefixes([payload])
    assert prefix.symbols[0, 0, 0] == 9999 and prefix.symbols[0, 0, 3] == -12345
    assert np.array_equal(prefix.symbols, first_pass(latents))


def test_hyper_latents_equal_those_of_whole_payloads(tiny_codec: Codec) -> None:
    payloads = compressed(tiny_codec, (40, 3, 63, 20, 40))
    for z, whole in zip(tiny_codec.hyper_latents(payloads), tiny_codec.restore(payloads), strict=True):
        assert z.dtype == np.int8 and np.array_equal(z, whole.z)


def test_nothing_gives_nothing(tiny_codec: Codec) -> None:
    assert tiny_codec.prefixes([]) == [] and tiny_codec.hyper_latents([]) == []


def test_damage_and_foreign_payloads_are_refused(tiny_codec: Codec) -> None:
    (payload,) = tiny_codec.compress([Picture(photo_like(64, 64))], 40)
    with pytest.raises(DamagedPayload):
        tiny_codec.prefixes([payload[:-1]])
    foreign = Codec.load("base").compress([Picture(photo_like(64, 64))], 40)
    with pytest.raises(WrongModel):
        tiny_codec.prefixes(foreign)
