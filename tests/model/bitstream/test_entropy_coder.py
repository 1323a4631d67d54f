"""Entropy coding is lossless for any integers, costs what the tables give, and detects damage."""

import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from model.bitstream import container, escapes, stream
from model.bitstream.coding_passes import PASSES
from model.bitstream.container import Colour, Header, Tag
from model.bitstream.entropy_coder import EntropyCoder, Latents
from model.bitstream.probability_tables import TOTAL, Tables
from model.bitstream.stream import WHOLE, Part, StreamReader
from model.codec import Codec
from model.core.errors import DamagedPayload, UnsupportedImage, WrongModel
from tests.conftest import TINY

H, W = 5, 7
SHAPE = (H, W, TINY.latent_channels)
Z_SHAPE = (2, 2, TINY.hyper_channels)


@pytest.fixture
def coder(tiny_codec: Codec) -> EntropyCoder:
    return tiny_codec.coder


def latents(coder: EntropyCoder, kind: str, seed: int = 0) -> Latents:
    rng = np.random.default_rng(seed)
    header = Header(coder.fingerprint, 16 * W, 16 * H, int(rng.integers(64)), Colour.RGB)
    z = rng.integers(-127, 128, Z_SHAPE).astype(np.int8)
    indices = rng.integers(0, 64, SHAPE).astype(np.uint8)
    symbols = np.round(rng.normal(0, 0.13 * np.exp(indices * 0.109))).astype(np.int32)
    if kind == "escapes":
        anywhere = rng.random(SHAPE) < 0.05
        symbols[anywhere] = rng.integers(-escapes.MAX_SYMBOL, escapes.MAX_SYMBOL + 1, anywhere.sum())
        symbols.flat[[0, -1]] = escapes.MAX_SYMBOL, -escapes.MAX_SYMBOL
    elif kind == "skipped":
        indices[:], symbols[:], z[:] = 0, 0, 0
    elif kind == "not zero although skipped":
        indices[:] = 0
    elif kind == "one index":
        indices[:] = 40
    elif kind == "extreme z":
        z[:] = rng.choice([-127, 127], Z_SHAPE)
    return Latents(header, z, symbols, indices)


