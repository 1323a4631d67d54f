"""A second decoder, written from docs/format.md alone: numpy and Python's integers, nothing of maepress.

It is short and slow. Its integers must equal those of the real decoder, and its pixels may differ
by one level (`tests/model/bitstream/test_format.py`). A change of the format changes the document,
this file and the golden files.
"""

import hashlib
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Tensors = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, eq=False, slots=True)
class Decoded:
    """The content of a payload: header fields, sections, integers `[h, w, M]`, planes `[H, W, C]`."""

    width: int
    height: int
    grey: bool
    quality: int
    model: str
    sections: dict[int, bytes]
    z: Integers
    symbols: Integers
    indices: Integers
    pixels: Bytes
    alpha: Bytes | None


def decode(payload: bytes, model_folder: Path) -> Decoded:
    """Decode a payload, given the folder of its model."""
    colour, fine_quality, fingerprint, width, height, sections = read_container(payload)
    quality = int(fine_quality)
    tensors = read_safetensors((model_folder / "model.safetensors").read_bytes())
    assert fingerprint == fingerprint_of(tensors, json.loads((model_folder / "config.json").read_text())["config"])
    h, w = -(-height // 16), -(-width // 16)
    stream = Stream(sections[1])
    z = read_hyper(stream, tensors, quality, (-(-h // 4), -(-w // 4)))
    scales, tables = ScalePath(tensors, quality, z, (h, w)), latent_tables(tensors)
    number = passes(scales.shape)
    escaped = read_escapes(sections.get(2, b""))
    symbols = np.zeros(scales.shape, np.int64)
    for this in range(3):
        indices = scales.indices(symbols, this)
        read_pass(stream, tables, indices, number == this, symbols)
        for position, value in escaped.items():
            if number.reshape(-1)[position] == this:
                k = indices.reshape(-1)[position]
                limit = len(tables[k]) // 2 if k else 0
                assert abs(value) > limit and symbols.reshape(-1)[position] == max(-limit, min(value, limit))
                symbols.reshape(-1)[position] = value
    stream.expect_end()
    indices = scales.indices(symbols, 2)
    if 4 in sections:
        numbers = z.astype("<i1").tobytes() + symbols.astype("<i4").tobytes()
        assert sections[4] == struct.pack("<I", crc32c(numbers))
    image = Picture(tensors, quality, fine_quality).image(z, symbols, indices, number)[:height, :width]
    if colour == 1:
        image = (2 * image.sum(2, keepdims=True) + 3) // 6
    alpha = read_alpha(sections[3], height, width) if 3 in sections else None
    pixels = image.astype(np.uint8)
    return Decoded(width, height, colour == 1, quality, fingerprint, sections, z, symbols, indices, pixels, alpha)


# --- Container


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at a position, and the position after it."""
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def read_container(payload: bytes) -> tuple[int, float, str, int, int, dict[int, bytes]]:
    """Colour kind, quality with its fraction, model, width, height, sections."""
    assert payload[:4] == b"MAEP" and payload[4] == 1
    assert struct.unpack("<I", payload[-4:])[0] == crc32c(payload[:-4])
    width, at = varint(payload, 15)
    height, at = varint(payload, at)
    sections: dict[int, bytes] = {}
    while payload[at] != 0:
        length, begin = varint(payload, at + 1)
        assert length and payload[at] > max(sections, default=0) and (payload[at] <= 4 or payload[at] > 127)
        sections[payload[at]] = payload[begin : begin + length]
        at = begin + length
    assert at == len(payload) - 5
    return payload[5], payload[6] / 4, payload[7:15].hex(), width, height, sections


# --- Model


def read_safetensors(data: bytes) -> Tensors:
    """Tensors by name."""
    (length,) = struct.unpack("<Q", data[:8])
    entries, data = json.loads(data[8 : 8 + length]), data[8 + length :]
    entries.pop("__metadata__", None)
    kinds = {"F16": "<f2", "I32": "<i4"}
    return {
        name: np.frombuffer(data[slice(*e["data_offsets"])], kinds[e["dtype"]]).reshape(e["shape"])
        for name, e in entries.items()
    }


def fingerprint_of(tensors: Tensors, config: dict[str, object]) -> str:
    """The model's name."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name in sorted(name for name in tensors if not name.startswith(("tables.", "reduced."))):
        digest.update(name.encode() + tensors[name].tobytes())
    digest.update(tensors["tables.latent"].tobytes() + tensors["tables.hyper"].tobytes())
    return digest.hexdigest()[:16]


def latent_tables(tensors: Tensors) -> list[Integers]:
    """The table of each of the 64 scale indices."""
    ends = np.cumsum(tensors["tables.latent_sizes"])
    return [t.astype(np.int64) for t in np.split(tensors["tables.latent"], ends[:-1])]


# --- Entropy coding


class Stream:
    """Interleaved lanes of ANS states, decoded symbol by symbol."""

    def __init__(self, data: bytes) -> None:
        assert data[0] <= 5
        self.states = list(struct.unpack_from(f"<{1 << data[0]}Q", data, 1))
        rest = data[1 + 8 * len(self.states) :]
        self.words = list(struct.unpack(f"<{len(rest) // 4}I", rest))[::-1]
        self.number = self.coded = 0
        assert min(self.states) >= 1 << 32

    def begin(self) -> None:
        """Begin the next part."""
        self.number = 0

    def decode(self, counts: Integers) -> int:
        """Position of the next symbol in its table."""
        lane = self.number % len(self.states)
        cumulative = np.concatenate([[0], np.cumsum(counts)])
        slot = self.states[lane] & 0xFFFFFF
        symbol = int(np.searchsorted(cumulative, slot, side="right")) - 1
        state = (self.states[lane] >> 24) * int(counts[symbol]) + slot - int(cumulative[symbol])
        self.states[lane] = state if state >= 1 << 32 else state << 32 | self.words.pop()
        self.number += 1
        self.coded += 1
        return symbol

    def expect_end(self) -> None:
        """Check that all is read, and that there are as many lanes as there should be."""
        assert not self.words and set(self.states) == {1 << 32}
        lanes = 1
        while lanes < 32 and self.coded >= 2 * lanes * 32768:
            lanes *= 2
        assert lanes == len(self.states)


def read_hyper(stream: Stream, tensors: Tensors, quality: int, size: tuple[int, int]) -> Integers:
    """z, `[h/4, w/4, Z]`."""
    tables = tensors["tables.hyper"][quality // 8].astype(np.int64)
    z = np.empty((*size, len(tables)), np.int64)
    stream.begin()
    for i, j, c in np.ndindex(z.shape):
        z[i, j, c] = stream.decode(tables[c]) - 127
    return z


def read_pass(
    stream: Stream, tables: list[Integers], indices: Integers, mine: NDArray[np.bool_], into: Integers
) -> None:
    """The symbols of one pass, before escapes."""
    stream.begin()
    for position in zip(*np.nonzero(mine & (indices > 0)), strict=True):
        table = tables[indices[position]]
        into[position] = stream.decode(table) - len(table) // 2


def read_escapes(data: bytes) -> dict[int, int]:
    """Symbol by position."""
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


def read_alpha(data: bytes, height: int, width: int) -> Bytes:
    """Alpha, `[H, W]`."""
    plane = np.frombuffer(zlib.decompress(data[1:]), np.uint8).reshape(height, width)
    return np.add.accumulate(plane, axis=2 - data[0], dtype=np.uint8) if data[0] else plane


# --- Shapes


def passes(shape: tuple[int, ...]) -> Integers:
    """Pass 0, 1 or 2 of each latent."""
    i, j, c = np.indices(shape)
    row, column = (i + c % 4 // 2) % 2, (j + c % 2) % 2
    return np.where(row != column, 2, row)


def unpatch(x: NDArray[np.generic], r: int) -> NDArray[np.generic]:
    """`[H, W, r r C]` to `[r H, r W, C]`."""
    h, w, c = x.shape
    return x.reshape(h, w, r, r, c // r**2).transpose(0, 2, 1, 3, 4).reshape(r * h, r * w, c // r**2)


def windows(x: NDArray[np.generic]) -> Iterator[NDArray[np.generic]]:
    """The nine neighbours of every position, row by row; zero outside."""
    h, w, _ = x.shape
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    for row in range(3):
        for column in range(3):
            yield padded[row : row + h, column : column + w]


# --- Scale indices


class ScalePath:
    """In 64-bit integers: activations in sixteenths, sums in 2048ths."""

    def __init__(self, tensors: Tensors, quality: int, z: Integers, size: tuple[int, int]) -> None:
        self.tensors, self.quality = tensors, quality
        x = self.clip(unpatch(self.layer("up1", z), 2).astype(np.int64))
        x = self.clip(self.layer("mix", x))
        self.features = self.clip(unpatch(self.layer("up2", x), 2).astype(np.int64))[: size[0], : size[1]]
        self.shape = (*size, len(self.rounded("out.bias", 1)))

    def rounded(self, name: str, unit: int) -> Integers:
        """A tensor in units of 1 / `unit`, rounded half up."""
        return np.floor(self.tensors[f"scales.{name}"].astype(np.float64) * unit + 0.5).astype(np.int64)

    def layer(self, name: str, x: Integers) -> Integers:
        """`weight x + bias`."""
        bias = self.rounded(f"{name}.bias", 2048)
        if f"scales.{name}.knots" in self.tensors:
            k, r = divmod(self.quality, 8)
            knots = self.rounded(f"{name}.knots", 256)
            bias = bias + knots[k] * (8 - r) + knots[k + 1] * r
        sums: Integers = x @ self.rounded(f"{name}.weight", 128).clip(-255, 255).T + bias
        return sums

    @staticmethod
    def clip(x: Integers) -> Integers:
        """2048ths to sixteenths, 0..255."""
        return ((x + 64) >> 7).clip(0, 255)

    def near(self, name: str, symbols: Integers) -> Integers:
        """Weighted sum of the log-sizes around, in sixteenths."""
        size = np.rint(32 * np.log2(1 + np.minimum(np.abs(symbols), 255))).astype(np.int64).clip(0, 255)
        weights = self.rounded(f"{name}.weight", 128).clip(-255, 255)
        total = np.zeros_like(symbols)
        for window, weight in zip(windows(size), weights, strict=True):
            total += window.astype(np.int64) * weight
        return self.clip(total)

    def indices(self, symbols: Integers, last: int) -> Integers:
        """Indices of the passes up to `last`, given the symbols of those before it; others are not valid."""
        number = passes(self.shape)
        sums = self.layer("out", self.features)
        for this in range(1, last + 1):
            name, known = f"later.{this - 1}", number < this
            near = self.near(f"{name}.near", symbols * known)
            hidden = self.clip(self.layer(f"{name}.join", np.concatenate([self.features, near], -1)))
            sums = np.where(known, sums, self.layer(f"{name}.out", hidden))
        return ((sums * 4 + 1024) >> 11).clip(0, 63)


# --- From symbols to pixels


class Picture:
    """In 64-bit floating point."""

    def __init__(self, tensors: Tensors, quality: int, fine_quality: float) -> None:
        self.fine_quality = fine_quality
        self.tensors = {name: t.astype(np.float64) for name, t in tensors.items()}
        self.quality = quality

    def layer(self, name: str, x: Floats) -> Floats:
        """`weight x + bias`."""
        y: Floats = x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]
        return y

    def row(self, name: str) -> Floats:
        """A vector by quality."""
        k, r = divmod(self.quality, 8)
        return self.between(name, k, r)

    def gain(self) -> Floats:
        """Quantisation steps per unit of y."""
        k, r = divmod(self.fine_quality, 8)
        steps: Floats = np.exp(self.between("log_gain", int(k), r))
        return steps

    def between(self, name: str, k: int, r: float) -> Floats:
        """Interpolate between knots k and k + 1."""
        knots: Floats = self.tensors[f"{name}.knots"]
        between: Floats = (knots[k] * (8 - r) + knots[k + 1] * r) / 8
        return between

    def block(self, name: str, x: Floats) -> Floats:
        """The residual block."""
        weight = self.tensors[f"{name}.spatial.weight"].reshape(-1, 9)
        near = np.tile(self.tensors[f"{name}.spatial.bias"], (*x.shape[:2], 1))
        for n, window in enumerate(windows(x)):
            near += window.astype(np.float64) * weight[:, n]
        gate, value = np.split(self.layer(f"{name}.expand", near), 2, -1)
        return x + self.layer(f"{name}.project", np.maximum(gate, 0) * value)

    def blocks(self, name: str, x: Floats) -> Floats:
        """All blocks of that name in sequence."""
        count = 0
        while f"{name}.{count}.expand.weight" in self.tensors:
            x = self.block(f"{name}.{count}", x)
            count += 1
        return x

    def image(self, z: Integers, symbols: Integers, indices: Integers, number: Integers) -> Integers:
        """RGB 0..255 of the padded image."""
        offset = np.take_along_axis(
            self.tensors["prior.offset"][indices], (np.abs(symbols) > 1).astype(np.int64)[..., None], -1
        )[..., 0]
        moved = (symbols - np.sign(symbols) * offset) / self.gain()
        latent = self.latent(self.features(z)[: symbols.shape[0], : symbols.shape[1]], moved, number)
        x = self.blocks("synthesis.coarse", latent * (1 + self.row("synthesis.coarse_rows")))
        x = unpatch(self.layer("synthesis.up", x), 2).astype(np.float64)
        x = self.blocks("synthesis.fine", x * (1 + self.row("synthesis.fine_rows")))
        image = unpatch(self.layer("synthesis.tail", x), 8).astype(np.float64) + 0.5
        return np.floor(255 * image + 0.5).clip(0, 255).astype(np.int64)

    def features(self, z: Integers) -> Floats:
        """Features of z for the means, not yet cropped."""
        x = self.block("means.block1", np.maximum(unpatch(self.layer("means.up1", z / 4), 2).astype(np.float64), 0))
        x = unpatch(self.layer("means.up2", x), 2).astype(np.float64) + self.row("means.rows")
        return self.block("means.block2", np.maximum(x, 0))

    def latent(self, features: Floats, moved: Floats, number: Integers) -> Floats:
        """Latents: symbols in units of y, and the means of their passes."""
        latent = np.where(number == 0, moved + self.layer("means.first", features), 0)
        for this in (1, 2):
            name = f"means.later.{this - 1}"
            x = self.layer(f"{name}.join", np.concatenate([features, latent], -1))
            mean = self.layer(f"{name}.out", self.block(f"{name}.block", x))
            latent = np.where(number == this, moved + mean, latent)
        return latent
