"""docs/format.md, followed to the letter in plain Python: another decoder's view of a payload."""

import struct
import zlib
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from model.codec import Codec, Latents
from model.picture import Picture
from tests.conftest import photo_like


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def container(payload: bytes) -> tuple[dict[str, int | str], dict[int, bytes]]:
    assert payload[:4] == b"MAEP" and payload[4] == 1
    assert struct.unpack("<I", payload[-4:])[0] == google_crc32c.value(payload[:-4])
    width, at = varint(payload, 15)
    height, at = varint(payload, at)
    header: dict[str, int | str] = {"colour": payload[5], "quality": payload[6], "model": payload[7:15].hex()}
    sections = {}
    while payload[at] != 0:
        length, begin = varint(payload, at + 1)
        sections[payload[at]] = payload[begin : begin + length]
        at = begin + length
    assert at == len(payload) - 5
    return header | {"width": width, "height": height}, sections


class Ans:
    """The decoder of "Entropy coding"."""

    def __init__(self, data: bytes) -> None:
        self.words = list(struct.unpack(f"<{len(data) // 4}I", data))
        self.state = 0
        while self.words and self.state < 1 << 32:
            self.state = self.state << 32 | self.words.pop()

    def decode(self, counts: NDArray[np.int32]) -> int:
        cumulative = np.concatenate([[0], np.cumsum(counts)])
        slot = self.state & 0xFFFFFF
        symbol = int(np.searchsorted(cumulative, slot, side="right")) - 1
        self.state = (self.state >> 24) * int(counts[symbol]) + slot - int(cumulative[symbol])
        if self.state < 1 << 32 and self.words:
            self.state = self.state << 32 | self.words.pop()
        return symbol

    def ended(self) -> bool:
        return self.state == 0 and not self.words


def escapes(data: bytes) -> dict[int, int]:
    if not data:
        return {}
    plain = zlib.decompress(data[1:]) if data[0] else data[1:]
    at = position = 0
    found = {}
    while at < len(plain):
        gap, at = varint(plain, at)
        zigzag, at = varint(plain, at)
        position += gap
        found[position] = -(zigzag + 1) // 2 if zigzag % 2 else zigzag // 2
    return found


