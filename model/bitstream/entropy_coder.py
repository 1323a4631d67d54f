"""Entropy coding: integers to bytes and back, by integer tables alone.

No torch, so that a coder pickles small and runs in any process. One stream holds z and the symbols
of all passes (`model.bitstream.stream`); symbols of index 0 are not coded at all.
"""

from dataclasses import dataclass

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from model.bitstream import alpha_codec, container, escapes, stream
from model.bitstream.container import Header, Tag
from model.bitstream.packed_tables import PackedTables
from model.bitstream.probability_tables import HYPER_GROUP, HYPER_MAX, TOTAL, Tables
from model.bitstream.stream import PASS_ORDERS, WHOLE, Numbers, Part, StreamReader
from model.core.config import HYPER_STRIDE, LATENT_STRIDE
from model.core.errors import DamagedPayload, UnsupportedImage, WrongModel

LEAST_BITS = 1.0
"""Fewest bits that count for a position of z, which covers 64 x 64 pixels. The shipped model needs 15
or more. Tables that make z free would let 32 bytes decode to a billion pixels."""


@dataclass(frozen=True, eq=False, slots=True)
class Latents:
    """An image as the networks transform it, ready for entropy coding: integers and facts.

    Attributes:
        header: size, quality, colour kind and model.
        z: hyper-latents, int8 `[ceil(h/4), ceil(w/4), Z]`.
        symbols: latents in quantisation steps from their mean, int16 or int32 `[h, w, M]`.
        indices: scale index of each, uint8 `[h, w, M]`.
        alpha: uint8 `[H, W]` or None.
        psnr: of what the decoder will output, dB over the 8-bit colour planes; infinite when equal,
            None when not measured.
        ms_ssim: of the same, 0..1; None when not measured.
        ssimulacra2: of the same, at most 100; None when not measured.
        met: whether the target was reached; if not, this is the nearest result that the model can
            give.
    """

    header: Header
    z: NDArray[np.int8]
    symbols: Numbers
    indices: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    psnr: float | None = None
    ms_ssim: float | None = None
    ssimulacra2: float | None = None
    met: bool = True


def numbers_checksum(z: NDArray[np.int8], symbols: Numbers) -> bytes:
    """CRC-32C, 4 bytes, of z as int8 and then the symbols as int32, little-endian in scan order.

    The container's checksum protects the bytes; this one protects their decoding. That a stream
    ends where it should does not reveal every mistake.
    """
    checksum = google_crc32c.value(np.ascontiguousarray(z).tobytes())
    for row in symbols:  # one at a time: an image may be large
        checksum = google_crc32c.extend(checksum, row.astype("<i4").tobytes())
    return int(checksum).to_bytes(4, "little")


def expect_numbers(sections: dict[int, bytes], z: NDArray[np.int8], symbols: Numbers) -> None:
    """Compare decoded integers with the checksum of the encoded ones, if the payload has one.

    Raises:
        DamagedPayload: when they differ.
    """
    if Tag.NUMBERS in sections and sections[Tag.NUMBERS] != numbers_checksum(z, symbols):
        raise DamagedPayload("the payload's streams do not decode to what was encoded (restore it from a copy)")


