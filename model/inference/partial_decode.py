"""The first part of a payload read alone: hyper-latents and the first of the three passes.

What is cheap to read is what learning needs first: z is a sketch of the image at 1/64 of its sides, and the first pass
codes every channel of the latents at a quarter of the positions, that is at 1/32. Neither depends on what follows, and
the scale indices of the first pass depend on no neighbour: pictures of any sizes go through the integer path together,
position by position, and neither means nor pixels are computed.

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
from model.bitstream.symbol_order import Numbers
from model.core.config import HYPER_STRIDE
from model.entropy.elementwise import to_indices
from model.inference.pixels import latent_size
from model.inference.window_coding import entropy_model
from model.network.network import Network

LATTICE = 2
"""Positions from one latent of the first pass to the next in its channel."""
BATCH = 1 << 11
"""Most positions of z that go through the integer path at once."""


@dataclass(frozen=True, eq=False, slots=True)
class Prefix:
    """The whole numbers that a payload begins with.

    Attributes:
        header: size, quality, colour kind and model.
        z: hyper-latents, int8 `[ceil(h/4), ceil(w/4), Z]`.
        symbols: of the first pass, int16 or int32 `[ceil(h/2), ceil(w/2), M]`: latents as quantisation steps from a
            mean that follows from z. Channel c at (i, j) is that of the latent at
            `(2 i + c % 4 // 2, 2 j + c % 2)`; 0 where that is outside.
    """

    header: Header
    z: NDArray[np.int8]
    symbols: Numbers


class PrefixReader:
    """Reads prefixes with one model."""

    def __init__(self, network: Network, coder: EntropyCoder, device: torch.device) -> None:
        self._network = network
        self._coder = coder
        self._device = device

    def hyper_latents(self, header: Header, sections: dict[int, bytes]) -> NDArray[np.int8]:
        """The hyper-latents alone.

        Raises:
            DamagedPayload: when the stream does not end where it should.
        """
        h, w = latent_size(header.height, header.width)
        shape = (-(-h // HYPER_STRIDE), -(-w // HYPER_STRIDE), self._network.config.hyper_channels)
        return self._coder.decode_hyper(sections.get(Tag.HYPER, b""), shape, header.quality)

    def read(self, parsed: Sequence[tuple[Header, dict[int, bytes]]]) -> list[Prefix]:
        """Prefixes of payloads of any sizes and qualities, in order.

        Raises:
            DamagedPayload: when a stream does not end where it should.
        """
        if not parsed:
            return []
        sketches = [self.hyper_latents(*one) for one in parsed]
        counts = [z.shape[0] * z.shape[1] for z in sketches]
        positions = np.concatenate([z.reshape(-1, z.shape[-1]) for z in sketches])
        qualities = np.repeat([header.quality for header, _ in parsed], counts)
        indices = self._indices(positions, qualities)
        ends = np.cumsum(counts)
        return [
            self._prefix(header, sections, z, indices[end - count : end])
            for (header, sections), z, count, end in zip(parsed, sketches, counts, ends, strict=True)
        ]

    @torch.inference_mode()
    def _indices(self, z: NDArray[np.int8], qualities: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Scale indices of the first pass, uint8 `[N, 4, 4, ceil(M/4)]`, of z `[N, Z]`, 4 x 4 positions each."""
        model, channels = entropy_model(self._network), self._network.config.latent_channels
        out = np.zeros((len(z), HYPER_STRIDE, HYPER_STRIDE, -(-channels // GROUPS)), np.uint8)
        for start in range(0, len(z), BATCH):
            part = torch.from_numpy(z[start : start + BATCH]).to(self._device, torch.float32)[:, None, None]
            quality = torch.from_numpy(qualities[start : start + BATCH]).to(self._device)
            if bool((quality == quality[0]).all()):
                quality = quality[:1]  # one row for all positions instead of one each
            features = self._network.scales.features(part, quality)
            rows = model.sum_rows(0, quality)
            for place in model.places[0]:
                found = to_indices(model.sums(0, place, features, rows))
                here = out[start : start + BATCH][place.slices[:3]]
                # A channel that is not there keeps index 0, which is not coded.
                here[..., : found.shape[-1]] = found.view(*here.shape[:3], -1).cpu().numpy()
        return out

    def _prefix(
        self, header: Header, sections: dict[int, bytes], z: NDArray[np.int8], indices: NDArray[np.uint8]
    ) -> Prefix:
        h, w = latent_size(header.height, header.width)
        channels = self._network.config.latent_channels
        deep = indices.shape[-1]
        # In the order of the scan: at each position the channels 4 k + group, where the position decides the group.
        whole = indices.reshape(*z.shape[:2], HYPER_STRIDE, HYPER_STRIDE, deep).transpose(0, 2, 1, 3, 4)
        whole = whole.reshape(z.shape[0] * HYPER_STRIDE, z.shape[1] * HYPER_STRIDE, deep)[:h, :w]
        positions, values = escapes.read(sections.get(Tag.ESCAPES, b""), h * w * channels)
        first = pass_of(positions, (h, w, channels)) == 0
        place, channel = np.divmod(positions[first], channels)
        largest = max(self._coder.largest, int(np.abs(values[first]).max(initial=0)))
        symbols = np.zeros((h, w, deep), np.int16 if largest < 1 << 15 else np.int32)
        self._coder.decode_scan(sections.get(Tag.FIRST, b""), whole, symbols)
        symbols.reshape(h * w, deep)[place, channel // GROUPS] = values[first]
        even = np.pad(symbols, ((0, h % LATTICE), (0, w % LATTICE), (0, 0)))
        cells = even.reshape(-(-h // LATTICE), LATTICE, -(-w // LATTICE), LATTICE, deep).transpose(0, 2, 4, 1, 3)
        return Prefix(header, z, cells.reshape(*cells.shape[:2], -1)[..., :channels])