def decode(coder: EntropyCoder, payload: bytes, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Decode like `Codec`, with given scale indices."""
    header, sections = container.read(payload)
    reader = StreamReader(sections[Tag.STREAM])
    z = coder.read_hyper(reader, Z_SHAPE, header.quality)
    symbols = np.zeros(indices.shape, np.int32)
    for number in range(PASSES):
        coder.read_pass(reader, number, indices, symbols)
    reader.expect_end()
    positions, values = escapes.read(sections.get(Tag.ESCAPES, b""), symbols.size)
    coder.place_escapes(positions, values, indices, symbols)
    return z, symbols


KINDS = ["plain", "escapes", "skipped", "not zero although skipped", "one index", "extreme z"]


@pytest.mark.parametrize("kind", KINDS)
def test_any_integers_come_back(coder: EntropyCoder, kind: str) -> None:
    for seed in range(8):
        original = latents(coder, kind, seed)
        z, symbols = decode(coder, coder.encode(original), original.indices)
        assert np.array_equal(z, original.z)
        assert np.array_equal(symbols, original.symbols)


def test_symbols_of_index_0_take_no_bytes(coder: EntropyCoder) -> None:
    original = latents(coder, "skipped")
    sections = container.read(coder.encode(original))[1]
    assert sections.keys() == {Tag.STREAM, Tag.NUMBERS}
    assert 8 * len(sections[Tag.STREAM]) < coder.hyper_bits(original) + 8 + 64


def test_escapes_are_listed_only_when_there_are_any(coder: EntropyCoder) -> None:
    original = latents(coder, "one index")
    original.symbols[:] = np.clip(original.symbols, -3, 3)
    assert Tag.ESCAPES not in container.read(coder.encode(original))[1]
    original.symbols[0, 0, 0] = 5000
    assert Tag.ESCAPES in container.read(coder.encode(original))[1]


def test_the_number_of_bytes_follows_from_the_tables(coder: EntropyCoder) -> None:
    original = latents(coder, "one index", seed=4)
    table = coder._tables.latent[40].astype(np.float64)
    limit = table.size // 2
    expected = np.log2(TOTAL / table[np.clip(original.symbols, -limit, limit) + limit]).sum() / 8
    expected += coder.hyper_bits(original) / 8
    coded = len(container.read(coder.encode(original))[1][Tag.STREAM])
    # The number of lanes, a lane's 4 bytes at the start, and up to 4 bytes of its last word.
    assert expected < coded < expected * 1.001 + 1 + 8


def test_int16_and_int32_symbols_give_the_same_bytes(coder: EntropyCoder) -> None:
    original = latents(coder, "plain")
    assert coder.encode(replace(original, symbols=original.symbols.astype(np.int16))) == coder.encode(original)


def test_a_changed_stream_mostly_does_not_end_where_it_should(coder: EntropyCoder) -> None:
    section = Tag.STREAM
    original = latents(coder, "plain", seed=2)
    header, sections = container.read(coder.encode(original))
    rng = np.random.default_rng(0)
    noticed, tries = 0, 200
    for _ in range(tries):
        changed = bytearray(sections[section])
        changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
        payload = container.write(header, {**{Tag(t): s for t, s in sections.items()}, section: bytes(changed)})
        try:
            z, symbols = decode(coder, payload, original.indices)
        except DamagedPayload:
            noticed += 1
        else:
            assert not (np.array_equal(z, original.z) and np.array_equal(symbols, original.symbols))
    # An entropy code has no redundancy: near the stream's end a change may give a valid message.
    # The checksum detects every change.
    assert noticed > 0.75 * tries


def test_bytes_that_cannot_be_a_stream_are_refused() -> None:
    state = (1 << 32).to_bytes(8, "little")
    StreamReader(b"\0" + state).expect_end()
    StreamReader(b"\0" + state + bytes(4))
    for data in (
        b"",
        b"\0",
        b"\0" + state[:-1],
        b"\0" + state + b"abc",
        b"\1" + state,
        b"\6" + state * 64,
        b"\0" + bytes(8),
    ):
        with pytest.raises(DamagedPayload, match="stream is damaged"):
            StreamReader(data)


def test_a_stream_has_the_lanes_that_its_symbols_want_and_no_others(coder: EntropyCoder) -> None:
    tables = coder._packed
    rng = np.random.default_rng(5)
    for coded, lanes in ((1, 1), (65_535, 1), (65_536, 2), (131_072, 4), (1_100_000, 32)):
        indices = rng.integers(20, 64, (coded, 1, 1)).astype(np.uint8)  # tables that hold 2
        symbols = rng.integers(-2, 3, indices.shape).astype(np.int16)
        data, _ = stream.write([Part(symbols, indices, WHOLE, tables)])
        assert 1 << data[0] == lanes
        again = np.zeros_like(symbols)
        reader = StreamReader(data)
        reader.read(indices, WHOLE, tables, again)
        reader.expect_end()
        assert np.array_equal(again, symbols)
    other, _ = stream.write([Part(symbols, indices, WHOLE, tables)], 16)
    reader = StreamReader(other)
    reader.read(indices, WHOLE, tables, again)
    assert np.array_equal(again, symbols)
    with pytest.raises(DamagedPayload, match="end where it should"):
        reader.expect_end()


def test_the_beginning_of_a_stream_is_read_without_the_rest(coder: EntropyCoder) -> None:
    original = latents(coder, "one index")
    whole = container.read(coder.encode(original))[1][Tag.STREAM]
    z = coder.read_hyper(StreamReader(whole[: len(whole) // 8 * 4 + 1]), Z_SHAPE, original.header.quality)
    assert np.array_equal(z, original.z)


def test_an_escape_that_its_table_holds_is_refused(coder: EntropyCoder) -> None:
    indices, symbols = np.full((1, 1, 4), 30, np.uint8), np.zeros((1, 1, 4), np.int32)
    limit = int(coder._packed.limits[30])
    at = np.array([1])
    symbols[0, 0, 1] = limit
    coder.place_escapes(at, np.array([limit + 1], np.int32), indices, symbols)
    assert symbols[0, 0, 1] == limit + 1
    for coded, value in ((limit, limit), (limit, -limit - 1), (0, limit + 1), (3, 3)):
        symbols[0, 0, 1] = coded
        with pytest.raises(DamagedPayload, match="escape"):
            coder.place_escapes(at, np.array([value], np.int32), indices, symbols)


def test_the_coder_pickles_small_and_needs_no_torch(coder: EntropyCoder) -> None:
    original = latents(coder, "plain")
    parcel = pickle.dumps((coder, original))
    assert len(parcel) < 1_000_000
    program = (
        "import pickle, sys; coder, latents = pickle.loads(sys.stdin.buffer.read())\n"
        "assert 'torch' not in sys.modules\n"
        "sys.stdout.buffer.write(coder.encode(latents))"
    )
    elsewhere = subprocess.run([sys.executable, "-c", program], input=parcel, capture_output=True, check=True).stdout
    assert elsewhere == coder.encode(original)


def test_latents_of_another_model_are_refused(coder: EntropyCoder) -> None:
    original = latents(coder, "plain")
    other = replace(original, header=replace(original.header, fingerprint="f" * 16))
    with pytest.raises(WrongModel, match=f"f{{16}}.*{coder.fingerprint}"):
        coder.encode(other)


def test_an_image_that_decoders_would_take_for_damaged_is_refused_by_the_encoder(coder: EntropyCoder) -> None:
    # A model whose z is nearly free: bytes of the stream do not tell the size of the image.
    hyper = np.ones_like(coder._tables.hyper)
    hyper[..., 0] = TOTAL - hyper.shape[-1] + 1
    free = EntropyCoder(Tables(coder._tables.latent, hyper), coder.fingerprint)
    header = Header(coder.fingerprint, 16 * 4 * 40, 16 * 4 * 40, 30, Colour.RGB)
    z = np.full((40, 40, TINY.hyper_channels), -127, np.int8)
    nothing = np.zeros((1, 1, TINY.latent_channels), np.int32)
    with pytest.raises(UnsupportedImage):
        free.encode(Latents(header, z, nothing, nothing.astype(np.uint8)))
