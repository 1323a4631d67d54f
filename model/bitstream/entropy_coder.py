"""Entropy coding: integers to bytes and back, by integer tables alone.

No torch, so that a coder pickles small and runs in any process. Symbols of equal scale index are
coded together, so that each of the 64 tables is set up once per image; symbols of index 0 are not
coded at all. The coder is the asymmetric numeral system (ANS, Duda 2009) of `constriction`, with
one stream for z and one per pass.
"""

from dataclasses import dataclass

import constriction
import google_crc32c
import numpy as np
from numpy.typing import NDArray

from model.bitstream import alpha_codec, container, escapes
from model.bitstream.container import PASS_TAGS, Header, Tag
from model.bitstream.probability_tables import HYPER_GROUP, HYPER_MAX, SCALES, TOTAL, Tables
from model.bitstream.symbol_order import Numbers, strips
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


def _table_model(counts: NDArray[np.int32]) -> constriction.stream.model.Categorical:
    """Constriction's model with exactly these counts out of 2^24.

    Constriction gives each symbol a count of 1 and distributes the rest, so 1 is subtracted here.
    All numbers are integers below 2^24, so that its float32 arithmetic is exact.
    """
    return constriction.stream.model.Categorical((counts - 1).astype(np.float32), perfect=False)


class EntropyCoder:
    """Codes `Latents` with one model's tables.

    Attributes:
        fingerprint: 16 hex digits that name the model.
        largest: largest absolute value of a symbol in a stream; escapes may be larger.
    """

    def __init__(self, tables: Tables, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self._tables = tables
        # Largest absolute value of a symbol of each scale index; 0 for index 0, which is not coded.
        self._limits = [0, *(t.size // 2 for t in tables.latent[1:])]
        self.largest = max(self._limits)
        self._models: dict[int, constriction.stream.model.Categorical] = {}

    def __getstate__(self) -> tuple[Tables, str]:
        return self._tables, self.fingerprint

    def __setstate__(self, state: tuple[Tables, str]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def _model(self, index: int) -> constriction.stream.model.Categorical:
        if index not in self._models:
            self._models[index] = _table_model(self._tables.latent[index])
        return self._models[index]

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
        streams, outside = {}, []
        for number, tag in enumerate(PASS_TAGS):
            streams[tag], beyond = self._encode_pass(latents, number)
            outside.append(beyond)
        escaped = np.sort(np.concatenate(outside))
        symbols = latents.symbols
        sections = {
            Tag.HYPER: self._encode_hyper(latents.z, latents.header.quality),
            **streams,
            Tag.ESCAPES: escapes.write(escaped, symbols.reshape(-1)[escaped].astype(np.int32), symbols.size),
            Tag.ALPHA: b"" if latents.alpha is None else alpha_codec.write(latents.alpha),
            Tag.NUMBERS: numbers_checksum(latents.z, symbols),
            Tag.ICC: icc,
            Tag.EXIF: exif,
            Tag.XMP: xmp,
            Tag.SKELETON: skeleton,
        }
        if not self.is_plausible(latents.header, len(sections[Tag.HYPER])):
            # A table's lowest symbol costs nothing while the coder is empty: an image of only those
            # would look damaged.
            raise UnsupportedImage(
                "the image is too large and too uniform for this model: keep its source bytes instead"
            )
        return container.write(latents.header, sections)

    def is_plausible(self, header: Header, hyper_bytes: int) -> bool:
        """Whether z of an image of that size fits into `hyper_bytes` if every hyper-latent is the cheapest possible.

        This bounds what a decoder allocates by the length of the payload, whatever size the header
        and whatever tables the model states.
        """
        side = HYPER_STRIDE * LATENT_STRIDE
        positions = -(-header.height // side) * -(-header.width // side)
        cheapest = np.log2(TOTAL / self._tables.hyper[header.quality // HYPER_GROUP].max(-1)).sum()
        # Once the 64-bit state is filled, each symbol adds its information content to it, less at
        # most 1 part in 2^8.
        return bool(positions * max(cheapest * (1 - 2**-8), LEAST_BITS) <= 8 * hyper_bytes + 64)

    def _encode_hyper(self, z: NDArray[np.int8], quality: int) -> bytes:
        coder = constriction.stream.stack.AnsCoder()
        for channel in reversed(range(z.shape[-1])):
            model = _table_model(self._tables.hyper[quality // HYPER_GROUP, channel])
            coder.encode_reverse(z[..., channel].reshape(-1).astype(np.int32) + HYPER_MAX, model)
        return _to_bytes(coder)

    def decode_hyper(self, data: bytes, shape: tuple[int, int, int], quality: int) -> NDArray[np.int8]:
        """Decode the hyper-latents, int8 of that `shape`, `[ceil(h/4), ceil(w/4), Z]`.

        Raises:
            DamagedPayload: when the stream does not end where it should.
        """
        coder = _from_bytes(data)
        z = np.empty(shape, np.int8)
        for channel in range(shape[2]):
            model = _table_model(self._tables.hyper[quality // HYPER_GROUP, channel])
            z[..., channel] = (coder.decode(model, shape[0] * shape[1]) - HYPER_MAX).reshape(shape[:2])
        _expect_end(coder)
        return z

    def _encode_pass(self, latents: Latents, number: int) -> tuple[bytes, NDArray[np.int64]]:
        """The stream of a pass, and the positions of the symbols beyond the range of their table (escapes)."""
        grouped, beyond = [], []
        symbols = latents.symbols.reshape(-1)
        for strip in strips(latents.indices, number):
            values = symbols[strip.begin :].take(strip.positions).astype(np.int32)
            for index, limit in enumerate(self._limits):
                group = values[strip.group(index)]
                if group.size and max(group.max(), -group.min()) > limit:
                    outside = strip.positions[strip.group(index)][np.abs(group) > limit]
                    beyond.append(outside.astype(np.int64) + strip.begin)
                    group.clip(-limit, limit, out=group)
            grouped.append((strip, values.astype(symbols.dtype)))
        coder = constriction.stream.stack.AnsCoder()
        for index in reversed(range(1, SCALES)):
            for strip, values in reversed(grouped):
                group = values[strip.group(index)]
                if group.size:
                    coder.encode_reverse(group.astype(np.int32) + self._limits[index], self._model(index))
        return _to_bytes(coder), np.concatenate(beyond or [np.empty(0, np.int64)])

    def decode_pass(self, data: bytes, number: int, indices: NDArray[np.uint8], symbols: Numbers) -> None:
        """Decode the symbols of one pass, before escapes.

        Args:
            data: the pass's stream.
            number: of the pass.
            indices: scale index of each latent, `[h, w, M]`; those of other passes are ignored.
            symbols: the output, of the same shape, contiguous, of a dtype that holds the tables'
                range.

        Raises:
            DamagedPayload: when the stream does not end where it should.
        """
        coder = _from_bytes(data)
        grouped = [(strip, np.zeros(strip.positions.size, symbols.dtype)) for strip in strips(indices, number)]
        for index in range(1, SCALES):
            for strip, values in grouped:
                group = strip.group(index)
                if group.start < group.stop:
                    coded = coder.decode(self._model(index), group.stop - group.start)
                    values[group] = coded - self._limits[index]
        _expect_end(coder)
        flat = symbols.reshape(-1)
        for strip, values in grouped:
            flat[strip.begin :][strip.positions] = values

    def decode_scan(self, data: bytes, indices: NDArray[np.uint8], symbols: Numbers) -> None:
        """Decode the symbols of a pass, before escapes, when the arrays hold the latents of that pass and no others.

        Args:
            data: the pass's stream.
            indices: scale index of each latent of the pass, in scan order, in any shape.
            symbols: the output, of the same shape, contiguous, zero, of a dtype that holds the
                tables' range.

        Raises:
            DamagedPayload: when the stream does not end where it should.
        """
        coder = _from_bytes(data)
        keys = np.ascontiguousarray(indices).reshape(-1)
        counts = np.bincount(keys, minlength=SCALES)
        order = np.argsort(keys, kind="stable")[counts[0] :]
        coded = [
            coder.decode(self._model(index), int(count)) - self._limits[index]
            for index, count in enumerate(counts)
            if index and count
        ]
        _expect_end(coder)
        if coded:
            symbols.reshape(-1)[order] = np.concatenate(coded)


def _to_bytes(coder: constriction.stream.stack.AnsCoder) -> bytes:
    return bytes(coder.get_compressed().astype("<u4").tobytes())


def _from_bytes(data: bytes) -> constriction.stream.stack.AnsCoder:
    if len(data) % 4:
        raise DamagedPayload("the payload's streams are damaged")
    try:
        return constriction.stream.stack.AnsCoder(np.frombuffer(data, "<u4").astype(np.uint32))
    except ValueError:
        raise DamagedPayload("the payload's streams are damaged") from None


def _expect_end(coder: constriction.stream.stack.AnsCoder) -> None:
    if not coder.is_empty():
        raise DamagedPayload("the payload's streams do not end where they should")