class EntropyCoder:
    """Codes `Latents` with one model's tables.

    Attributes:
        fingerprint: 16 hex digits that name the model.
        largest: largest absolute value of a symbol in a stream; escapes may be larger.
    """

    def __init__(self, tables: Tables, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self._tables = tables
        self._packed = PackedTables.of(tables.latent[1:])
        self._packed_hyper: dict[int, PackedTables] = {}
        self.largest = int(self._packed.limits.max())

    def __getstate__(self) -> tuple[Tables, str]:
        return self._tables, self.fingerprint

    def __setstate__(self, state: tuple[Tables, str]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def _hyper_tables(self, quality: int) -> PackedTables:
        """Tables of z, one per channel."""
        group = quality // HYPER_GROUP
        if group not in self._packed_hyper:
            self._packed_hyper[group] = PackedTables.of(list(self._tables.hyper[group]))
        return self._packed_hyper[group]

    def encode(
        self, latents: Latents, *, icc: bytes = b"", exif: bytes = b"", xmp: bytes = b"", skeleton: bytes = b""
    ) -> bytes:
        """Encode a payload.

        Args:
            latents: from a codec of the same model.
            icc: ICC profile to store.
            exif: EXIF block to store.
            xmp: XMP packet to store.
            skeleton: what else the source's file held.

        Raises:
            WrongModel: when the latents are from another model.
            UnsupportedImage: when a decoder could not tell the payload from a damaged one
                (`is_plausible`, `escapes.most_bytes`).
        """
        if latents.header.fingerprint != self.fingerprint:
            raise WrongModel(
                f"these latents come from model {latents.header.fingerprint}, "
                f"this coder holds the tables of model {self.fingerprint}: encode them with their own"
            )
        z, indices = np.ascontiguousarray(latents.z), np.ascontiguousarray(latents.indices)
        symbols: Numbers = np.ascontiguousarray(latents.symbols)  # type: ignore[assignment]
        data, beyond = stream.write(self.parts(z, symbols, indices, latents.header.quality))
        escaped = self._escaped(symbols, indices) if beyond else np.empty(0, np.int64)
        sections = {
            Tag.STREAM: data,
            Tag.ESCAPES: escapes.write(escaped, symbols.reshape(-1)[escaped].astype(np.int32), symbols.size),
            Tag.ALPHA: b"" if latents.alpha is None else alpha_codec.write(latents.alpha),
            Tag.NUMBERS: numbers_checksum(z, symbols),
            Tag.ICC: icc,
            Tag.EXIF: exif,
            Tag.XMP: xmp,
            Tag.SKELETON: skeleton,
        }
        if not self.is_plausible(latents.header, len(data)):
            # A model's tables may make z nearly free: such an image would look damaged.
            raise UnsupportedImage(
                "the image is too large and too uniform for this model: keep its source bytes instead"
            )
        return container.write(latents.header, sections)

    def parts(self, z: NDArray[np.int8], symbols: Numbers, indices: NDArray[np.uint8], quality: int) -> list[Part]:
        """The parts of the stream of contiguous arrays, as in `Latents`."""
        hyper = Part(z, _channels(z.shape), WHOLE, self._hyper_tables(quality))
        return [hyper, *(Part(symbols, indices, order, self._packed) for order in PASS_ORDERS)]

    def _escaped(self, symbols: Numbers, indices: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Positions of the symbols that their tables do not hold, in the flattened array."""
        limits = self._packed.limits
        found = [  # row by row: an image may be large
            np.flatnonzero(np.abs(row) > limits[tables]) + number * row.size
            for number, (row, tables) in enumerate(zip(symbols, indices, strict=True))
        ]
        return np.concatenate(found)

    def is_plausible(self, header: Header, stream_bytes: int) -> bool:
        """Whether z of an image of that size fits into a stream if every hyper-latent is the cheapest possible.

        This bounds what a decoder allocates by the length of the payload, whatever size the header
        and whatever tables the model states.
        """
        side = HYPER_STRIDE * LATENT_STRIDE
        positions = -(-header.height // side) * -(-header.width // side)
        cheapest = np.log2(TOTAL / self._tables.hyper[header.quality // HYPER_GROUP].max(-1)).sum()
        # Each symbol adds its information content to a state of at least 2^32, less at most 1 part
        # in 2^8.
        return bool(positions * max(cheapest * (1 - 2**-8), LEAST_BITS) <= 8 * stream_bytes)

    def hyper_bits(self, latents: Latents) -> float:
        """Bits that z takes in the stream, by its tables."""
        counts = self._tables.hyper[latents.header.quality // HYPER_GROUP]
        taken = counts[np.arange(counts.shape[0]), latents.z.astype(np.int64) + HYPER_MAX]
        return float(np.log2(TOTAL / taken).sum())

    def read_hyper(self, reader: StreamReader, shape: tuple[int, int, int], quality: int) -> NDArray[np.int8]:
        """Decode the hyper-latents, int8 of that `shape`, `[ceil(h/4), ceil(w/4), Z]`: the first part of a stream.

        Raises:
            DamagedPayload: when the stream is too short.
        """
        z = np.empty(shape, np.int8)
        reader.read(_channels(shape), WHOLE, self._hyper_tables(quality), z)
        return z

    def read_pass(self, reader: StreamReader, number: int, indices: NDArray[np.uint8], symbols: Numbers) -> None:
        """Decode the symbols of the next pass, before escapes.

        Args:
            reader: of the stream; z and the passes before have been read.
            number: of the pass.
            indices: scale index of each latent, `[h, w, M]`, contiguous; those of other passes are
                ignored.
            symbols: the output, of the same shape, contiguous, zero in this pass, of a dtype that
                holds the tables' range.

        Raises:
            DamagedPayload: when the stream is too short.
        """
        reader.read(indices, PASS_ORDERS[number], self._packed, symbols)

    def read_scan(self, reader: StreamReader, indices: NDArray[np.uint8], symbols: Numbers) -> None:
        """Decode the symbols of a pass, before escapes, when the arrays hold the latents of that pass and no others.

        Args:
            reader: of the stream; z and the passes before have been read.
            indices: scale index of each latent of the pass, in scan order, `[h, w, C]`, contiguous.
            symbols: the output, of the same shape, contiguous, zero, of a dtype that holds the
                tables' range.

        Raises:
            DamagedPayload: when the stream is too short.
        """
        reader.read(indices, WHOLE, self._packed, symbols)

    def place_escapes(
        self,
        positions: NDArray[np.int64],
        values: NDArray[np.int32],
        indices: NDArray[np.uint8],
        symbols: Numbers,
    ) -> None:
        """Replace the limits that stand in the places of escapes.

        Args:
            positions: of the escapes in the flattened arrays.
            values: the symbols there.
            indices: scale index of each latent, contiguous.
            symbols: the decoded symbols, of the same shape, contiguous, changed in place.

        Raises:
            DamagedPayload: when a symbol did not need to be an escape, or the stream does not hold
                its limit.
        """
        flat, limits = symbols.reshape(-1), self._packed.limits[indices.reshape(-1)[positions]]
        if (np.abs(values) <= limits).any() or (flat[positions] != np.clip(values, -limits, limits)).any():
            raise DamagedPayload("the payload's escape codes are damaged")
        flat[positions] = values


def _channels(shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """The table of each hyper-latent: that of its channel, counted from 1."""
    return np.ascontiguousarray(np.broadcast_to(np.arange(1, shape[-1] + 1, dtype=np.uint16), shape))
