"""Decoding of the first part of a payload: hyper-latents, and the first of the three passes.

These are cheap features for learning: z describes the image at 1/64 of its sides, and the first
pass codes every channel of the latents at a quarter of the positions, that is at 1/32. Neither
depends on later sections, and the scale indices of the first pass depend on no neighbour. So
pictures of any sizes go through the integer path together, position by position, and neither means
nor pixels are computed.

    z [h/4, w/4, Z] --ScalePath.features, out--> scale indices of the first pass --> symbols [h/2, w/2, M]
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from model.bitstream import escapes
from model.bitstream.coding_passes import GROUPS, pass_of
from model.bitstream.container import Header, Tag
from model.bitstream.entropy_coder import EntropyCoder
from model.bitstream.stream import Numbers, StreamReader
from model.core.config import HYPER_STRIDE
from model.entropy.elementwise import to_indices
from model.inference.pixels import latent_size
from model.inference.window_coding import entropy_model
from model.network.network import Network

LATTICE = 2
"""Distance in positions between neighbouring latents of the first pass in one channel."""
BATCH = 1 << 11
"""Largest number of positions of z that go through the integer path at once."""


@dataclass(frozen=True, eq=False, slots=True)
class Prefix:
    """Hyper-latents and symbols of the first pass of a payload.

    Attributes:
        header: size, quality, colour kind and model.
        z: hyper-latents, int8 `[ceil(h/4), ceil(w/4), Z]`.
        symbols: of the first pass, int16 or int32 `[ceil(h/2), ceil(w/2), M]`: latents in
            quantisation steps from a mean that follows from z. Channel c at (i, j) belongs to the
            latent at `(2 i + c % 4 // 2, 2 j + c % 2)`; 0 where that is outside the image.
    """

    header: Header
    z: NDArray[np.int8]
    symbols: Numbers


class PrefixReader:
    """Decodes prefixes of payloads of one model."""

    def __init__(self, network: Network, coder: EntropyCoder, device: torch.device) -> None:
        self._network = network
        self._coder = coder
        self._device = device

    def hyper_latents(self, header: Header, sections: dict[int, bytes]) -> NDArray[np.int8]:
        """Decode the hyper-latents alone.

        Raises:
            DamagedPayload: when the stream is too short.
        """
        return self._hyper_latents(header, StreamReader(sections.get(Tag.STREAM, b"")))

    def _hyper_latents(self, header: Header, reader: StreamReader) -> NDArray[np.int8]:
        h, w = latent_size(header.height, header.width)
        shape = (-(-h // HYPER_STRIDE), -(-w // HYPER_STRIDE), self._network.config.hyper_channels)
        return self._coder.read_hyper(reader, shape, header.quality)

    def read(self, parsed: Sequence[tuple[Header, dict[int, bytes]]]) -> list[Prefix]:
        """Decode prefixes of payloads of any sizes and qualities, in order.

        Raises:
            DamagedPayload: when a stream is too short, or escapes do not belong to it.
        """
        if not parsed:
            return []
        readers = [StreamReader(sections.get(Tag.STREAM, b"")) for _, sections in parsed]
        all_z = [self._hyper_latents(header, reader) for (header, _), reader in zip(parsed, readers, strict=True)]
        counts = [z.shape[0] * z.shape[1] for z in all_z]
        positions = np.concatenate([z.reshape(-1, z.shape[-1]) for z in all_z])
        qualities = np.repeat([header.quality for header, _ in parsed], counts)
        indices = self._indices(positions, qualities)
        ends = np.cumsum(counts)
        return [
            self._prefix(*one, reader, z, indices[end - count : end])
            for one, reader, z, count, end in zip(parsed, readers, all_z, counts, ends, strict=True)
        ]

    @torch.inference_mode()
    def _indices(self, z: NDArray[np.int8], qualities: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Scale indices of the first pass, uint8 `[N, 4, 4, ceil(M/4)]`, of N positions of z `[N, Z]`."""
        model, channels = entropy_model(self._network), self._network.config.latent_channels
        out = np.zeros((len(z), HYPER_STRIDE, HYPER_STRIDE, -(-channels // GROUPS)), np.uint8)
        for start in range(0, len(z), BATCH):
            part = torch.from_numpy(z[start : start + BATCH]).to(self._device, torch.float32)[:, None, None]
            quality = torch.from_numpy(qualities[start : start + BATCH]).to(self._device)
            if bool((quality == quality[0]).all()):
                quality = quality[:1]  # one value for all positions
            features = self._network.scales.features(part, quality)
            rows = model.sum_rows(0, quality)
            for sublattice in model.sublattices[0]:
                found = to_indices(model.sums(0, sublattice, features, rows))
                here = out[start : start + BATCH][sublattice.slices[:3]]
                # Channels beyond the last keep index 0, which is not coded.
                here[..., : found.shape[-1]] = found.view(*here.shape[:3], -1).cpu().numpy()
        return out

    def _prefix(
        self,
        header: Header,
        sections: dict[int, bytes],
        reader: StreamReader,
        z: NDArray[np.int8],
        indices: NDArray[np.uint8],
    ) -> Prefix:
        h, w = latent_size(header.height, header.width)
        channels = self._network.config.latent_channels
        deep = indices.shape[-1]
        # In scan order: at each position the channels 4 k + group, where the position determines
        # the group.
        whole = indices.reshape(*z.shape[:2], HYPER_STRIDE, HYPER_STRIDE, deep).transpose(0, 2, 1, 3, 4)
        whole = whole.reshape(z.shape[0] * HYPER_STRIDE, z.shape[1] * HYPER_STRIDE, deep)[:h, :w]
        whole = np.ascontiguousarray(whole)
        positions, values = escapes.read(sections.get(Tag.ESCAPES, b""), h * w * channels)
        first = pass_of(positions, (h, w, channels)) == 0
        position, channel = np.divmod(positions[first], channels)
        largest = max(self._coder.largest, int(np.abs(values[first]).max(initial=0)))
        symbols = np.zeros((h, w, deep), np.int16 if largest < 1 << 15 else np.int32)
        self._coder.read_scan(reader, whole, symbols)
        self._coder.place_escapes(position * deep + channel // GROUPS, values[first], whole, symbols)
        even = np.pad(symbols, ((0, h % LATTICE), (0, w % LATTICE), (0, 0)))
        cells = even.reshape(-(-h // LATTICE), LATTICE, -(-w // LATTICE), LATTICE, deep).transpose(0, 2, 4, 1, 3)
        return Prefix(header, z, cells.reshape(*cells.shape[:2], -1)[..., :channels])
