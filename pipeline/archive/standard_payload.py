"""The payload of a row that a standard codec compressed: its file, the alpha plane, and a checksum.

    file | alpha | length of alpha u32 | colour kind u8 | CRC-32C of all before u32 | "MAES"

Integers are little-endian. The file is whole and begins the payload, so programs that ignore bytes
behind the end of a file open it. It holds colours alone: the alpha plane is coded without loss, as
in `.mae` payloads (`model.bitstream.alpha_codec`), and all else of the source is in the row's
columns, as for these.
"""

import struct
from dataclasses import dataclass

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from model.bitstream import alpha_codec
from model.bitstream.container import Colour
from model.core.errors import DamagedPayload

MAGIC = b"MAES"
_TRAILER = struct.Struct("<IBI4s")
_SEAL = 8
"""Bytes of the checksum and of MAGIC, which the checksum does not cover."""


@dataclass(frozen=True, slots=True)
class StandardPayload:
    """What a payload consists of.

    Attributes:
        file: of the standard codec.
        alpha: the coded alpha plane; empty where there is none.
        colour: RGB or grey.
    """

    file: bytes
    alpha: bytes
    colour: Colour

    def alpha_plane(self, height: int, width: int) -> NDArray[np.uint8] | None:
        """The alpha plane, uint8 `[H, W]`, or None.

        Raises:
            DamagedPayload: when it is not of that size.
        """
        return alpha_codec.read(self.alpha, height, width) if self.alpha else None


def write(file: bytes, alpha: NDArray[np.uint8] | None, colour: Colour) -> bytes:
    """The payload of a file."""
    coded = b"" if alpha is None else alpha_codec.write(alpha)
    return sealed(file, coded, colour)


def sealed(file: bytes, coded_alpha: bytes, colour: Colour) -> bytes:
    """The payload of a file and a coded alpha plane, which may be empty."""
    body = file + coded_alpha + struct.pack("<IB", len(coded_alpha), colour)
    return body + struct.pack("<I4s", google_crc32c.value(body), MAGIC)


def read(payload: bytes) -> StandardPayload:
    """The parts of a payload. The file is not decoded.

    Raises:
        DamagedPayload: when any byte differs from what was written.
    """
    if len(payload) < _TRAILER.size or payload[-4:] != MAGIC:
        raise DamagedPayload("the payload is damaged: it is not one of a standard codec")
    length, colour, checksum, _ = _TRAILER.unpack(payload[-_TRAILER.size :])
    if google_crc32c.value(payload[:-_SEAL]) != checksum:
        raise DamagedPayload("the payload is damaged: its checksum does not match (restore it from a copy)")
    end = len(payload) - _TRAILER.size - length
    if end < 0 or colour not in set(Colour):
        raise DamagedPayload("the payload's alpha plane or colour is damaged")
    return StandardPayload(payload[:end], payload[end : len(payload) - _TRAILER.size], Colour(colour))
