"""Damaged payloads give `DamagedPayload` or a picture, nothing else, at a cost bounded by their size."""

import json
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from model import checkpoint
from model.bitstream import container, escapes
from model.bitstream.container import Tag
from model.bitstream.probability_tables import HYPER_MAX, TOTAL
from model.codec import Codec
from model.core.errors import DamagedPayload
from model.core.model_files import CONFIG, WEIGHTS
from model.core.picture import MAX_SIDE, Picture
from tests.conftest import photo_like

MUTATIONS = 300
LONGEST = 3.0
"""Most seconds that the decoding of a few hundred bytes may take on a busy machine."""
Sections = dict[int, bytes]
Mutation = Callable[[Sections, np.random.Generator], None]


@pytest.fixture(scope="module")
def payloads(tiny_codec: Codec) -> list[bytes]:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)
    alpha = photo_like(25, 31, 1)[..., 0]
    pictures = [Picture(noise), Picture(photo_like(70, 90)), Picture(photo_like(25, 31, 1), alpha, exif=b"exif")]
    made = [p for quality in (2, 63) for p in tiny_codec.compress(pictures, quality)]
    tiny_codec.decompress(made)  # compiles the kernels, which is not part of a decode's time
    assert any(Tag.ESCAPES in container.read(p)[1] for p in made)
    return made


def sealed(body: bytes) -> bytes:
    return body + struct.pack("<I", google_crc32c.value(body))


def any_section(sections: Sections, rng: np.random.Generator) -> int:
    return int(rng.choice(list(sections)))