def passes(shape: tuple[int, ...]) -> NDArray[np.int64]:
    i, j, c = np.indices(shape)
    row, column = (i + c % 4 // 2) % 2, (j + c % 2) % 2
    return np.where(row != column, 2, row)


def a_latents(codec: Codec, picture: Picture, quality: int) -> Latents:
    """With symbols that no table holds, so that escapes are met, too."""
    (latents,) = codec.analyse([picture], quality)
    symbols = latents.symbols.astype(np.int32)
    symbols[0, 0, :3] += [400, -70000, 3]
    return Latents(latents.header, latents.z, symbols, latents.indices, latents.alpha)


@pytest.mark.parametrize(("channels", "quality"), [(3, 5), (1, 60)])
def test_a_payload_reads_as_the_format_says(
    tiny_codec: Codec, tiny_model_folder: Path, channels: int, quality: int
) -> None:
    alpha = photo_like(37, 50, 1, seed=4)[..., 0]
    latents = a_latents(tiny_codec, Picture(photo_like(37, 50, channels), alpha), quality)
    header, sections = container(tiny_codec.coder.encode(latents, icc=b"profile"))
    assert header == {
        "colour": int(channels == 1),
        "quality": quality,
        "model": tiny_codec.fingerprint,
        "width": 50,
        "height": 37,
    }
    assert sections[128] == b"profile"

    tensors = load_file(tiny_model_folder / "model.safetensors")
    h, w, m = 3, 4, latents.symbols.shape[2]
    stream = Ans(sections[1])
    z = np.empty((1, 1, tensors["tables.hyper"].shape[1]), int)
    for c in range(z.shape[2]):
        z[0, 0, c] = stream.decode(tensors["tables.hyper"][quality // 8, c]) - 127
    assert stream.ended() and (z == latents.z).all()

    tables = np.split(tensors["tables.latent"], np.cumsum(tensors["tables.latent_sizes"])[:-1])
    symbols = np.zeros((h, w, m), int)
    for number in range(3):
        stream = Ans(sections[2 + number])
        for k in range(1, 64):
            for place in np.argwhere((passes(symbols.shape) == number) & (latents.indices == k)):
                symbols[tuple(place)] = stream.decode(tables[k]) - len(tables[k]) // 2
        assert stream.ended()
    for position, value in escapes(sections[5]).items():
        symbols.reshape(-1)[position] = value
    assert (symbols == latents.symbols).all()

    plane = np.frombuffer(zlib.decompress(sections[6][1:]), np.uint8).reshape(37, 50)
    if sections[6][0]:
        plane = np.add.accumulate(plane, axis=2 - sections[6][0], dtype=np.uint8)
    assert (plane == alpha).all()


Plane = NDArray[np.int64]


class Integers:
    """The section "Scale indices", in 64-bit integers: activations in sixteenths, sums in 2048ths."""

    def __init__(self, tensors: dict[str, NDArray[np.float16]], quality: int) -> None:
        self.tensors, self.quality = {k: v.astype(np.float64) for k, v in tensors.items()}, quality

    def rounded(self, name: str, unit: int) -> Plane:
        return np.floor(self.tensors[f"scales.{name}"] * unit + 0.5).astype(np.int64)

    def weights(self, name: str) -> Plane:
        return self.rounded(f"{name}.weight", 128).clip(-255, 255)

    def layer(self, name: str, x: Plane) -> Plane:
        bias = self.rounded(f"{name}.bias", 2048)
        if f"scales.{name}.knots" in self.tensors:
            k, r = divmod(self.quality, 8)
            knots = self.rounded(f"{name}.knots", 256)
            bias = bias + knots[k] * (8 - r) + knots[k + 1] * r
        return x @ self.weights(name).T + bias

    @staticmethod
    def clip(x: Plane) -> Plane:
        return ((x + 64) >> 7).clip(0, 255)

    @staticmethod
    def unpatch(x: Plane) -> Plane:
        h, w, c = x.shape
        return x.reshape(h, w, 2, 2, c // 4).transpose(0, 2, 1, 3, 4).reshape(2 * h, 2 * w, c // 4)

    def near(self, name: str, symbols: Plane) -> Plane:
        size = np.floor(32 * np.log2(1 + np.minimum(np.abs(symbols), 255)) + 0.5).astype(np.int64).clip(0, 255)
        h, w, _ = symbols.shape
        padded = np.pad(size, ((1, 1), (1, 1), (0, 0)))
        weights = self.weights(f"{name}.near")
        return self.clip(sum(padded[i : i + h, j : j + w] * weights[3 * i + j] for i in range(3) for j in range(3)))

    def indices(self, z: Plane, symbols: Plane) -> Plane:
        h, w, _ = symbols.shape
        x = self.clip(self.unpatch(self.layer("up1", z)))
        x = self.clip(self.layer("mix", x))
        features = self.clip(self.unpatch(self.layer("up2", x)))[:h, :w]
        sums = self.layer("out", features)
        number = passes(symbols.shape)
        for later in range(2):
            name, known = f"later.{later}", number <= later
            hidden = self.clip(
                self.layer(f"{name}.join", np.concatenate([features, self.near(name, symbols * known)], -1))
            )
            sums = np.where(known, sums, self.layer(f"{name}.out", hidden))
        return ((sums * 4 + 1024) >> 11).clip(0, 63)


@pytest.mark.parametrize("quality", [0, 13, 40, 63])
def test_scale_indices_are_those_of_64_bit_integer_arithmetic(
    tiny_codec: Codec, tiny_model_folder: Path, quality: int
) -> None:
    (latents,) = tiny_codec.analyse([Picture(photo_like(200, 150, seed=quality))], quality)
    integers = Integers(load_file(tiny_model_folder / "model.safetensors"), quality)
    expected = integers.indices(latents.z.astype(np.int64), latents.symbols.astype(np.int64))
    assert (expected == latents.indices).all()
    assert len(np.unique(latents.indices)) > 1