def flip(sections: Sections, rng: np.random.Generator) -> None:
    tag = any_section(sections, rng)
    data = bytearray(sections[tag])
    for _ in range(int(rng.integers(1, 5))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    sections[tag] = bytes(data)


def cut(sections: Sections, rng: np.random.Generator) -> None:
    tag = any_section(sections, rng)
    sections[tag] = sections[tag][: int(rng.integers(len(sections[tag]) + 1))]


def extend(sections: Sections, rng: np.random.Generator) -> None:
    sections[any_section(sections, rng)] += rng.bytes(int(rng.integers(1, 40)))


def replace(sections: Sections, rng: np.random.Generator) -> None:
    tag = any_section(sections, rng)
    sections[tag] = rng.bytes(len(sections[tag]))


def drop(sections: Sections, rng: np.random.Generator) -> None:
    del sections[any_section(sections, rng)]


def swap(sections: Sections, rng: np.random.Generator) -> None:
    a, b = any_section(sections, rng), any_section(sections, rng)
    sections[a], sections[b] = sections[b], sections[a]


def invent(sections: Sections, rng: np.random.Generator) -> None:
    sections[int(rng.choice([t for t in Tag if t]))] = rng.bytes(int(rng.integers(1, 60)))


@pytest.mark.parametrize("mutation", [flip, cut, extend, replace, drop, swap, invent])
def test_changed_sections_with_a_good_checksum_do_no_harm(
    tiny_codec: Codec, payloads: list[bytes], mutation: Mutation
) -> None:
    rng = np.random.default_rng(1)
    refused = 0
    for i in range(MUTATIONS // 7 + 1):
        header, sections = container.read(payloads[i % len(payloads)])
        mutation(sections, rng)
        payload = container.write(header, {Tag(tag): data for tag, data in sections.items()})
        began = time.monotonic()
        try:
            (picture,) = tiny_codec.decompress([payload])
        except DamagedPayload:
            refused += 1
            continue
        finally:
            assert time.monotonic() - began < LONGEST
        assert (picture.width, picture.height) == (header.width, header.height)
    assert refused > 0


def test_changed_bytes_with_a_good_checksum_do_no_harm(tiny_codec: Codec, payloads: list[bytes]) -> None:
    rng = np.random.default_rng(2)
    refused = 0
    for i in range(MUTATIONS):
        body = bytearray(payloads[i % len(payloads)][:-4])
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(4, len(body)))
            if not 7 <= at < 15:  # the fingerprint
                body[at] = int(rng.integers(256))
        began = time.monotonic()
        try:
            tiny_codec.decompress([sealed(bytes(body))])
        except DamagedPayload:
            refused += 1
        finally:
            assert time.monotonic() - began < LONGEST
    assert 0 < refused < MUTATIONS, "some get past the checks of the bitstream, and most do not"


@pytest.mark.parametrize("size", [(MAX_SIDE, MAX_SIDE), (MAX_SIDE, 1), (40_000, 40_000), (16_384, 16_384)])
def test_a_huge_size_in_a_small_payload_is_refused_before_anything_is_allocated(
    tiny_codec: Codec, payloads: list[bytes], size: tuple[int, int]
) -> None:
    header, sections = container.read(payloads[0])
    huge = container.Header(header.fingerprint, *size, header.quality, header.colour)
    payload = container.write(huge, {Tag(tag): data for tag, data in sections.items()})
    tracemalloc.start()
    try:
        for use in (lambda: tiny_codec.decompress([payload]), lambda: tiny_codec.verify(payload)):
            with pytest.raises(DamagedPayload, match=f"{size[0]}x{size[1]} pixels cannot be"):
                use()
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_compressed_sections_cannot_expand_beyond_the_image(tiny_codec: Codec, payloads: list[bytes]) -> None:
    header, sections = container.read(payloads[0])
    bomb = zlib.compress(bytes(1 << 26), 9)
    tracemalloc.start()
    try:
        for tag, data in ((Tag.ESCAPES, b"\x01" + bomb), (Tag.ALPHA, b"\x00" + bomb)):
            payload = container.write(header, {**{Tag(t): s for t, s in sections.items()}, tag: data})
            with pytest.raises(DamagedPayload):
                tiny_codec.decompress([payload])
        assert tracemalloc.get_traced_memory()[1] < 1 << 25
    finally:
        tracemalloc.stop()


def test_tables_that_cost_nothing_do_not_make_a_huge_picture_of_a_few_bytes(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    """A model of the attacker's, in which the most probable z takes 0.00002 bits, and a payload of 32 bytes."""
    tensors = load_file(tiny_model_folder / WEIGHTS)
    free = torch.ones_like(tensors["tables.hyper"])
    free[..., HYPER_MAX] = TOTAL - free.shape[-1] + 1
    save_file(tensors | {"tables.hyper": free}, tmp_path / WEIGHTS)
    description = json.loads((tiny_model_folder / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps(description))
    description["fingerprint"] = checkpoint.fingerprint_of(tmp_path)
    (tmp_path / CONFIG).write_text(json.dumps(description))
    codec = Codec.load(tmp_path)
    header = container.Header(codec.fingerprint, 16_384, 16_384, 0, container.Colour.RGB)
    payload = container.write(header, {})
    assert len(payload) <= 32
    tracemalloc.start()
    try:
        with pytest.raises(DamagedPayload, match="16384x16384 pixels cannot be"):
            codec.decompress([payload])
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_packed_list_of_escapes_cannot_take_many_times_the_memory_of_the_image(
    tiny_codec: Codec, payloads: list[bytes]
) -> None:
    (latents,) = tiny_codec.restore(payloads[:1])
    list_of_all = zlib.compress(b"\x00\x02" + b"\x01\x02" * (latents.symbols.size - 1), 9)
    assert escapes.read(b"\x01" + list_of_all, latents.symbols.size)[0].size == latents.symbols.size, "small: accepted"
    size = 80_000_000  # symbols of 64 megapixels
    tracemalloc.start()
    try:
        packed = zlib.compress(b"\x01\x02" * (size // 2), 1)
        tracemalloc.reset_peak()
        with pytest.raises(DamagedPayload):
            escapes.read(b"\x01" + packed, size)
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()
